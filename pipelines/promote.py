"""promote: hold a version against the gate, and put it into Production when every check holds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import mlflow
import typer
from mlflow import MlflowClient
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from evaluation.gate import Check, Evidence, GateConditions, Probe, attempted, judge
from evaluation.metrics import evaluate
from features.contract import Contract, Kind
from features.contract_file import load_yaml
from features.errors import LeadScoringError
from features.stages import scored_columns, served_probability
from pipelines.commands import run_command
from pipelines.datasets import Prepared, load_prepared
from pipelines.rollback import who
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.tracking import connect, tracked_run
from serving.models import load_version
from serving.registry import ROLLED_BACK_AT, Move, NoSuchAlias, ResolvedVersion, move_production, resolve, versions
from serving.scoring import input_columns

BEST = "best"
PROBE_LEADS = 50
NEVER_SEEN = "a value that no training lead had"


class GateRefused(LeadScoringError):
    """A version did not pass the gate, or Production moved while it was judged; nothing was changed."""


class NoCandidate(LeadScoringError):
    """No version qualifies as the best one."""


class UnknownFields(LeadScoringError):
    """Fields are allowed by names that the contract does not have."""


@dataclass(frozen=True)
class Promotion:
    """What promote decided."""

    model: str
    version: int
    replaced: int | None
    changed: bool

    def __str__(self) -> str:
        if not self.changed:
            return f"{self.model} version {self.version} is in Production already; nothing to do"
        instead = f" instead of version {self.replaced}, now Previous" if self.replaced else ""
        return f"{self.model} version {self.version} is in Production{instead}"


def promote(
    version: Annotated[str, typer.Option(help="number of a version, or best")] = BEST,
    reason: Annotated[str, typer.Option(help="why, for the record")] = "",
    allow_late_fields: Annotated[str, typer.Option(help="late fields to allow on the record: NAME,NAME")] = "",
) -> None:
    """Put a version into Production if it passes the gate; a refusal changes nothing and exits with 2."""
    settings = Settings()
    allowed = _names(allow_late_fields, settings.contract())
    load_yaml(settings.gate_file, GateConditions)
    with spark_session(settings, "promote") as spark:
        print(run_promote(spark, settings, version, reason, allowed))


def run_promote(
    spark: SparkSession, settings: Settings, version: str = BEST, reason: str = "", allowed: Sequence[str] = ()
) -> Promotion:
    """Judge a version within an audit run and move Production; GateRefused names each check that failed."""
    contract, conditions = settings.contract(), load_yaml(settings.gate_file, GateConditions)
    client = connect(settings)
    data = load_prepared(spark, settings)
    asked = {"version": version, "reason": reason, "allow_late_fields": ",".join(allowed)}
    with tracked_run(settings, "promote", asked):
        bench = _Bench(spark, contract, data, _production(client, settings), allowed)
        candidate = _candidate(client, settings.model_name, version, bench)
        mlflow.set_tags({"model_name": candidate.name, "model_version": candidate.version, "promoted_by": who()})
        if bench.serving == candidate.version:
            moved = _move(client, candidate, reason, {})
            mlflow.set_tag("decision", "repaired" if moved.changed else "unchanged")
            return Promotion(candidate.name, candidate.version, None, changed=False)
        report = judge(conditions, *_evidence(candidate, bench))
        mlflow.log_dict(report.as_dict(), "gate.json")
        mlflow.log_text(report.as_table(), "gate.md")
        if not report.passed:
            mlflow.set_tag("decision", "refused")
            failed = " ".join(str(check) for check in report.failures())
            raise GateRefused(f"{candidate.name} version {candidate.version} is not promoted. {failed}")
        # The registry has no compare-and-set: this narrows the window for a second promoter to milliseconds.
        if replace(bench, production=_production(client, settings)).serving != bench.serving:
            raise GateRefused("Production moved while the gate was judging; run `mlflow run . -e promote` again.")
        moved = _move(client, candidate, reason, report.as_dict())
        mlflow.set_tag("decision", "promoted")
        return Promotion(candidate.name, candidate.version, moved.replaced, moved.changed)


def _move(client: MlflowClient, candidate: ResolvedVersion, reason: str, gate: dict[str, Any]) -> Move:
    now = datetime.now(UTC)
    return move_production(client, candidate.name, candidate.version, reason=reason, who=who(), now=now, gate=gate)


def _names(text: str, contract: Contract) -> tuple[str, ...]:
    """A comma-separated list of field names; UnknownFields names those that the contract lacks."""
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = sorted(set(names) - {f.name for f in contract.features})
    if unknown:
        late = contract.late_fields([f.name for f in contract.features])
        raise UnknownFields(
            f"allow_late_fields names {', '.join(unknown)}, which the contract {contract.name!r} does not have; "
            f"its late fields are {', '.join(late) or 'none'}."
        )
    return names


@dataclass(frozen=True)
class _Bench:
    """What every candidate is held against."""

    spark: SparkSession
    contract: Contract
    data: Prepared
    production: ResolvedVersion | None
    allowed: Sequence[str]

    @property
    def serving(self) -> int | None:
        return self.production.version if self.production else None


def _candidate(client: MlflowClient, name: str, version: str, bench: _Bench) -> ResolvedVersion:
    """The version asked for; `best` is the highest test AUC among versions of this data without late fields.

    A version that was rolled back from is not the best, however high its AUC: it comes back by its number alone.
    """
    if version != BEST:
        return resolve(client, name, version)
    found = [
        v
        for v in versions(client, name)
        if v.tags.get("data_hash") == bench.data.data_hash
        and math.isfinite(_test_auc(v))
        and _features(v)
        and set(bench.contract.late_fields(_features(v))) <= set(bench.allowed)
        and (ROLLED_BACK_AT not in v.tags or v.version == bench.serving)
    ]
    if not found:
        raise NoCandidate(
            f"no version of {name} was trained on the prepared data with fields known in time and was never rolled "
            "back; train one (`mlflow run . -e train`), or name a version: -P version=N."
        )
    # Among equals Production stays, and else the oldest wins: a re-trained twin replaces nobody.
    return max(found, key=lambda v: (_test_auc(v), v.version == bench.serving, -v.version))


def _test_auc(version: ResolvedVersion) -> float:
    """The test AUC that a version is tagged with; NaN where it says none."""
    try:
        return float(version.tags.get("test_auc_roc", "nan"))
    except ValueError:
        return math.nan


def _production(client: MlflowClient, settings: Settings) -> ResolvedVersion | None:
    try:
        return resolve(client, settings.model_name)
    except NoSuchAlias:
        return None


def _features(version: ResolvedVersion) -> list[str]:
    return [name for name in version.tags.get("features", "").split(",") if name]


def _evidence(candidate: ResolvedVersion, bench: _Bench) -> tuple[Any, ...]:
    """What the gate judges by: the evidence, then a check for each attempt to collect it."""
    checks: list[Check] = []

    def tried(name: str, work: Callable[[], Any], wanted: str, remedy: str) -> Any:
        value, check = attempted(name, work, wanted, remedy)
        checks.append(check)
        return value

    retrain = "Train it again (`mlflow run . -e train`)."
    model = tried("loads", partial(load_version, bench.spark, candidate), "an artifact that loads", retrain)
    metrics = probe = champion = None
    if model is not None:
        metrics = tried("scores test leads", partial(_metrics, model, bench), "test leads scored", retrain)
        probe = tried("scores probe leads", partial(_probe, model, bench), "probe scored", retrain)
    if (serving := bench.production) is not None:
        restore = "Restore Production's artifact, or roll back (`mlflow run . -e rollback`)."
        champion = tried(
            "Production scores", lambda: _metrics(load_version(bench.spark, serving), bench), "leads scored", restore
        )
    aucs = {"candidate_auc_roc": metrics and metrics["auc_roc"], "production_auc_roc": champion and champion["auc_roc"]}
    mlflow.log_metrics({name: auc for name, auc in aucs.items() if auc is not None})
    # The tag is what a version says of itself, the stages are what it does.
    says, does = _features(candidate), input_columns(model) if model is not None else ()
    names, known = tuple(dict.fromkeys([*says, *does])), {f.name for f in bench.contract.features}
    evidence = Evidence(
        candidate_auc=aucs["candidate_auc_roc"],
        has_production=bench.production is not None,
        production_auc=aucs["production_auc_roc"],
        test_leads=metrics and metrics["rows"],
        probe=probe,
        features=says,
        late_fields=bench.contract.late_fields(names),
        unknown_fields=[n for n in names if n not in known],
        allowed_late_fields=bench.allowed,
        candidate_data_hash=candidate.tags.get("data_hash"),
        data_hash=bench.data.data_hash,
    )
    return evidence, *checks


def _metrics(model: PipelineModel, bench: _Bench) -> dict[str, float]:
    label = bench.contract.label.name
    scored = model.transform(bench.data.test)
    return evaluate(scored.select(*scored_columns(scored, label)), label)


def _probe(model: PipelineModel, bench: _Bench) -> Probe:
    """Send some test leads, a lead without any answer and one with words never seen through the model."""
    probes = _probe_leads(bench.data.test, bench.contract)
    p = F.col("p")
    counts = (
        F.count(F.lit(1)),
        F.count_if(p.isNotNull() & ~F.isnan(p) & (F.abs(p) < float("inf"))),
        F.count_if(p.between(0, 1)),
    )
    scored = model.transform(probes)
    served = scored.select(served_probability(scored.columns).alias("p"))
    returned, finite, in_range = served.agg(*counts).collect()[0]
    return Probe(probes.count(), returned, finite, in_range)


def _probe_leads(test: DataFrame, contract: Contract) -> DataFrame:
    names = [f.name for f in contract.features]
    some = test.select(*names).limit(PROBE_LEADS)
    one = test.select(*names).limit(1)
    empty = one.select(*(F.lit(None).cast(test.schema[n].dataType).alias(n) for n in names))
    words = {f.name for f in contract.features if f.kind is Kind.CATEGORY}
    strange = one.select(*(F.lit(NEVER_SEEN).alias(n) if n in words else F.lit(-1e300).alias(n) for n in names))
    return some.unionByName(empty).unionByName(strange)


if __name__ == "__main__":
    run_command(promote)
