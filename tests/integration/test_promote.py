"""promote and rollback, from the command to the registry and the audit run, with small Spark models."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import mlflow
import pytest
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.stages import ForestParams, pipeline, scored_columns
from pipelines.commands import run_command
from pipelines.compare import NoSuchRun, run_compare
from pipelines.compiled import log_compiled
from pipelines.promote import GateRefused, NoCandidate, promote
from pipelines.rollback import rollback, run_rollback
from pipelines.settings import Settings
from pipelines.tracking import connect, log_model
from serving import version_plan
from serving.models import load_version
from serving.registry import NoSuchVersion, NothingToRollBack, ResolvedVersion, resolve
from tests.leads import small_contract, small_leads
from tests.promotions import DATA_HASH, MODELS, Registry, leaks, logged_models


@pytest.fixture(scope="module")
def store(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, dict]]:
    with logged_models(spark, tmp_path_factory.mktemp("promote")) as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Each of MODELS is loaded once for all promotions; one that cannot be loaded is tried every time."""
    loaded: dict[str, PipelineModel] = {}

    def load(spark: SparkSession, version: ResolvedVersion) -> PipelineModel:
        if version.run_id not in loaded:
            loaded[version.run_id] = load_version(spark, version)
        return loaded[version.run_id]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.gate_bench.load_version", load)
        yield


@pytest.fixture
def registry(spark: SparkSession, store: tuple[Settings, dict], request: pytest.FixtureRequest) -> Registry:
    settings, logged = store
    own = settings.model_copy(update={"model_name": request.node.name.replace("/", "-").replace(":", "-")[:100]})
    return Registry(spark, own, logged, connect(own))


@pytest.fixture(scope="module")
def first(spark: SparkSession, store: tuple[Settings, dict]) -> SimpleNamespace:
    """The first promotion of a model with three versions, and what it left behind."""
    settings, logged = store
    own = settings.model_copy(update={"model_name": "first"})
    registry = Registry(spark, own, logged, connect(own))
    registry.add("weak", 0.65)
    best = registry.add("good", 0.75)
    registry.add("good", 0.74)
    promoted = registry.promote(reason="first").version
    return SimpleNamespace(
        best=best,
        promoted=promoted,
        version=resolve(registry.client, own.model_name),
        run=registry.audit(),
        json=json.loads(registry.artifact("gate.json")),
        text=registry.artifact("gate.md"),
    )


def test_the_best_version_of_the_prepared_data_is_promoted(first):
    assert first.promoted == first.version.version == first.best
    assert first.version.stage == "Production"


def test_a_promotion_leaves_the_gate_s_report_and_its_numbers_in_a_run(first):
    run = first.run
    assert (run.info.status, run.data.tags["decision"], run.data.tags["model_version"]) == ("FINISHED", "promoted", "2")
    assert run.data.params["reason"] == "first"
    assert 0.65 < run.data.metrics["candidate_auc_roc"] < 0.9
    assert first.json["passed"] is True
    assert "| AUC " in first.text


def test_the_promoted_version_carries_who_when_why_and_the_report(first):
    tags = first.version.tags
    assert tags["promotion_reason"] == "first"
    assert tags["promoted_by"]
    assert tags["promoted_at"].endswith("+00:00")
    assert json.loads(tags["gate"])["passed"] is True


def test_the_best_version_has_no_late_field_however_high_its_auc(registry):
    registry.serve(registry.add("good", 0.75))
    registry.add("leaky", 0.99)
    assert not registry.promote().changed


@pytest.mark.parametrize("auc", ["nan", "inf", "", "high"])
def test_a_version_that_claims_no_number_as_its_auc_is_not_the_best(registry, auc):
    registry.serve(registry.add("good", 0.75))
    registry.add("good", 0.9, test_auc_roc=auc)
    assert not registry.promote().changed


def test_a_best_version_that_serves_already_stays_and_nothing_changes(registry):
    registry.serve(registry.add("good", 0.75))
    before = registry.state()
    assert "in Production already" in str(registry.promote(reason="again"))
    assert registry.state() == before
    assert registry.audit().data.tags["decision"] == "unchanged"


def test_a_twin_of_the_version_in_production_does_not_replace_it(registry):
    registry.add("good", 0.75)
    newer = registry.add("good", 0.75)
    registry.serve(newer)
    assert registry.promote().changed is False
    assert registry.production == newer


def test_a_version_that_was_rolled_back_is_not_the_best_again(registry):
    registry.serve(registry.add("good", 0.74))
    better = registry.add("good", 0.75)
    registry.serve(better)
    run_rollback(registry.settings)
    assert not registry.promote().changed
    assert registry.promote(str(better)).version == better


def test_a_registry_without_a_fit_version_is_answered_with_train(registry):
    registry.add("good", 0.75, data_hash="of-other-data")
    registry.add("leaky", 0.99)
    with pytest.raises(NoCandidate, match=r"mlflow run \. -e train"):
        registry.promote()


@pytest.mark.parametrize(
    ("model", "tags", "said"),
    [
        ("leaky", {}, "Tag known too late"),
        ("leaky", {"features": "Visits,City", "late_fields": ""}, "Tag known too late"),
        ("good", {"features": ""}, "no list of fields"),
        ("good", {"features": "Visits,Mystery"}, "Mystery unknown"),
        ("good", {"data_hash": "of-other-data"}, "same data"),
        ("weak", {}, "lower than Production's"),
        ("shy", {}, r"calibration: found 0\.\d+ against"),
    ],
    ids=["late-field", "late-field-hidden", "no-fields", "unknown-field", "other-data", "worse", "miscalibrated"],
)
def test_a_version_that_fails_a_check_changes_nothing_but_the_record(registry, model, tags, said):
    registry.serve(registry.add("good", 0.75))
    unfit = registry.add(model, 0.8, **tags)
    before = registry.state()
    with pytest.raises(GateRefused, match=f"version {unfit} is not promoted.*{said}"):
        registry.promote(str(unfit))
    assert registry.state() == before
    assert (registry.audit().info.status, registry.audit().data.tags["decision"]) == ("FAILED", "refused")
    assert "FAILED" in registry.artifact("gate.md")


def test_a_version_whose_artifact_is_gone_is_refused(registry):
    registry.client.create_registered_model(registry.settings.model_name)
    tags = {"features": "Visits", "data_hash": DATA_HASH}
    registry.client.create_model_version(registry.settings.model_name, "/nowhere/model", tags=tags)
    with pytest.raises(GateRefused, match=r"loads: found ModelUnreadable.*AUC: found no number"):
        registry.promote("1")
    assert registry.state()[0] == {}


def test_while_production_cannot_be_scored_nothing_is_promoted(registry):
    registry.client.create_registered_model(registry.settings.model_name)
    registry.client.create_model_version(registry.settings.model_name, "/nowhere/model")
    registry.client.set_registered_model_alias(registry.settings.model_name, "Production", "1")
    registry.add("good", 0.75)
    with pytest.raises(GateRefused, match=r"against no number, wanted surely at most 0\.01 lower"):
        registry.promote()
    assert registry.production == 1


def test_a_production_that_moves_while_the_gate_judges_is_not_overwritten(registry, monkeypatch):
    for auc in (0.75, 0.74, 0.73):
        registry.add("good", auc)
    registry.serve(3)
    measure = sys.modules["pipelines.gate_bench"].measure

    def meanwhile(*args):
        registry.client.set_registered_model_alias(registry.settings.model_name, "Production", "2")
        return measure(*args)

    monkeypatch.setattr("pipelines.gate_bench.measure", meanwhile)
    with pytest.raises(GateRefused, match="Production moved"):
        registry.promote("1")
    assert registry.production == 2


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (None, "no leak report"),
        (leaks(MODELS["good"][0], "City"), "City knows too much"),
        (leaks(("Visits",)), "Seconds, City not looked at"),
        ({"fields": "all of them"}, "leak report read: found KeyError"),
    ],
    ids=["missing", "accusing", "partial", "unreadable"],
)
def test_a_version_without_a_clean_leak_report_is_refused(registry, report, said):
    with pytest.raises(GateRefused, match=said):
        registry.promote(str(registry.add_with_leaks("good", report)))
    assert registry.state()[0] == {}


def test_a_suspect_allowed_by_name_is_promoted(registry):
    version = registry.add_with_leaks("good", leaks(MODELS["good"][0], "City"))
    assert registry.promote(str(version), allowed=("City",)).version == version


def test_other_input_columns_need_a_word_of_the_promoter(registry, tmp_path):
    lenient = (
        "min_auc: 0.5\nmax_auc_drop: 0.5\nmax_brier_rise: 0.5\nmax_ece: 1.0\nmax_ece_rise: 1.0\nmax_cost_factor: 50.0\n"
    )
    (tmp_path / "gate.yaml").write_text(lenient, encoding="utf-8")
    registry = replace(registry, settings=registry.settings.model_copy(update={"gate_file": tmp_path / "gate.yaml"}))
    registry.serve(registry.add("weak", 0.6))
    registry.add("good", 0.75)
    with pytest.raises(GateRefused, match=r"schema: found Visits \(double\) added, Seconds \(double\) added"):
        registry.promote("2")
    assert registry.production == 1
    assert registry.promote("2", allow_schema_change=True).version == registry.production == 2


def test_an_equal_model_passes_every_check(registry):
    registry.serve(registry.add("good", 0.75))
    registry.add("good", 0.75)
    assert registry.promote("2").version == 2


@pytest.fixture(scope="module")
def comparison(spark: SparkSession, store: tuple[Settings, dict]) -> SimpleNamespace:
    """A version without a compiled scorer against a run with one, that registered nothing and knows other leads."""
    settings, logged = store
    own = settings.model_copy(update={"model_name": "compared"})
    registry = Registry(spark, own, logged, connect(own))
    registry.serve(registry.add("good", 0.75))
    fields = small_contract().feature_set("available")[-1:]
    leads = small_leads(spark, 200)
    model = pipeline(fields, ForestParams(trees=2, depth=2), "Bought").fit(leads)
    with mlflow.start_run() as run:
        scored = model.transform(leads)
        served = scored.select(*(f.name for f in fields), *scored_columns(scored, "Bought"))
        log_compiled(log_model(model, fields, leads), fields, served)
        mlflow.set_tags({"features": "City", "data_hash": "of-other-data"})
        mlflow.log_metric("train_rows", 200)
    compared = run_compare(spark, own, "Production", run.info.run_id, top=3)
    return SimpleNamespace(
        run_id=compared.run_id,
        said=str(compared),
        second=f"run {run.info.run_id[:8]}",
        audit=registry.audit(),
        json=json.loads(registry.artifact("comparison.json")),
        html=registry.artifact("comparison.html"),
    )


def test_a_comparison_of_a_version_and_a_run_is_logged_as_a_run(comparison):
    told = comparison.json
    assert comparison.audit.info.run_id == comparison.run_id
    assert (told["first"], told["second"]) == ("version 1", comparison.second)
    assert told["second_less_first"]["metrics"]["auc_roc"]["value"] < 0
    assert len(told["changed_leads"]) == 3
    assert "Changed leads" in comparison.html


def test_a_run_with_a_compiled_scorer_tells_its_reasons_though_it_is_no_version(comparison):
    lead = comparison.json["changed_leads"][0]
    told = [reason["text"] for reason in lead["second_reasons"]]
    assert told
    assert all(text.startswith("City ") and text in comparison.html for text in told)


def test_a_version_without_a_compiled_scorer_is_said_to_tell_no_reasons(comparison):
    assert comparison.json["changed_leads"][0]["first_reasons"] is None
    assert "The first model has no compiled scorer" in comparison.html


def test_a_model_that_may_know_test_leads_is_told_with_their_number(comparison):
    known = {"model": comparison.second, "test_leads": 200, "train_leads": 200}
    assert comparison.json["may_have_learned_from_test_leads"] == [known]
    assert "up to 200 of the 600 test leads" in comparison.html
    assert f"{comparison.second} may have learned from some of these leads" in comparison.said


def test_a_comparison_s_tag_names_the_model_that_may_know_test_leads(comparison):
    assert comparison.audit.data.tags["seen"] == comparison.second


def test_a_comparison_with_a_run_that_does_not_exist_is_refused(registry):
    registry.serve(registry.add("good", 0.75))
    with pytest.raises(NoSuchRun, match="holds no run"):
        run_compare(registry.spark, registry.settings, second="0" * 32)


def test_an_evaluator_that_raises_refuses(registry, monkeypatch):
    registry.serve(registry.add("good", 0.75))
    registry.add("good", 0.75)

    def broken(*args):
        raise ZeroDivisionError("no leads")

    monkeypatch.setattr("pipelines.gate_bench.measure", broken)
    with pytest.raises(GateRefused, match="measured: found ZeroDivisionError: no leads"):
        registry.promote("2")
    assert registry.production == 1


def test_a_refused_version_names_the_audit_that_refused_it(registry):
    registry.add("leaky", 0.99)
    with pytest.raises(GateRefused):
        registry.promote("1")
    tags = resolve(registry.client, registry.settings.model_name, "1").tags
    assert (tags["gate_result"], tags["gate_run_id"]) == ("refused", registry.audit().info.run_id)
    page = mlflow.artifacts.load_text(tags["gate_report"])
    assert "Refused:" in page
    assert "Tag known too late" in page


def test_a_late_field_is_allowed_by_name_and_on_the_record(registry):
    registry.add("leaky", 0.99)
    assert registry.promote(allowed=("Tag",)).version == 1
    assert registry.audit().data.params["allow_late_fields"] == "Tag"
    assert "Tag known too late, allowed by name" in resolve(registry.client, registry.settings.model_name).tags["gate"]


def test_an_unknown_version_is_answered_with_those_that_exist(registry):
    registry.add("good", 0.75)
    with pytest.raises(NoSuchVersion, match=r"no version 7; it has 1\."):
        registry.promote("7")


def test_a_rollback_leaves_an_audit_run(registry):
    for auc in (0.74, 0.75):
        registry.serve(registry.add("good", auc))
    run_rollback(registry.settings, reason="complaints")
    run = registry.audit()
    assert (run.data.tags["entry_point"], run.data.tags["decision"]) == ("rollback", "rolled back")
    assert (run.data.tags["left_version"], run.data.tags["model_version"]) == ("2", "1")
    assert (registry.production, run.data.params["reason"]) == (1, "complaints")


def test_a_rollback_with_nothing_to_go_back_to_is_recorded_as_failed(registry):
    registry.serve(registry.add("good", 0.75))
    with pytest.raises(NothingToRollBack):
        run_rollback(registry.settings)
    assert registry.audit().info.status == "FAILED"
    assert registry.production == 1


@pytest.fixture
def command(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run an entry point as a command, within this process and its session; its exit code."""
    for name in ("data", "contract_file", "gate_file", "experiment", "model_name"):
        monkeypatch.setenv(f"LEADS_{name.upper()}", str(getattr(registry.settings, name)))

    def run(function: Callable[..., None], *words: str) -> int:
        monkeypatch.setattr(sys, "argv", [function.__name__, *words])
        with pytest.raises(SystemExit) as ended:
            run_command(function)
        return int(ended.value.code or 0)

    return run


def test_a_refusal_is_one_line_on_stderr_and_exit_2(registry, command, capsys):
    registry.add("leaky", 0.99)
    assert command(promote, "--version", "1") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error: {registry.settings.model_name} version 1 is not promoted. fields: found Tag")


def test_promote_and_rollback_as_mlflow_runs_them_take_empty_words(registry, command, capsys):
    registry.serve(registry.add("good", 0.74))
    registry.add("good", 0.75)
    assert command(promote, "--version", "best", "--reason", "", "--allow-late-fields", "") == 0
    assert command(rollback, "--version", "previous", "--reason", "") == 0
    assert "version 1 is in Production again instead of version 2" in capsys.readouterr().out


def test_a_field_allowed_by_a_name_the_contract_lacks_is_refused(registry, command, capsys):
    registry.add("leaky", 0.99)
    assert command(promote, "--version", "1", "--allow-late-fields", "Tagg") == 2
    assert "allow_late_fields names Tagg" in capsys.readouterr().err
    assert registry.state()[0] == {}


def test_a_stream_that_scores_otherwise_than_the_pipeline_is_refused(registry, monkeypatch):
    read = version_plan.events
    monkeypatch.setattr(version_plan, "events", lambda *given: read(*given).withColumn("Visits", F.lit(0.0)))
    registry.add("good", 0.74)
    with pytest.raises(GateRefused, match=r"parity: found .*stream"):
        registry.promote("1")


@pytest.mark.parametrize("name", ["LeadId", "Number"])
def test_a_suspect_id_or_order_field_may_be_allowed_by_name(registry, command, name):
    registry.serve(registry.add("good", 0.74))
    assert command(promote, "--version", "1", "--allow-late-fields", name) == 0
    assert registry.audit().data.params["allow_late_fields"] == name


def test_a_rollback_to_a_word_is_refused(command, capsys):
    assert command(rollback, "--version", "yesterday") == 2
    assert "neither a number nor 'previous'" in capsys.readouterr().err
