"""What promote collects of a candidate for the gate: each attempt is a check, and what fails is missing after it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import mlflow
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from evaluation.gate_conditions import GateConditions
from evaluation.gate_evidence import Cost, Evidence, LeakFindings, Parity, Probe
from evaluation.gate_measures import CANDIDATE, NEWEST, PRODUCTION, Measured, measure
from evaluation.gate_report import Check, attempted
from evaluation.gate_scoring import count_scores, scored_by, scoring_cost, slice_columns
from evaluation.grades import GradeTable, grade_table
from evaluation.scored_sample import collect_scored
from features.contract import Contract, Kind
from features.stages import GRADE, served_probability
from pipelines.datasets import Prepared
from pipelines.gate_ways import ways_of_serving
from serving.models import load_version, typed_columns
from serving.registry import ResolvedVersion
from serving.scoring import input_columns

PROBE_LEADS, PARITY_LEADS = 50, 1000
NEVER_SEEN = "a value that no training lead had"
# Enough for intervals of half a per cent, and small enough for the driver to resample.
COMPARED_LEADS = 50_000
LEAKS = "leakage.json"
RETRAIN = "Train it again (`mlflow run . -e train`)."
RESTORE = "Restore Production's artifact, or roll back (`mlflow run . -e rollback`)."


@dataclass(frozen=True)
class Bench:
    """What every candidate is held against, and what the promoter allows on the record."""

    spark: SparkSession
    contract: Contract
    conditions: GateConditions
    data: Prepared
    production: ResolvedVersion | None
    allowed: Sequence[str] = ()
    allow_schema_change: bool = False

    @property
    def serving(self) -> int | None:
        """Number of the version in Production."""
        return self.production.version if self.production else None


@dataclass
class _Attempts:
    """Runs what collects evidence; each attempt leaves a check, passed or failed."""

    checks: list[Check] = field(default_factory=list)

    def of(self, name: str, work: Callable[[], Any], wanted: str, remedy: str = RETRAIN) -> Any:
        value, check = attempted(name, work, wanted, remedy)
        self.checks.append(check)
        return value


@dataclass(frozen=True)
class _Judged:
    """What came of scoring the test leads by both models."""

    scores: Probe | None = None
    measured: Measured | None = None
    graded: bool | None = None
    grades: GradeTable | None = None


def collect(candidate: ResolvedVersion, bench: Bench) -> tuple[Evidence, list[Check]]:
    """The evidence on one candidate, and a failed check for each attempt that raised; nothing raised escapes."""
    tries = _Attempts()
    model = tries.of("loads", partial(load_version, bench.spark, candidate), "an artifact that loads")
    models: dict[str, PipelineModel] = {CANDIDATE: model} if model is not None else {}
    theirs = None
    if (serving := bench.production) is not None:
        champion = tries.of("Production loads", partial(load_version, bench.spark, serving), "a model", RESTORE)
        models |= {PRODUCTION: champion} if champion is not None else {}
        theirs = tries.of("Production's schema", partial(typed_columns, serving), "a signature", RESTORE)
    judged, probe, ways, cost = _Judged(), None, None, None
    if model is not None:
        judged = _judged(tries, models, bench)
        probe = tries.of("scores probe leads", partial(_probe, model, bench), "probe leads scored")
        ways = tries.of("ways of serving", partial(_parity, candidate, model, bench), "leads scored by every way")
        cost = tries.of("scoring time", partial(_cost, models, bench), "a time")
    leaks = tries.of("leak report read", partial(_leaks, candidate), "a leak report in the version's run")
    mine = tries.of("schema read", partial(typed_columns, candidate), "a signature")
    # The tag is what a version says of itself, the stages are what it does.
    does = tries.of("stages read", partial(input_columns, model), "input columns") if model is not None else None
    says, known = features_of(candidate), {f.name for f in bench.contract.features}
    names = tuple(dict.fromkeys([*says, *(does or ())]))
    evidence = Evidence(
        has_production=bench.production is not None,
        measured=judged.measured,
        test_scores=judged.scores,
        probe=probe,
        graded=judged.graded,
        grades=judged.grades,
        features=names if says else [],
        late_fields=bench.contract.late_fields(names),
        unknown_fields=[n for n in names if n not in known],
        allowed_late_fields=bench.allowed,
        leaks=leaks,
        schema=mine,
        production_schema=theirs,
        allow_schema_change=bench.allow_schema_change,
        parity=ways,
        cost=cost,
        candidate_data_hash=candidate.tags.get("data_hash"),
        data_hash=bench.data.data_hash,
    )
    return evidence, [c for c in tries.checks if not c.passed]


def features_of(version: ResolvedVersion) -> list[str]:
    """Fields that a version says it looks at, by its tag."""
    return [name for name in version.tags.get("features", "").split(",") if name]


def _judged(tries: _Attempts, models: Mapping[str, PipelineModel], bench: Bench) -> _Judged:
    """Score the test leads once, by both models in one plan, and measure what came of it."""
    label, share = bench.contract.label.name, bench.conditions.newest_share

    def work() -> _Judged:
        with _cached(scored_by(models, bench.data.test, bench.contract, share)) as leads:
            sent = bench.data.test.count()
            counts = tries.of("scores test leads", lambda: count_scores(leads, CANDIDATE, sent), "test leads scored")
            graded = GRADE in leads.columns
            table = tries.of("grades counted", lambda: grade_table(leads, label), "grades") if graded else None
            measured = tries.of("measured", lambda: _measured(leads, list(models), bench), "measures of both models")
        return _Judged(counts, measured, graded, table)

    return tries.of("both models score", work, "test leads scored by both models") or _Judged()


def _measured(leads: DataFrame, models: Sequence[str], bench: Bench) -> Measured:
    words = [NEWEST, *slice_columns(bench.contract)]
    sample = collect_scored(leads, bench.contract.label.name, models, words, limit=COMPARED_LEADS)
    return measure(sample, bench.conditions)


@contextmanager
def _cached(leads: DataFrame) -> Iterator[DataFrame]:
    leads.cache()
    try:
        yield leads
    finally:
        leads.unpersist()


def _probe(model: PipelineModel, bench: Bench) -> Probe:
    """Send some test leads, a lead without any answer and one with words never seen through the model."""
    probes = _probe_leads(bench.data.test, bench.contract)
    found = model.transform(probes)
    return count_scores(found.select(served_probability(found.columns).alias("p")), "p", probes.count())


def _probe_leads(test: DataFrame, contract: Contract) -> DataFrame:
    names = [f.name for f in contract.features]
    some = test.select(*names).limit(PROBE_LEADS)
    one = test.select(*names).limit(1)
    empty = one.select(*(F.lit(None).cast(test.schema[n].dataType).alias(n) for n in names))
    words = {f.name for f in contract.features if f.kind is Kind.CATEGORY}
    strange = one.select(*(F.lit(NEVER_SEEN).alias(n) if n in words else F.lit(-1e300).alias(n) for n in names))
    return some.unionByName(empty).unionByName(strange)


def _parity(candidate: ResolvedVersion, model: PipelineModel, bench: Bench) -> list[Parity]:
    with _cached(bench.data.test.limit(PARITY_LEADS).coalesce(1)) as leads:
        return ways_of_serving(candidate, model, leads, bench.contract)


def _cost(models: Mapping[str, PipelineModel], bench: Bench) -> Cost:
    return scoring_cost(models, bench.data.test)


def _leaks(candidate: ResolvedVersion) -> LeakFindings:
    return LeakFindings.of(json.loads(mlflow.artifacts.load_text(f"runs:/{candidate.run_id}/{LEAKS}")))
