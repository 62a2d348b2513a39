"""What a VectorAssembler makes of one-hot codes and numbers, as an array that Spark compiles code for.

Spark ML calls a function of its own for every encoded column and hands a vector in and out of each: a seventh of what
an event of 18 categories takes (docs/decisions/0063-a-small-batch-is-planning.md).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pyspark.ml import Transformer
from pyspark.ml.feature import OneHotEncoderModel, StringIndexerModel, VectorAssembler
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import NumericType, StructType

from serving.stages import columns_of


class Slots(NamedTuple):
    """A vector's slots as an array<double>, and the places among them that hold 0 or 1 and nothing else."""

    array: Column
    codes: tuple[int, ...]


def slots(assembler: VectorAssembler, before: Sequence[Transformer], schema: StructType) -> Slots | None:
    """The slots of the vector that `assembler` makes, dense; None where it holds what is not known here.

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
    parts, places, begin = list[Column](), list[int](), 0
    for name in names:
        part, size = codes.get(name) or (F.array(_number(name)), 1)
        parts.append(part)
        if name in codes:
            places += range(begin, begin + size)
        begin += size
    return Slots(F.concat(*parts), tuple(places))


def _number(name: str) -> Column:
    return F.coalesce(F.col(name).cast("double"), F.lit(float("nan")))


def _codes(stages: Iterable[Transformer]) -> Iterable[tuple[str, tuple[Column, int]]]:
    """The codes by the names of their columns, each with how many slots it has."""
    indexed: set[str] = set()
    for stage in stages:
        if isinstance(stage, StringIndexerModel) and stage.getHandleInvalid() == "keep":
            indexed |= set(columns_of(stage, "output"))
        if isinstance(stage, OneHotEncoderModel) and stage.getHandleInvalid() == "keep":
            encoded = zip(columns_of(stage, "input"), columns_of(stage, "output"), stage.categorySizes, strict=True)
            for index, name, known in encoded:
                if index in indexed:
                    size = known + (not stage.getDropLast())
                    yield name, (_code(F.col(index), known, size), size)


def _code(index: Column, known: int, size: int) -> Column:
    """`size` slots, that of the index 1; an index of none of the known has the slot after theirs, if there is one.

    It is a window over zeros around a one, which begins the further left the larger the index is.
    """
    around = F.lit([0.0] * known + [1.0] + [0.0] * (size - 1))
    place = F.when((index >= 0) & (index < known), index.cast("int")).otherwise(known)
    return F.slice(around, F.lit(known + 1) - place, F.lit(size))
