"""Asking the endpoints of a stream."""

import urllib.error
import urllib.request

NOBODY = 0  # the code of an answer that did not come, as nothing listens there


def ask(port: int, path: str) -> tuple[int, str]:
    """The code and the body of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError:
        return NOBODY, ""
