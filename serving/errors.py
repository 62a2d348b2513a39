"""Errors of the serving room."""

from features.errors import LeadScoringError

UNANSWERED = "no feature was answered"


class ServingError(LeadScoringError):
    """Base of the errors raised while versions are resolved, moved or served."""


class UnfitVersion(ServingError):
    """A version takes other columns than leads have, or its scores are of no use."""


class Away(ServingError):
    """A store that does not answer now, and may later."""


def one_line(error: BaseException | None) -> str:
    """The first line of what an error says, at most 300 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
