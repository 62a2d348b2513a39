"""Errors of the serving room."""

import re

from features.errors import LeadScoringError

UNANSWERED = "no feature was answered"
_LOGIN = re.compile(r"(?<=//)[^/\s]*@")


class ServingError(LeadScoringError):
    """Base of the errors raised while versions are resolved, moved or served."""


class UnfitVersion(ServingError):
    """A version takes other columns than leads have, or its scores are of no use."""


class StopAsked(ServingError):
    """A stop was asked for while a server was waited for: nothing is at fault, and what was begun is repeated."""


class Away(ServingError):
    """A store that does not answer now, and may later."""


def one_line(error: BaseException | None) -> str:
    """The first line of what an error says, at most 300 characters; an address in it without its user and password."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _LOGIN.sub("", lines[0])[:300]
