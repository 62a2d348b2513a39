"""Leads from CSV: good rows with the contract's names and types, and quarantined rows with their reason."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from features.contract import Contract
from features.csv_files import NoLeads, find_csv
from features.csv_numbers import decimal_marks, separator_for
from features.csv_rows import RAW, RECOVERED, SOURCE, read_rows
from features.csv_values import REASON, SEPARATED, UNKNOWN_WORD, fault, with_values
from features.errors import FeaturesError

# Bounds what reaches the driver where the label column is free text.
_MOST_GROUPS = 10_000
_MOST_NAMED = 5
_MOST_REASONS = 3


class UnknownLabels(FeaturesError):
    """The label column holds words that the contract does not know."""


class OneClass(FeaturesError):
    """All leads are converted, or none is."""


class SeparatedNumbers(FeaturesError):
    """Numbers are written with separators that the contract does not name."""


class TooManyQuarantined(FeaturesError):
    """More rows are unusable than the contract allows."""


@dataclass(frozen=True)
class Leads:
    """Leads of one path, not yet read.

    `good` has the contract's kept columns (id string, label int 0/1, order double, numeric double, category
    string; null: not answered); `quarantined` has raw, reason and source_file (strings); `checked` has the rows
    of both. `unknown_columns` stand in the files and not in the contract. Every action reads the CSV anew: cache
    what is used more than once.
    """

    path: str
    labelled: bool
    unknown_columns: tuple[str, ...]
    good: DataFrame
    quarantined: DataFrame
    checked: DataFrame = field(repr=False)


@dataclass(frozen=True)
class Counts:
    """What became of the rows of one reading: `rows` = `good` + the sum of `quarantined`.

    `quarantined` counts by fault, the most frequent first; `recovered` rows had been quoted as a whole;
    `labels` counts good rows by 0, 1 and None; `unknown_labels` counts the words that the contract lacks, in quotes;
    `examples` has one or two full reasons per fault.
    """

    rows: int
    good: int
    recovered: int
    quarantined: dict[str, int]
    labels: dict[int | None, int]
    unknown_labels: dict[str, int]
    examples: dict[str, tuple[str, ...]] = field(repr=False)


def read_leads(spark: SparkSession, path: str, contract: Contract, labelled: bool = True) -> Leads:
    """Plan the reading of a CSV file, a folder or a glob pattern of them, by header name.

    Looks at the head of every file on the driver; rows are read by the actions of the caller. Unless `labelled`,
    the label may be missing or unknown and is then null. Raises a FeaturesError for files that are missing, are
    no CSV, have another encoding or delimiter, or lack columns; `check_leads` judges the rows.
    """
    files = find_csv(spark, path, contract, labelled)
    checked = with_values(read_rows(spark, files, contract), contract, labelled)
    good = checked.where(F.col(REASON).isNull()).select(*(f.name for f in contract.kept))
    quarantined = checked.where(F.col(REASON).isNotNull()).select(
        F.col(RAW).alias("raw"), F.col(REASON).alias("reason"), F.col(SOURCE).alias("source_file")
    )
    unknown = tuple(dict.fromkeys(column for f in files for column in f.header.unknown))
    return Leads(path, labelled, unknown, good, quarantined, checked)


def count_leads(leads: Leads, contract: Contract) -> Counts:
    """Count rows by what became of them, in one job."""
    reason = F.col(REASON)
    # The rows of a fault make one group, but for unknown labels: there every word is wanted with its count.
    unknown_label = F.startswith(reason, F.lit(f"{contract.label.name} {UNKNOWN_WORD}"))
    group = F.when(unknown_label, reason).otherwise(fault(reason))
    label = F.when(reason.isNull(), F.col(contract.label.name))
    groups = (
        leads.checked.groupBy(group.alias("group"), label.alias("label"))
        .agg(
            F.count(F.lit(1)).alias("rows"),
            F.count_if(RECOVERED).alias("recovered"),
            F.min(reason).alias("first"),
            F.max(reason).alias("last"),
        )
        .orderBy(F.desc("rows"), "first")
        .limit(_MOST_GROUPS)
        .collect()
    )
    return _counts(groups)


def check_leads(leads: Leads, contract: Contract) -> Counts:
    """Count the rows, in one job, and refuse what must not be trained on.

    Raises UnknownLabels, SeparatedNumbers, NoLeads, TooManyQuarantined or OneClass.
    """
    counts = count_leads(leads, contract)
    _refuse_unknown_labels(leads, contract, counts)
    _refuse_separated_numbers(leads, contract, counts)
    _refuse_quarantined(leads, contract, counts)
    if leads.labelled and len(counts.labels) == 1:
        only = contract.label.true_words if 1 in counts.labels else contract.label.false_words
        raise OneClass(
            f"all {counts.good} leads of {leads.path} have the same {contract.label.name} ({only[0]!r}); "
            f"bring leads of both classes, or check the column {contract.label.source!r}."
        )
    return counts


def _counts(groups: Sequence[Row]) -> Counts:
    """Counts from groups of a fault (null: good rows) and a label."""
    labels: Counter[int | None] = Counter()
    quarantined: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    examples: dict[str, tuple[str, ...]] = {}
    for g in groups:
        if g["group"] is None:
            labels[g["label"]] += g["rows"]
            continue
        name, _, value = g["group"].partition(": ")
        quarantined[name] += g["rows"]
        examples.setdefault(name, tuple(dict.fromkeys((g["first"], g["last"]))))
        if value:
            unknown[value] += g["rows"]
    return Counts(
        rows=labels.total() + quarantined.total(),
        good=labels.total(),
        recovered=sum(g["recovered"] for g in groups),
        quarantined=dict(quarantined.most_common()),
        labels=dict(labels),
        unknown_labels=dict(unknown.most_common()),
        examples=examples,
    )


def _refuse_unknown_labels(leads: Leads, contract: Contract, counts: Counts) -> None:
    if not counts.unknown_labels:
        return
    label = contract.label
    listed = list(counts.unknown_labels.items())
    found = ", ".join(f"{word} ({rows} rows)" for word, rows in listed[:_MOST_NAMED])
    more = f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
    raise UnknownLabels(
        f"the column {label.source!r} of {leads.path} holds {found}{more}; expected {_listed(label.true_words)} or "
        f"{_listed(label.false_words)}. Set true_words and false_words of {label.name} in the contract."
    )


def _refuse_separated_numbers(leads: Leads, contract: Contract, counts: Counts) -> None:
    for field_ in contract.features:
        examples = [_value(e) for e in counts.examples.get(f"{field_.name} {SEPARATED}", ())]
        if not examples:
            continue
        separator = separator_for(examples)
        remedy = f"set `thousands: {json.dumps(separator)}` on" if separator else "write one kind of number in"
        mark = " (a comma is then the decimal mark)" if separator and "," in decimal_marks(separator) else ""
        raise SeparatedNumbers(
            f"{field_.name} of {leads.path} is written as {_listed(examples)}; expected plain numbers such as 1234.5. "
            f"In the contract {remedy} {field_.name}{mark}, or export plain numbers."
        )


def _refuse_quarantined(leads: Leads, contract: Contract, counts: Counts) -> None:
    bad = counts.rows - counts.good
    if not counts.rows:
        raise NoLeads(f"{leads.path} holds no row with a value; export it again.")
    if bad <= contract.max_quarantined * counts.rows:
        return
    reasons = "; ".join(
        f"{rows} x {counts.examples[name][0]}" for name, rows in list(counts.quarantined.items())[:_MOST_REASONS]
    )
    raise TooManyQuarantined(
        f"{bad} of {counts.rows} rows of {leads.path} cannot be used ({bad / counts.rows:.1%}; the contract allows "
        f"{contract.max_quarantined:.1%}): {reasons}. Mend the file, or change the contract."
    )


def _value(reason: str) -> str:
    """The row's own value out of a reason."""
    return reason.split(": ", 1)[1].removeprefix("'").removesuffix("'")


def _listed(words: Sequence[str]) -> str:
    return ", ".join(repr(w) for w in words)
