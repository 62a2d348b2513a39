"""Two models on the same leads: paired differences, curves, and the leads that the second one judges otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from evaluation.bootstrap import Intervals, intervals, paired_differences
from evaluation.curves import ScoreBins
from evaluation.gate_measures import bins_of, calibration_error
from evaluation.scored_sample import ScoredSample, collect_scored
from features.contract import Contract
from features.splits import GROUP
from features.stages import GRADE, served_probability

FIRST, SECOND = "first", "second"
FIRST_GRADE, SECOND_GRADE = "first_grade", "second_grade"


# What scored output carries: the field, its value in words, points and text; and that by lead.
Reason = Mapping[str, Any]
Reasons = Mapping[str, Sequence[Reason]]


@dataclass(frozen=True)
class ChangedLead:
    """A lead with its two probabilities (0 to 1) and grades (None where a model gives none), and the label it got.

    Reasons are None where the model gives none, and empty where no field moves the score by a point.
    """

    lead: str
    first: float
    second: float
    first_grade: str | None
    second_grade: str | None
    label: int
    first_reasons: tuple[Reason, ...] | None = None
    second_reasons: tuple[Reason, ...] | None = None

    @property
    def change(self) -> float:
        """Second less first."""
        return self.second - self.first


@dataclass(frozen=True)
class Seen:
    """A model that may have learned from some of the test leads: it was not trained beside them.

    At most `test_leads` of them, which are all of them unless fewer `train_leads` are on record (None: not on record).
    """

    model: str
    test_leads: int
    train_leads: int | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models by the same `leads`. Differences are second less first; `moves` counts leads by both grades.

    `crossed` is how many leads change their grade; `changed` the leads that change the most, those that cross a
    grade first. `moves` is empty, and `crossed` None, where a model gives no grades. `seen` are the models that may
    have learned from some of the leads.
    """

    leads: int
    total: int
    sides: Mapping[str, Intervals]
    differences: Intervals
    errors: Mapping[str, float]
    bins: Mapping[str, ScoreBins]
    moves: Mapping[tuple[str, str], int]
    crossed: int | None
    changed: tuple[ChangedLead, ...]
    seen: tuple[Seen, ...] = ()

    def explained(self, first: Reasons | None, second: Reasons | None) -> "Comparison":
        """The same, its changed leads with the reasons of both models; None for a model that gives none."""
        by_both = [
            replace(c, first_reasons=_of(first, c.lead), second_reasons=_of(second, c.lead)) for c in self.changed
        ]
        return replace(self, changed=tuple(by_both))

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON-like data, without the curves."""
        return {
            "leads": self.leads,
            "of": self.total,
            "sides": {name: side.as_dict() for name, side in self.sides.items()},
            "second_less_first": self.differences.as_dict(),
            "calibration_error": dict(self.errors),
            "grade_moves": [{"from": a, "to": b, "leads": n} for (a, b), n in self.moves.items()],
            "leads_that_cross_a_grade": self.crossed,
            "may_have_learned_from_test_leads": [asdict(seen) for seen in self.seen],
            "changed_leads": [{**asdict(c), "change": c.change} for c in self.changed],
        }


def scored_pair(first: PipelineModel, second: PipelineModel, leads: DataFrame, contract: Contract) -> DataFrame:
    """Leads with both served probabilities (`first`, `second`) and both grades, all from one plan.

    `leads` carries the contract's kept columns and `lead_group`; so does the result.
    """
    kept, scored = list(leads.columns), leads
    for name, model in ((FIRST, first), (SECOND, second)):
        found = model.transform(scored.select(*kept))
        grade = F.col(GRADE) if GRADE in found.columns else F.lit(None).cast("string")
        added = {f"__{name}": served_probability(found.columns), f"__{name}_grade": grade}
        scored, kept = found.withColumns(added), [*kept, *added]
    own = [c for c in kept if c not in leads.columns]
    return scored.select(*leads.columns, *(F.col(c).alias(c.removeprefix("__")) for c in own))


def compare_scores(scored: DataFrame, contract: Contract, top: int = 20, seed: int = 0) -> Comparison:
    """Compare two models by what `scored_pair` gives, which should be cached. OneClassOnly without both classes."""
    label = contract.label.name
    sample = collect_scored(scored.select(label, GROUP, FIRST, SECOND), label, [FIRST, SECOND], seed=seed)
    moves = _moves(scored)
    return Comparison(
        leads=sample.n,
        total=sample.total,
        sides={name: intervals(sample, name, seed=seed) for name in (FIRST, SECOND)},
        differences=paired_differences(sample, SECOND, FIRST, seed=seed),
        errors={name: calibration_error(sample, name) for name in (FIRST, SECOND)},
        bins={name: _bins(sample, name) for name in (FIRST, SECOND)},
        moves=moves,
        crossed=sum(n for (a, b), n in moves.items() if a != b) if moves else None,
        changed=tuple(_changed(scored, contract, top)),
    )


def _of(reasons: Reasons | None, lead: str) -> tuple[Reason, ...] | None:
    return None if reasons is None else tuple(reasons.get(lead, ()))


def _bins(sample: ScoredSample, name: str) -> ScoreBins:
    return bins_of(sample.labels, sample.scores[name])


def _moves(scored: DataFrame) -> dict[tuple[str, str], int]:
    """Leads by both grades, A first; empty where a model gives none."""
    graded = scored.where(F.col(FIRST_GRADE).isNotNull() & F.col(SECOND_GRADE).isNotNull())
    found = graded.groupBy(FIRST_GRADE, SECOND_GRADE).count().collect()
    return {(r[FIRST_GRADE], r[SECOND_GRADE]): r["count"] for r in sorted(found, key=lambda r: (r[0], r[1]))}


def _changed(scored: DataFrame, contract: Contract, top: int) -> Sequence[ChangedLead]:
    crosses = F.coalesce(F.col(FIRST_GRADE) != F.col(SECOND_GRADE), F.lit(False))
    size, lead = F.abs(F.col(SECOND) - F.col(FIRST)), F.col(contract.id.name).cast("string")
    columns = [lead.alias("lead"), F.col(contract.label.name).cast("int").alias("label")]
    rows = scored.select(*columns, FIRST, SECOND, FIRST_GRADE, SECOND_GRADE).orderBy(
        F.desc(crosses), F.desc(size), "lead"
    )
    return [
        ChangedLead(r["lead"], r[FIRST], r[SECOND], r[FIRST_GRADE], r[SECOND_GRADE], r["label"])
        for r in rows.where(size > 0).limit(top).collect()
    ]
