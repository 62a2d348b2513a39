"""promote: hold a version against the gate, and put it into Production when every check holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import mlflow
import typer
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from evaluation.gate import judge
from evaluation.gate_conditions import GateConditions
from evaluation.gate_report import GateReport
from features.contract import Contract
from features.contract_file import load_yaml
from features.errors import LeadScoringError
from pipelines.commands import Switch, run_command
from pipelines.datasets import load_prepared
from pipelines.gate_bench import Bench, collect, features_of
from pipelines.gate_record import log_gate
from pipelines.rollback import who
from pipelines.session import spark_session
from pipelines.settings import Settings
from pipelines.tracking import connect, tracked_run
from serving.registry import ROLLED_BACK_AT, Move, NoSuchAlias, ResolvedVersion, move_production, resolve, versions

BEST = "best"


class GateRefused(LeadScoringError):
    """A version did not pass the gate, or Production moved while it was judged; nothing was changed.

    `version` is the one that did not pass, None where Production moved.
    """

    def __init__(self, message: str, version: int | None = None) -> None:
        super().__init__(message)
        self.version = version


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
    allow_late_fields: Annotated[str, typer.Option(help="late or suspected fields to allow on the record")] = "",
    allow_schema_change: Annotated[
        Switch, typer.Option(help="allow other input columns than Production's")
    ] = Switch.FALSE,
) -> None:
    """Put a version into Production if it passes the gate; a refusal leaves Production alone and exits with 2."""
    settings = Settings()
    allowed = _names(allow_late_fields, settings.contract())
    load_yaml(settings.gate_file, GateConditions)
    with spark_session(settings, "promote", beside=connect) as spark:
        print(run_promote(spark, settings, version, reason, allowed, allow_schema_change=bool(allow_schema_change)))


def run_promote(
    spark: SparkSession,
    settings: Settings,
    version: str = BEST,
    reason: str = "",
    allowed: Sequence[str] = (),
    *,
    allow_schema_change: bool = False,
    passed_over: Sequence[int] = (),
) -> Promotion:
    """Judge a version within an audit run and move Production; GateRefused names each check that failed.

    `best` is chosen among the versions that are not `passed_over`.
    """
    contract, conditions = settings.contract(), load_yaml(settings.gate_file, GateConditions)
    client = connect(settings)
    data = load_prepared(spark, settings)
    asked = {"version": version, "reason": reason, "allow_late_fields": ",".join(allowed)}
    with tracked_run(settings, "promote", {**asked, "allow_schema_change": allow_schema_change}) as run:
        mlflow.set_tags({"model_name": settings.model_name, "promoted_by": who()})
        serving = _production(client, settings)
        bench = Bench(spark, contract, conditions, data, serving, allowed, allow_schema_change)
        candidate = _candidate(client, settings.model_name, version, bench, passed_over)
        mlflow.set_tag("model_version", candidate.version)
        if bench.serving == candidate.version:
            moved = _move(client, candidate, reason, {})
            mlflow.set_tag("decision", "repaired" if moved.changed else "unchanged")
            return Promotion(candidate.name, candidate.version, None, changed=False)
        report = _judged(candidate, bench, run.info.run_id)
        _link(client, candidate, run, report)
        if not report.passed:
            mlflow.set_tag("decision", "refused")
            failed = " ".join(str(check) for check in report.failures())
            raise GateRefused(
                f"{candidate.name} version {candidate.version} is not promoted. {failed}", candidate.version
            )
        # The registry has no compare-and-set: this narrows the window for a second promoter to milliseconds.
        if replace(bench, production=_production(client, settings)).serving != bench.serving:
            mlflow.set_tag("decision", "overtaken")
            raise GateRefused("Production moved while the gate was judging; run `mlflow run . -e promote` again.")
        moved = _move(client, candidate, reason, report.as_tag())
        mlflow.set_tag("decision", "promoted")
        return Promotion(candidate.name, candidate.version, moved.replaced, moved.changed)


def _judged(candidate: ResolvedVersion, bench: Bench, run_id: str) -> GateReport:
    """Collect, judge, and leave numbers and report in the audit run."""
    evidence, attempts = collect(candidate, bench)
    report = judge(bench.conditions, evidence, *attempts)
    log_gate(report, evidence, bench.conditions, _told(candidate, bench), run_id)
    return report


def _told(candidate: ResolvedVersion, bench: Bench) -> str:
    against = f"against version {bench.serving}" if bench.serving else "as the first one"
    return f"{candidate.name} version {candidate.version} {against}"


def _link(client: MlflowClient, candidate: ResolvedVersion, run: mlflow.ActiveRun, report: GateReport) -> None:
    """Tag the version with its last audit, also where it is refused; which version serves is not touched."""
    said = "passed" if report.passed else "refused"
    tags = {"gate_run_id": run.info.run_id, "gate_report": f"{run.info.artifact_uri}/gate.html", "gate_result": said}
    for key, value in tags.items():
        client.set_model_version_tag(candidate.name, str(candidate.version), key, value)


def _move(client: MlflowClient, candidate: ResolvedVersion, reason: str, gate: dict[str, Any]) -> Move:
    now = datetime.now(UTC)
    return move_production(client, candidate.name, candidate.version, reason=reason, who=who(), now=now, gate=gate)


def _names(text: str, contract: Contract) -> tuple[str, ...]:
    """A comma-separated list of field names; UnknownFields names those that the contract lacks.

    The id and order fields are among them: the leak report may accuse these as well.
    """
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    known = (*contract.features, contract.id, contract.order)
    unknown = sorted(set(names) - {f.name for f in known})
    if unknown:
        late = contract.late_fields([f.name for f in contract.features])
        raise UnknownFields(
            f"allow_late_fields names {', '.join(unknown)}, which the contract {contract.name!r} does not have; "
            f"its late fields are {', '.join(late) or 'none'}."
        )
    return names


def _candidate(
    client: MlflowClient, name: str, version: str, bench: Bench, passed_over: Sequence[int]
) -> ResolvedVersion:
    """The version asked for; `best` is the highest test AUC among versions of this data without late fields.

    A version that was rolled back from is not the best, however high its AUC: it comes back by its number alone.
    """
    if version != BEST:
        return resolve(client, name, version)
    found = [
        v
        for v in versions(client, name)
        if v.version not in passed_over
        and v.tags.get("data_hash") == bench.data.data_hash
        and math.isfinite(_test_auc(v))
        and features_of(v)
        and set(bench.contract.late_fields(features_of(v))) <= set(bench.allowed)
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


if __name__ == "__main__":
    run_command(promote)
