"""Text to typed values of the contract, and for every row the first reason why it cannot be used.

A reason reads `what is wrong: value`; the part before the colon is the same for all rows with the same fault.
"""

import re
from collections.abc import Iterable

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.contract import Contract, Kind, LeadField, Limits
from features.csv_numbers import NOT_FINITE, number, separated
from features.csv_rows import RAW, RECOVERED, SHAPE, SOURCE

REASON = "_reason"
UNKNOWN_WORD = "is none of true_words and false_words"
SEPARATED = "is written with separators"
_EXCERPT = 60
_ISO_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:.*)?$"
_WHOLE_NUMBER = r"^([0-9]+)\.0+$"


def with_values(rows: DataFrame, contract: Contract, labelled: bool) -> DataFrame:
    """Rows of text to the kept fields with their types, and `_reason` (null: a good row), `_raw`, `_source`, `_recovered`.

    Types: id and category string, label int (0 or 1), order and numeric double. An order value may be an ISO
    timestamp, which becomes seconds since 1970 (in the session's time zone where it names none).
    Of rows that share an id, the one with the largest order value stays good.
    """
    typed = rows.select("*", *(_typed(f).alias(_value_of(f)) for f in contract.kept))
    reasons = [_reason(f, labelled) for f in _by_weight(contract.kept)]
    checked = typed.select(
        *(F.col(_value_of(f)).alias(f.name) for f in contract.kept),
        *(RAW, SOURCE, RECOVERED),
        F.coalesce(F.col(SHAPE), *reasons).alias(REASON),
    )
    return _with_repeats(checked, contract)


def fault(reason: Column) -> Column:
    """The part of a reason that does not name the row's own value."""
    return F.substring_index(reason, ": ", 1)


def _with_repeats(checked: DataFrame, contract: Contract) -> DataFrame:
    """Give a reason to every row whose id stands in another good row with a larger order value."""
    key = F.col(contract.id.name)
    # The hash makes the choice between equal order values the same in every run.
    tie = F.xxhash64(*(F.col(f.name) for f in contract.kept))
    same_id = Window.partitionBy(key, F.col(REASON).isNull()).orderBy(F.col(contract.order.name).desc(), tie)
    repeats = _says(contract.id, f"repeats (the row with the largest {contract.order.name} stays)", key)
    ranked = checked.withColumn("_rank", F.row_number().over(same_id))
    reason = F.coalesce(F.col(REASON), F.when(F.col("_rank") > 1, repeats))
    return ranked.withColumn(REASON, reason).drop("_rank")


def _value_of(field: LeadField) -> str:
    return f"_value_{field.name}"


def _by_weight(fields: Iterable[LeadField]) -> list[LeadField]:
    """Id, label and order first: their faults explain a row best."""
    weight = {Kind.ID: 0, Kind.LABEL: 1, Kind.ORDER: 2}
    return sorted(fields, key=lambda f: weight.get(f.kind, 3))


def _typed(field: LeadField) -> Column:
    """A field's text as a value of its type; null where it is none."""
    text = F.col(field.name)
    if field.kind is Kind.NUMERIC:
        return number(text, field.thousands)
    if field.kind is Kind.LABEL:
        word = F.regexp_replace(text, _WHOLE_NUMBER, "$1")
        return F.when(word.isin(_words(field.true_words)), 1).when(word.isin(_words(field.false_words)), 0)
    if field.kind is Kind.ORDER:
        seconds = F.unix_micros(F.when(text.rlike(_ISO_TIME), text).try_cast("timestamp")) / F.lit(1e6)
        return F.coalesce(number(text, ""), seconds)
    return text


def _words(words: Iterable[str]) -> list[str]:
    """Words of a label as they are compared: trimmed, and 1.0 as 1."""
    return [re.sub(_WHOLE_NUMBER, r"\1", word.strip()) for word in words]


def _reason(field: LeadField, labelled: bool) -> Column:
    """Why a field's text cannot be used; null where it can."""
    match field.kind:
        case Kind.NUMERIC:
            return _reason_of_number(field)
        case Kind.LABEL:
            return _reason_of_label(field) if labelled else F.lit(None).cast("string")
        case Kind.ORDER:
            return _reason_of_order(field)
        case Kind.ID:
            return F.coalesce(_missing(field), _reason_of_text(field))
        case _:
            return _reason_of_text(field)


def _reason_of_number(field: LeadField) -> Column:
    text, value = F.col(field.name), F.col(_value_of(field))
    limits = field.limits or Limits()
    outside = ~value.between(limits.min, limits.max)
    return (
        F.when(text.isNull(), F.lit(None))
        .when(text.rlike(NOT_FINITE) | _infinite(value), _says(field, "is not finite", text))
        .when(value.isNull() & separated(text), _says(field, SEPARATED, text))
        .when(value.isNull(), _says(field, "is not a number", text))
        .when(outside, _says(field, f"is outside its limits {limits.min:.15g} to {limits.max:.15g}", text))
    )


def _reason_of_label(field: LeadField) -> Column:
    text, value = F.col(field.name), F.col(_value_of(field))
    return F.coalesce(_missing(field), F.when(value.isNull(), _says(field, UNKNOWN_WORD, text)))


def _reason_of_order(field: LeadField) -> Column:
    text, value = F.col(field.name), F.col(_value_of(field))
    unusable = value.isNull() | _infinite(value)
    return F.coalesce(_missing(field), F.when(unusable, _says(field, "is neither a number nor an ISO timestamp", text)))


def _reason_of_text(field: LeadField) -> Column:
    text = F.col(field.name)
    return F.when(
        F.length(text) > field.max_length, _says(field, f"is longer than {field.max_length} characters", text)
    ).when(F.contains(text, F.lit("\ufffd")), _says(field, "holds bytes that are not in csv.encoding", text))


def _missing(field: LeadField) -> Column:
    text = F.col(field.name)
    return F.when(text.isNull() | (text == ""), F.lit(f"{field.name} is missing"))


def _infinite(value: Column) -> Column:
    return F.abs(value) == float("inf")


def _says(field: LeadField, what: str, value: Column) -> Column:
    """The sentence of a reason, with an excerpt of the value."""
    short = F.when(F.length(value) > _EXCERPT, F.concat(F.substring(value, 1, _EXCERPT - 3), F.lit("...")))
    return F.concat(F.lit(f"{field.name} {what}: '"), F.coalesce(short, value), F.lit("'"))
