"""promote: hold a version against the gate, and put it into Production when every check holds."""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import mlflow
import typer
from mlflow import MlflowClient
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from evaluation.gate import Check, Evidence, GateConditions, GateReport, Probe, attempted, judge
from evaluation.metrics import evaluate
from features.contract import Contract, Kind
from features.contract_file import load_yaml
from features.errors import LeadScoringError
from features.stages import positive_probability, scored_columns
from pipelines.commands import run_command
from pipelines.datasets import Prepared, load_prepared
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.tracking import connect, tracked_run
from serving.models import load_version
from serving.registry import NoSuchAlias, ResolvedVersion, move_production, resolve, versions

BEST = "best"
PROBE_LEADS = 50
NEVER_SEEN = "a value that no training lead had"


class GateRefused(LeadScoringError):
    """A version did not pass the gate; nothing was changed."""


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
        candidate = _candidate(client, settings, data, contract, version, allowed)
        production = _production(client, settings)
        mlflow.set_tags({"model_name": candidate.name, "model_version": candidate.version, "promoted_by": _who()})
        if production is not None and production.version == candidate.version:
            moved = _move(client, candidate, reason, {})
            mlflow.set_tag("decision", "repaired" if moved.changed else "unchanged")
            return Promotion(candidate.name, candidate.version, None, changed=False)
        report = _judged(spark, conditions, contract, data, candidate, production, allowed)
        mlflow.log_dict(report.as_dict(), "gate.json")
        mlflow.log_text(report.as_table(), "gate.md")
        mlflow.set_tag("decision", "promoted" if report.passed else "refused")
        if not report.passed:
            failed = " ".join(str(check) for check in report.failures())
            raise GateRefused(f"{candidate.name} version {candidate.version} is not promoted. {failed}")
        moved = _move(client, candidate, reason, report.as_dict())
        return Promotion(candidate.name, candidate.version, moved.replaced, moved.changed)


def _move(client: MlflowClient, candidate: ResolvedVersion, reason: str, gate: dict[str, Any]) -> Any:
    who, now = _who(), datetime.now(UTC)
    return move_production(client, candidate.name, candidate.version, reason=reason, who=who, now=now, gate=gate)


def _who() -> str:
    return getpass.getuser()


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


def _candidate(
    client: MlflowClient, settings: Settings, data: Prepared, contract: Contract, version: str, allowed: Sequence[str]
) -> ResolvedVersion:
    """The version asked for; `best` is the highest test AUC among versions of this data without late fields."""
    if version != BEST:
        return resolve(client, settings.model_name, version)
    found = [
        v
        for v in versions(client, settings.model_name)
        if v.tags.get("data_hash") == data.data_hash
        and v.tags.get("test_auc_roc")
        and set(contract.late_fields(_features(v))) <= set(allowed)
    ]
    if not found:
        raise NoCandidate(
            f"no version of {settings.model_name} was trained on the prepared data with fields known in time; train "
            "one (`mlflow run . -e train`), or name a version: -P version=N."
        )
    # The newest of equals comes last in number and wins nothing: a re-trained twin replaces nobody.
    return max(found, key=lambda v: (float(v.tags["test_auc_roc"]), -v.version))


def _production(client: MlflowClient, settings: Settings) -> ResolvedVersion | None:
    try:
        return resolve(client, settings.model_name)
    except NoSuchAlias:
        return None


def _features(version: ResolvedVersion) -> list[str]:
    return [name for name in version.tags.get("features", "").split(",") if name]


def _judged(
    spark: SparkSession,
    conditions: GateConditions,
    contract: Contract,
    data: Prepared,
    candidate: ResolvedVersion,
    production: ResolvedVersion | None,
    allowed: Sequence[str],
) -> GateReport:
    """Collect the evidence; whatever cannot be had is a failed check."""
    checks: list[Check] = []

    def tried(name: str, work: Any, wanted: str, remedy: str) -> Any:
        value, check = attempted(name, work, wanted, remedy)
        checks.append(check)
        return value

    retrain = "Train it again (`mlflow run . -e train`)."
    model = tried("loads", partial(load_version, spark, candidate), "an artifact that loads", retrain)
    metrics = probe = champion = None
    if model is not None:
        metrics = tried("scores test leads", partial(_metrics, model, data, contract), "test leads scored", retrain)
        probe = tried("scores probe leads", partial(_probe, spark, model, data, contract), "probe scored", retrain)
    if production is not None:
        restore = "Restore Production's artifact, or roll back (`mlflow run . -e rollback`)."
        work = partial(_reloaded, spark, production, data, contract)
        champion = tried("Production scores test leads", work, "test leads scored", restore)
    names = _features(candidate)
    evidence = Evidence(
        candidate_auc=metrics and metrics["auc_roc"],
        has_production=production is not None,
        production_auc=champion and champion["auc_roc"],
        test_leads=metrics and metrics["rows"],
        probe=probe,
        features=names,
        late_fields=contract.late_fields(names),
        unknown_fields=[n for n in names if n not in {f.name for f in contract.features}],
        allowed_late_fields=allowed,
        candidate_data_hash=candidate.tags.get("data_hash"),
        data_hash=data.data_hash,
    )
    return judge(conditions, evidence, *checks)


def _metrics(model: PipelineModel, data: Prepared, contract: Contract) -> dict[str, float]:
    label = contract.label.name
    return evaluate(model.transform(data.test).select(*scored_columns(label)), label)


def _reloaded(spark: SparkSession, version: ResolvedVersion, data: Prepared, contract: Contract) -> dict[str, float]:
    return _metrics(load_version(spark, version), data, contract)


def _probe(spark: SparkSession, model: PipelineModel, data: Prepared, contract: Contract) -> Probe:
    """Send some test leads, a lead without any answer and one with words never seen through the model."""
    probes = _probe_leads(data.test, contract)
    sent = probes.count()
    p = F.col("p")
    found = (
        model.transform(probes)
        .select(positive_probability().alias("p"))
        .agg(
            F.count(F.lit(1)).alias("returned"),
            F.count_if(p.isNotNull() & ~F.isnan(p) & (F.abs(p) < float("inf"))).alias("finite"),
            F.count_if(p.between(0, 1)).alias("in_range"),
        )
        .first()
    )
    if found is None:
        raise RuntimeError("an aggregate without groups gives one row")
    return Probe(sent, found["returned"], found["finite"], found["in_range"])


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
