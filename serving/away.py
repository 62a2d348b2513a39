"""What does not answer now and may later, told from what is missing or damaged."""

import re

# MLflow keeps of what failed on its threads the words alone; Java's errors come as text, too.
_AWAY = re.compile(
    r"Max retries exceeded|Connection (?:refused|reset|aborted|broken)|ConnectionRefused|[Tt]imed out|Timeout|"
    r"Could not connect|Failed to resolve|UnknownHost|Name or service not known|name resolution|No route to host|"
    r"RemoteDisconnected|TEMPORARILY_UNAVAILABLE|Service Unavailable|SlowDown|Bad Gateway|"
    r"(?:error code|too many|code:?) 50[234]\b"
)


def is_away(error: BaseException | None) -> bool:
    """Whether a failure, or one that it followed from, is of a server that does not answer."""
    while error is not None:
        if isinstance(error, ConnectionError | TimeoutError) or _AWAY.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
