"""How a CSV writes its fields, before the contract makes values of them: empty cells, null words, constant columns."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.exploration import Written
from features.contract import Contract, Kind


def survey(rows: DataFrame, contract: Contract) -> tuple[Written, ...]:
    """Every column of the contract that `rows` has as text (null: empty), in one job; ids and label aside."""
    fields = [f for f in contract.fields if f.kind in (Kind.NUMERIC, Kind.CATEGORY, Kind.IGNORED)]
    fields = [f for f in fields if f.name in rows.columns]
    words = [word.strip() for word in contract.nulls if word.strip()]
    asked = [F.count(F.lit(1)).alias("rows")]
    for field in fields:
        text = F.col(field.name)
        asked += [
            F.count_if(text.isNull()).alias(f"{field.name}__empty"),
            F.count_if(text.isin(words)).alias(f"{field.name}__null"),
            F.min(text).alias(f"{field.name}__min"),
            F.max(text).alias(f"{field.name}__max"),
        ]
    found = rows.agg(*asked).collect()[0].asDict()
    return tuple(
        Written(
            name=f.name,
            used=f.kind is not Kind.IGNORED,
            rows=found["rows"],
            empty=found[f"{f.name}__empty"],
            null_words=found[f"{f.name}__null"],
            constant=_constant(found[f"{f.name}__min"], found[f"{f.name}__max"]),
        )
        for f in fields
    )


def as_written(contract: Contract, headers: set[str]) -> Contract:
    """The contract by which every column is read as it is written: null words stay words, ignored fields are read."""
    read = [
        f.model_copy(update={"kind": Kind.CATEGORY}) if f.kind is Kind.IGNORED and f.source.strip() in headers else f
        for f in contract.fields
    ]
    return contract.model_copy(update={"nulls": ("",), "fields": tuple(read)})


def _constant(least: str | None, largest: str | None) -> str | None:
    return least if least == largest else None
