"""Errors of the compiled scorer."""

from serving.errors import Away, ServingError


class CannotCompile(ServingError):
    """A pipeline holds a stage, or a setting of one, that has no compiled form; the Spark model still serves."""


class CompiledUnreadable(ServingError):
    """A compiled artifact is missing or damaged, or was written by another release."""


class CompiledAway(CompiledUnreadable, Away):
    """The artifact store of a compiled artifact does not answer."""


class BadLead(ServingError):
    """A lead to score lacks a field, has one too many, or carries a value that the contract refuses."""


class CannotExplain(ServingError):
    """A compiled model whose score cannot be told apart by field; it still scores."""
