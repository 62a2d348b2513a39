"""Errors of the evaluation room."""

from features.errors import LeadScoringError


class EvaluationError(LeadScoringError):
    """Base of the errors raised while a model is measured or judged."""
