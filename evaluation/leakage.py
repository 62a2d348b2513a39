"""The leakage probe: which fields of a feature set look as if they were written after the outcome, with numbers.

Why the bounds are what they are: docs/decisions/0030-what-the-leakage-probe-accuses.md.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.curves import wilson_interval
from evaluation.errors import EvaluationError
from evaluation.field_alone import FieldAlone, columns_alone, fields_alone
from evaluation.forest_without import ForestsWithout, forests_without, held_out
from evaluation.samples import bounded
from features.contract import Contract, Kind, LeadField

SAMPLE = 20_000
# A field by itself may not know as much as a whole model of leads does.
ALONE = 0.85
# Nor, from here up, more than a forest of all the other fields together, where there are some.
ALONE_AGAINST_REST, OTHER_FIELDS = 0.80, 3
FILLED_WON, FILLED_LEADS, FILLED_SHARE = 0.90, 50, 0.10
LOST_RATIO = 10
NAMES_LEADS, NAMED_LEADS = 0.5, 50
COPIES, FOLLOWS, IDS = 0.9, 0.999, 0.75


class LeakFound(EvaluationError):
    """A field that the contract does not declare late looks as if it knew the outcome."""


class OnLeak(StrEnum):
    """What a suspect that the contract does not declare late does to a training that would register a version."""

    REFUSE = "refuse"
    WARN = "warn"


@dataclass(frozen=True)
class Suspect:
    """One accusation: the field, the rule that it broke, a plain sentence with the numbers, and whether it is declared.

    `declared_late` fields are known after `score_at` by the contract's own word: they are on the record and stop
    nothing here; the gate refuses them.
    """

    field: str
    rule: str
    sentence: str
    declared_late: bool


@dataclass(frozen=True)
class Repeats:
    """Test leads that train leads repeat: by their id (a fault of the split), and in all that a model sees of them.

    `same_features` counts the test leads whose values of the probed fields all occur in one train lead. On a grouped
    split they differ in a field that the model does not see: to it they are leads that it has been fitted on.
    """

    test_leads: int
    same_id: int
    same_features: int


@dataclass(frozen=True)
class LeakReport:
    """What the probe measured and whom it suspects; `rows` of `total` train leads were looked at."""

    rows: int
    total: int
    fields: tuple[FieldAlone, ...]
    forests: ForestsWithout
    repeats: Repeats
    declared_late: tuple[str, ...]
    found: tuple[Suspect, ...]

    @property
    def suspects(self) -> tuple[Suspect, ...]:
        """Those that the contract does not declare late: reasons not to serve the model."""
        return tuple(s for s in self.found if not s.declared_late)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the suspects, each once."""
        return tuple(dict.fromkeys(s.field for s in self.suspects))

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-like data.

        Each field's `agrees_with_known_at` says whether the data show what the contract says of it. Of a field that is
        not declared late it is true unless the field is suspected. Of one that is declared late it is true where the
        field knows as much of the outcome as only a late field does, and null where it does not: late fields may well
        know little.
        """
        return {
            "leads": {"looked_at": self.rows, "of": self.total},
            "suspects": [asdict(s) for s in self.found],
            "declared_late": list(self.declared_late),
            "repeats": asdict(self.repeats),
            "forest": asdict(self.forests),
            "fields": [{**f.as_dict(), "agrees_with_known_at": self._agrees(f.name)} for f in self.fields],
        }

    def _agrees(self, field: str) -> bool | None:
        rules = {s.rule for s in self.found if s.field == field}
        if field not in self.declared_late:
            return not rules
        return True if rules & _LATE_RULES.keys() else None


def probe_leaks(
    train: DataFrame,
    test: DataFrame,
    contract: Contract,
    fields: Sequence[LeadField],
    seed: int = 0,
    total: int | None = None,
) -> LeakReport:
    """Probe the fields that a model is to see, on at most about 20,000 train leads.

    Both sides are prepared leads with `lead_group`. A small forest is fitted without each field, but for fields that
    name leads one by one. Leads of one class accuse nobody. `total` is how many train leads there are, where the caller
    knows it.
    """
    sample, label = bounded(train, SAMPLE, total, seed), contract.label.name
    rows: Any = sample.leads.select(*columns_alone(contract, fields, seed), held_out(seed)).toPandas()
    alone = fields_alone(rows, contract, fields)
    # A word that names its lead tells a forest nothing of another lead.
    naming = {f.name for f in alone if _names_leads(f)}
    forests = ForestsWithout(0.5, {})
    if seen := [f for f in fields if f.name not in naming]:
        forests = forests_without(rows, seen, label, seed)
    repeats = count_repeats(train, test, contract, fields)
    late = tuple(contract.late_fields([f.name for f in fields]))
    found = tuple(judge_fields(alone, forests, late)) + tuple(_split_faults(repeats, contract))
    return LeakReport(alone[0].leads, sample.total, tuple(alone), forests, repeats, late, found)


def refuse_leaks(report: LeakReport, feature_set: str) -> None:
    """LeakFound, with every suspect's sentence, where there is a suspect that the contract does not declare late."""
    if report.suspects:
        told = " ".join(s.sentence for s in report.suspects)
        raise LeakFound(
            f"the feature set {feature_set!r} holds {len(report.names)} suspected leak(s). {told} Declare when such a "
            "field is really known (known_at in the contract) or make it `ignored`, and prepare again; or, where "
            "the data is right, train with -P on_leak=warn."
        )


def count_repeats(train: DataFrame, test: DataFrame, contract: Contract, fields: Sequence[LeadField]) -> Repeats:
    """Count the test leads whose id, or whose values of all `fields`, occur among the train leads.

    Two missing values count as equal. Values are compared by a hash of 64 bits: among a million leads on either side
    the chance of one false repeat is 1 in 20 million.
    """
    own_id = F.col(contract.id.name)
    # The hash passes over missing values, so that which they are is hashed as well.
    own_values = F.xxhash64(*(c for f in fields for c in (F.col(f.name), F.isnull(f.name))))
    keys = [
        F.struct(F.lit(kind).alias("kind"), key.cast("string").alias("key"))
        for kind, key in (("id", own_id), ("values", own_values))
    ]
    sides = [
        side.select(F.lit(tested).alias("tested"), F.explode(F.array(*keys)).alias("of"))
        for side, tested in ((train, 0), (test, 1))
    ]
    per_key = sides[0].unionAll(sides[1]).groupBy("of").agg(F.sum("tested").alias("n"), F.min("tested").alias("new"))
    same = F.sum(F.when(F.col("new") == 0, F.col("n")).otherwise(0)).alias("same")
    found = {row["kind"]: row for row in per_key.groupBy("of.kind").agg(F.sum("n").alias("n"), same).collect()}
    if not found:
        return Repeats(0, 0, 0)
    return Repeats(found["id"]["n"], found["id"]["same"], found["values"]["same"])


def judge_fields(alone: Sequence[FieldAlone], forests: ForestsWithout, late: Sequence[str]) -> list[Suspect]:
    """Hold what was measured against the rules; a field may break several."""
    found = []
    for field in alone:
        rules = _ID_RULES if field.kind in (Kind.ID, Kind.ORDER) else _FIELD_RULES
        for rule, say in rules.items():
            sentence = say(field, forests)
            if sentence:
                found.append(Suspect(field.name, rule, sentence, field.name in late))
    return found


def _surely(field: FieldAlone) -> float:
    """The area that a field has alone, less two standard errors; no more than chance where it is of few leads."""
    return field.auc - 2 * field.auc_error if field.auc_leads >= FILLED_LEADS else min(field.auc, 0.5)


def _knows_alone(field: FieldAlone, forests: ForestsWithout) -> str:
    if _surely(field) < ALONE:
        return ""
    rest = forests.without.get(field.name)
    against = f" (all the other fields together: {rest:.3f})" if rest is not None else ""
    return (
        f"{field.name} alone has an AUC of {field.auc:.3f} ± {2 * field.auc_error:.3f}{against}: a field known at "
        f"{field.known_at} that knows as much as a whole model, from {ALONE} up, was written after the outcome."
    )


def _beats_the_rest(field: FieldAlone, forests: ForestsWithout) -> str:
    rest = forests.without.get(field.name)
    if (
        rest is None
        or forests.fields <= OTHER_FIELDS
        or not ALONE_AGAINST_REST <= _surely(field) < ALONE
        or _surely(field) <= rest
    ):
        return ""
    return (
        f"{field.name} alone has an AUC of {field.auc:.3f} ± {2 * field.auc_error:.3f}, more than a forest of all the "
        f"other fields together ({rest:.3f})."
    )


def _filled_by_outcome(field: FieldAlone, _: ForestsWithout) -> str:
    """Filled in for converted leads only, or for others only."""
    if field.filled < FILLED_LEADS or field.filled == field.leads or field.rate_filled is None:
        return ""
    low, high = wilson_interval(np.array([field.won_filled]), np.array([field.filled]))
    base, filled = field.won / field.leads, f"{field.name} is filled in for {field.filled:,} leads"
    if low[0] >= max(FILLED_WON, (1 + base) / 2) and field.won_filled >= FILLED_SHARE * field.won:
        return f"{filled}, of which {field.rate_filled:.1%} converted; of all leads {base:.1%} did."
    lost_filled = field.filled - field.won_filled
    if high[0] <= base / LOST_RATIO and lost_filled >= FILLED_SHARE * (field.leads - field.won):
        return f"{filled}, of which only {field.rate_filled:.1%} converted; of all leads {base:.1%} did."
    return ""


def _names_leads(field: FieldAlone) -> bool:
    return field.kind == Kind.CATEGORY and field.filled >= NAMED_LEADS and field.distinct >= NAMES_LEADS * field.filled


def _identifies(field: FieldAlone, _: ForestsWithout) -> str:
    if not _names_leads(field):
        return ""
    return (
        f"{field.name} has {field.distinct:,} different words in {field.filled:,} leads: it names leads one by one, "
        "and a model learns them by heart."
    )


def _copies_an_id(field: FieldAlone, _: ForestsWithout) -> str:
    if field.filled < NAMED_LEADS:
        return ""
    if max(field.copies_id, field.copies_order) >= COPIES:
        which = "id" if field.copies_id >= field.copies_order else "order"
        share = max(field.copies_id, field.copies_order)
        return f"{field.name} says what the {which} field says in {share:.1%} of the leads: an id is no feature."
    if field.kind == Kind.NUMERIC and field.follows_order >= FOLLOWS:
        return f"{field.name} follows the order field (correlation {field.follows_order:.4f}): it numbers the leads."
    return ""


def _ids_predict(field: FieldAlone, _: ForestsWithout) -> str:
    if _surely(field) < IDS:
        return ""
    return (
        f"{field.name}, the {field.kind} field, predicts the label with an AUC of {field.auc:.3f}: ids are given by "
        "outcome, or the newest leads had no time to convert (leave those out)."
    )


# What only a field that is written after the outcome knows.
_LATE_RULES = {
    "knows the outcome alone": _knows_alone,
    "knows more than all other fields": _beats_the_rest,
    "filled in by outcome": _filled_by_outcome,
}
_FIELD_RULES = {**_LATE_RULES, "names leads": _identifies, "copies an id": _copies_an_id}
_ID_RULES = {"ids predict": _ids_predict}


def _split_faults(repeats: Repeats, contract: Contract) -> list[Suspect]:
    if not repeats.same_id:
        return []
    sentence = (
        f"{repeats.same_id:,} of {repeats.test_leads:,} test leads have the {contract.id.name} of a train lead: the "
        "test measures what was learned by heart."
    )
    return [Suspect(contract.id.name, "train leads repeated in test", sentence, declared_late=False)]
