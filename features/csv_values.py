"""Text to typed values of the contract, and for every row the first reason why it cannot be used.

A reason reads `what is wrong: value`; the part before the colon is the same for all rows with the same fault.
"""

import re
import sys
from collections.abc import Iterable, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.contract import Contract, Kind, LeadField, Limits
from features.csv_numbers import NOT_FINITE, number, separated
from features.csv_rows import RAW, RECOVERED, SHAPE, SOURCE

REASON = "_reason"
UNKNOWN_WORD = "is none of true_words and false_words"
SEPARATED = "is written with separators"
_TEXTS = (Kind.ID, Kind.CATEGORY)
_PARSED = (Kind.LABEL, Kind.ORDER, Kind.NUMERIC)
_EXCERPT = 60
_LARGEST = sys.float_info.max
_ISO_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:.*)?$"
_WHOLE_NUMBER = r"^([0-9]+)\.0+$"


def with_values(rows: DataFrame, contract: Contract, labelled: bool) -> DataFrame:
    """Give rows of text the contract's types, and `_reason`: null for a good row.

    Returns the kept fields (id and category string, label int 0 or 1, order and numeric double), `_reason`, `_raw`,
    `_source` and `_recovered`. An order value may be an ISO timestamp, which becomes seconds since 1970 (in the
    session's time zone where it names none). Of rows that share an id, the one with the largest order value is good.
    """
    judged = [kind for kind in _FAULTS_OF if labelled or kind is not Kind.LABEL]
    return _with_repeats(judged_rows(rows, contract.kept, judged, (RAW, SOURCE, RECOVERED), F.col(SHAPE)), contract)


def judged_rows(
    rows: DataFrame, fields: Sequence[LeadField], judged: Sequence[Kind], carried: Sequence[str], shape: Column
) -> DataFrame:
    """Rows of text (a string column per field, null: not answered) as typed values with `_reason`, row by row.

    Faults are looked for in fields of the kinds `judged` and in every id and category; what `shape` says of a row
    (null: nothing) comes first. Returns the fields, the columns `carried` and `_reason`. One decision for CSV, JSON
    and Parquet.
    """
    parsed = [f for f in fields if f.kind in _PARSED]
    typed = rows.select("*", *(_typed(f).alias(_value_of(f)) for f in parsed))
    suspected = typed.select("*", _suspect(fields, judged).alias("_suspect"))
    found = suspected.select("*", _first_fault(fields, judged).alias("_found"), shape.alias("_whole"))
    of_value = F.when(F.col("_suspect"), sentence(F.col("_found.fault"), F.col("_found.text")))
    return found.select(
        *(F.col(_value_of(f)).alias(f.name) if f in parsed else F.col(f.name) for f in fields),
        *carried,
        F.coalesce(F.col("_whole"), of_value).alias(REASON),
    )


def fault(reason: Column) -> Column:
    """The part of a reason that does not name the row's own value."""
    return F.substring_index(reason, ": ", 1)


def _with_repeats(checked: DataFrame, contract: Contract) -> DataFrame:
    """Give a reason to every row whose id stands in another good row with a larger order value."""
    key = F.col(contract.id.name)
    # The hash makes the choice between equal order values the same in every run.
    tie = F.xxhash64(*(f.name for f in contract.kept))
    same_id = Window.partitionBy(key, F.col(REASON).isNull()).orderBy(F.col(contract.order.name).desc(), tie)
    fault = F.lit(f"{contract.id.name} repeats (the row with the largest {contract.order.name} is kept)")
    ranked = checked.withColumn("_rank", F.row_number().over(same_id))
    reason = F.coalesce(F.col(REASON), F.when(F.col("_rank") > 1, sentence(fault, key)))
    return ranked.withColumn(REASON, reason).drop("_rank")


def _value_of(field: LeadField) -> str:
    return f"_value_{field.name}"


def _typed(field: LeadField) -> Column:
    """The text of a number, label or order as a value of its type; null where it is none."""
    text = F.col(field.name)
    if field.kind is Kind.LABEL:
        word = F.regexp_replace(text, _WHOLE_NUMBER, "$1")
        return F.when(word.isin(_words(field.true_words)), 1).when(word.isin(_words(field.false_words)), 0)
    if field.kind is Kind.ORDER:
        return F.coalesce(number(text, ""), F.unix_micros(moment(text)) / F.lit(1e6))
    return number(text, field.thousands)


def moment(text: Column) -> Column:
    """An ISO date or timestamp (in the session's time zone where it names none); null for any other text."""
    return F.when(text.rlike(_ISO_TIME), text).try_cast("timestamp")


def _words(words: Iterable[str]) -> list[str]:
    """Words of a label as they are compared: trimmed, and 1.0 as 1."""
    return [re.sub(_WHOLE_NUMBER, r"\1", word.strip()) for word in words]


def any_of(conditions: Iterable[Column]) -> Column:
    """Whether any of any number of conditions holds; null counts as not. Java's compiler takes hundreds of them."""
    return F.greatest(F.lit(False), F.lit(False), *conditions)


def _suspect(fields: Sequence[LeadField], judged: Sequence[Kind]) -> Column:
    """Whether a row's values may hold a fault, by a test that Spark compiles; true for all that do."""
    asked = (f for f in fields if f.kind in (*judged, Kind.ID))
    return any_of([_suspect_texts(fields), *(_SUSPECT[f.kind](f) for f in asked)])


def _first_fault(fields: Sequence[LeadField], judged: Sequence[Kind]) -> Column:
    """The first fault of a suspect row's values as a struct of `fault` and `text`; null where all can be used.

    Spark interprets what stands in a lambda, at ten times the cost: it runs for rows that a compiled test suspects.
    """
    faults = F.array(
        *(
            F.struct(_FAULTS_OF[kind](f).alias("fault"), F.col(f.name).alias("text"))
            for kind in judged
            for f in fields
            if f.kind is kind
        )
    )
    found = F.filter(F.concat(faults, _text_faults(fields)), lambda s: s["fault"].isNotNull())
    return F.when(F.col("_suspect"), F.get(found, F.lit(0)))


def _text_faults(fields: Sequence[LeadField]) -> Column:
    """An array of the faults of the id and all categories; one expression, as there may be hundreds."""
    texts = [f for f in fields if f.kind in _TEXTS]
    named = F.array(
        *(
            F.struct(F.lit(f.name).alias("name"), F.col(f.name).alias("text"), F.lit(f.max_length).alias("most"))
            for f in texts
        )
    )
    return F.transform(
        named,
        lambda s: F.struct(
            F.when(
                F.length(s["text"]) > s["most"],
                F.concat(s["name"], F.lit(" is longer than "), s["most"], F.lit(" characters")),
            )
            .when(
                F.contains(s["text"], F.lit("\ufffd")),
                F.concat(s["name"], F.lit(" holds bytes that are not in csv.encoding")),
            )
            # PostgreSQL takes no such text, and no lead means it.
            .when(F.contains(s["text"], F.lit("\0")), F.concat(s["name"], F.lit(" holds a NUL character")))
            .alias("fault"),
            s["text"].alias("text"),
        ),
    )


def _id_fault(field: LeadField) -> Column:
    text = F.col(field.name)
    return F.when(text.isNull() | (text == ""), f"{field.name} is missing")


def _label_fault(field: LeadField) -> Column:
    return F.coalesce(_id_fault(field), F.when(F.col(_value_of(field)).isNull(), f"{field.name} {UNKNOWN_WORD}"))


def _order_fault(field: LeadField) -> Column:
    value = F.col(_value_of(field))
    unusable = value.isNull() | _infinite(value)
    return F.coalesce(_id_fault(field), F.when(unusable, f"{field.name} is neither a number nor an ISO timestamp"))


def _number_fault(field: LeadField) -> Column:
    text, value = F.col(field.name), F.col(_value_of(field))
    limits = field.limits or Limits()
    return F.when(
        text.isNotNull(),
        F.when(text.rlike(NOT_FINITE) | _infinite(value), f"{field.name} is not finite")
        .when(value.isNull() & separated(text), f"{field.name} {SEPARATED}")
        .when(value.isNull(), f"{field.name} is not a number")
        .when(
            ~value.between(limits.min, limits.max),
            f"{field.name} is outside its limits {limits.min:.15g} to {limits.max:.15g}",
        ),
    )


def _suspect_texts(fields: Sequence[LeadField]) -> Column:
    """True where a text is too long or holds what none may: asked of all texts together, as there may be hundreds."""
    texts = [f for f in fields if f.kind in _TEXTS]
    together = F.concat_ws(" ", *(f.name for f in texts))
    limits = {most: [F.length(f.name) for f in texts if f.max_length == most] for most in {f.max_length for f in texts}}
    long = [F.greatest(F.lit(0), F.lit(0), *lengths) > most for most, lengths in sorted(limits.items())]
    return any_of([F.contains(together, F.lit(mark)) for mark in "\ufffd\0"] + long)


def _suspect_id(field: LeadField) -> Column:
    text = F.col(field.name)
    return text.isNull() | (text == "")


def _suspect_number(field: LeadField) -> Column:
    """True for every text that `_number_fault` finds fault with; NaN is above all limits."""
    value, limits = F.col(_value_of(field)), field.limits or Limits()
    fine = value.between(max(limits.min, -_LARGEST), min(limits.max, _LARGEST))
    return F.col(field.name).isNotNull() & ~F.coalesce(fine, F.lit(False))


def _suspect_parsed(field: LeadField) -> Column:
    value = F.col(_value_of(field))
    return value.isNull() | (_infinite(value) if field.kind is Kind.ORDER else F.lit(False))


def _infinite(value: Column) -> Column:
    return F.abs(value) == float("inf")


def sentence(fault: Column, text: Column) -> Column:
    """A reason (null where the fault is): the fault, and an excerpt of the value, on one line, where there is one."""
    short = F.when(F.length(text) > _EXCERPT, F.concat(F.substring(text, 1, _EXCERPT - 3), F.lit("...")))
    line = F.regexp_replace(F.coalesce(short, text), r"\s+", " ")
    value = F.concat(F.lit(": '"), line, F.lit("'"))
    return F.concat(fault, F.when(text != "", value).otherwise(""))


# Faults of an id or label explain a row best: they come first.
_FAULTS_OF = {
    Kind.ID: _id_fault,
    Kind.LABEL: _label_fault,
    Kind.ORDER: _order_fault,
    Kind.NUMERIC: _number_fault,
}
# Tests that Spark compiles: true for every row in whose field a fault is found.
_SUSPECT = {
    Kind.ID: _suspect_id,
    Kind.LABEL: _suspect_parsed,
    Kind.ORDER: _suspect_parsed,
    Kind.NUMERIC: _suspect_number,
}
