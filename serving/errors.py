"""Errors of the serving room."""

from features.errors import LeadScoringError


class ServingError(LeadScoringError):
    """Base of the errors raised while versions are resolved, moved or served."""
