"""From the encoder stages of a saved pipeline to the inputs of a description."""

from collections.abc import Callable, Mapping
from typing import Any

from features.contract import LeadField
from serving.compiled.description import CategoryInput, NumericInput
from serving.compiled.errors import CannotCompile
from serving.compiled.saved_stages import SavedStage

Input = NumericInput | CategoryInput
Columns = dict[str, Input]
KEEP = "as other settings end or thin out a query on a bad value"


def add_columns(stage: SavedStage, columns: Columns) -> None:
    """Note the columns that one encoder stage adds; CannotCompile for a stage that has no compiled form."""
    handler = _HANDLERS.get(stage.kind)
    if handler is None:
        raise CannotCompile(
            f"stage {stage.uid} is a {stage.kind}, which has no compiled form (there are {', '.join(_HANDLERS)}); "
            "the Spark model still serves."
        )
    handler(stage, columns)


def vector_inputs(stage: SavedStage, columns: Mapping[str, Input]) -> tuple[Input, ...]:
    """The inputs that a VectorAssembler puts side by side; a column that no stage made is a raw number."""
    stage.demand("handleInvalid", "keep", KEEP)
    return tuple(columns.get(name, NumericInput(name=name)) for name in stage.columns("inputCol", "inputCols"))


def with_limits(inputs: tuple[Input, ...], fields: Mapping[str, LeadField]) -> tuple[Input, ...]:
    """The inputs with what the contract says of the values of live leads."""
    return tuple(_limited(i, fields[i.name]) if i.name in fields else i for i in inputs)


def _limited(found: Input, field: LeadField) -> Input:
    if isinstance(found, CategoryInput):
        return found.model_copy(update={"max_length": field.max_length})
    found = found.model_copy(update={"unit": field.unit})
    if field.limits is None:
        return found
    return found.model_copy(update={"minimum": field.limits.min, "maximum": field.limits.max})


def _impute(stage: SavedStage, columns: Columns) -> None:
    missing = stage.params.get("missingValue")
    if missing == missing:  # NaN is the only value that differs from itself
        raise CannotCompile(f"{stage.kind} {stage.uid} takes {missing} for missing; compiled scoring needs NaN.")
    means = stage.row()
    for source, target in _pairs(stage):
        _refuse_made(stage, source, columns)
        columns[target] = NumericInput(name=source, fill=float(means[source]))


def _bucket(stage: SavedStage, columns: Columns) -> None:
    stage.demand("handleInvalid", "keep", KEEP)
    several = stage.params.get("splitsArray") or [stage.params["splits"]]
    for (source, target), splits in zip(_pairs(stage), several, strict=True):
        found = columns.get(source, NumericInput(name=source))
        if not isinstance(found, NumericInput) or found.edges:
            raise CannotCompile(f"{stage.kind} {stage.uid} reads {source}, which is no plain number.")
        if splits[0] != float("-inf") or splits[-1] != float("inf"):
            raise CannotCompile(
                f"{stage.kind} {stage.uid} ends a query on a number outside {splits[0]} to {splits[-1]}; compiled "
                "scoring needs open ends."
            )
        columns[target] = found.model_copy(update={"edges": tuple(float(s) for s in splits)})


def _index(stage: SavedStage, columns: Columns) -> None:
    stage.demand("handleInvalid", "keep", KEEP)
    row = stage.row()
    several = row.get("labelsArray") or [row["labels"]]
    for (source, target), labels in zip(_pairs(stage), several, strict=True):
        _refuse_made(stage, source, columns)
        columns[target] = CategoryInput(name=source, labels=tuple(labels), onehot=False)


def _one_hot(stage: SavedStage, columns: Columns) -> None:
    stage.demand("handleInvalid", "keep", KEEP)
    sizes = stage.row()["categorySizes"]
    for (source, target), size in zip(_pairs(stage), sizes, strict=True):
        found = columns.get(source)
        if not isinstance(found, CategoryInput) or found.onehot or size < len(found.labels) + 1:
            raise CannotCompile(f"{stage.kind} {stage.uid} reads {source}, which is no index of words.")
        # One slot more holds what OneHotEncoder has not seen; no index of a StringIndexer reaches it.
        slots = size if stage.params.get("dropLast") else size + 1
        columns[target] = found.model_copy(update={"slots": slots, "onehot": True})


def _pairs(stage: SavedStage) -> list[tuple[str, str]]:
    outputs = stage.columns("outputCol", "outputCols")
    return list(zip(stage.columns("inputCol", "inputCols"), outputs, strict=False))


def _refuse_made(stage: SavedStage, source: str, columns: Mapping[str, Any]) -> None:
    if source in columns:
        raise CannotCompile(f"{stage.kind} {stage.uid} reads {source}, which another stage makes.")


_HANDLERS: dict[str, Callable[[SavedStage, Columns], None]] = {
    "ImputerModel": _impute,
    "Bucketizer": _bucket,
    "StringIndexerModel": _index,
    "OneHotEncoderModel": _one_hot,
}
