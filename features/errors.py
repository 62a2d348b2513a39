"""Errors that a user can mend. Every room derives its own from `LeadScoringError`."""


class LeadScoringError(Exception):
    """A known fault: one line that names what was found, what was expected and the remedy.

    Commands print it on stderr and exit with code 2; anything else is a bug and keeps its traceback.
    """


class FeaturesError(LeadScoringError):
    """Base of the errors raised while leads are read, split or encoded."""
