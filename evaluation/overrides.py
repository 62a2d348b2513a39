"""Leads with some of their fields changed, many variants in one plan: what permutation and partial dependence score."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.contract import Kind, LeadField

CHANGED = "__changed"


def changed_value(field: str) -> str:
    """Name of the column that holds a variant's value of a field."""
    return f"__new_{field}"


def variant_schema(fields: Sequence[LeadField], keys: str) -> str:
    """Schema of a table of variants: `keys`, the names of the changed fields, and a value column per field."""
    values = [f"{changed_value(f.name)} {'double' if f.kind is Kind.NUMERIC else 'string'}" for f in fields]
    return ", ".join([keys, f"{CHANGED} array<string>", *values])


def with_changes(joined: DataFrame, fields: Sequence[LeadField], keep: Sequence[str]) -> DataFrame:
    """Each field's new value where the row's `__changed` names it, else the lead's own; and the columns `keep`.

    `joined` holds leads beside variants; a new value may be missing (null), which is why the names are listed.
    """
    return joined.select(*keep, *(_value(f.name) for f in fields))


def _value(field: str) -> Column:
    changed = F.array_contains(F.col(CHANGED), field)
    return F.when(changed, F.col(changed_value(field))).otherwise(F.col(field)).alias(field)
