"""What a VectorAssembler makes of one-hot codes and numbers, as an array that Spark compiles code for.

Spark ML calls a function of its own for every encoded column and hands a vector in and out of each: a seventh of what
an event of 18 categories takes (docs/decisions/0063-a-small-batch-is-planning.md).
"""

from collections.abc import Iterable, Sequence

from pyspark.ml import Transformer
from pyspark.ml.feature import OneHotEncoderModel, StringIndexerModel, VectorAssembler
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import NumericType, StructType

from serving.stages import columns_of


def slots(assembler: VectorAssembler, before: Sequence[Transformer], schema: StructType) -> Column | None:
    """The array<double> of the vector that `assembler` makes, dense; None where it holds what is not known here.

    `before` are the stages before it, `schema` what they make. Known are numbers, and the codes of encoders of what
    indexers wrote, where each keeps invalid values: a vector of another length for a bad value is left to Spark ML.
    """
    if assembler.getHandleInvalid() != "keep":
        return None
    codes = dict(_codes(before))
    numbers = {field.name for field in schema.fields if isinstance(field.dataType, NumericType)}
    names = assembler.getInputCols()
    if not all(name in codes or name in numbers for name in names):
        return None
    return F.concat(*(codes[name] if name in codes else F.array(_number(name)) for name in names))


def _number(name: str) -> Column:
    return F.coalesce(F.col(name).cast("double"), F.lit(float("nan")))


def _codes(stages: Iterable[Transformer]) -> Iterable[tuple[str, Column]]:
    """The codes by the names of their columns."""
    indexed: set[str] = set()
    for stage in stages:
        if isinstance(stage, StringIndexerModel) and stage.getHandleInvalid() == "keep":
            indexed |= set(columns_of(stage, "output"))
        if isinstance(stage, OneHotEncoderModel) and stage.getHandleInvalid() == "keep":
            encoded = zip(columns_of(stage, "input"), columns_of(stage, "output"), stage.categorySizes, strict=True)
            for index, name, known in encoded:
                if index in indexed:
                    yield name, _code(F.col(index), known, known + (not stage.getDropLast()))


def _code(index: Column, known: int, size: int) -> Column:
    """`size` slots, that of the index 1; an index of none of the known has the slot after theirs, if there is one.

    It is a window over zeros around a one, which begins the further left the larger the index is.
    """
    around = F.lit([0.0] * known + [1.0] + [0.0] * (size - 1))
    place = F.when((index >= 0) & (index < known), index.cast("int")).otherwise(known)
    return F.slice(around, F.lit(known + 1) - place, F.lit(size))
