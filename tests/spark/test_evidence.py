"""What a training leaves beside its metrics, on small leads in a tracking store of its own."""

import json
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from evaluation.bootstrap import intervals
from evaluation.fitting import Finish, fit_servable
from evaluation.grades import GradeRule
from evaluation.leakage import LeakFound, OnLeak
from evaluation.metrics import evaluate
from evaluation.scored_sample import collect_scored, score_with
from evaluation.scorers import spark_scorer
from evaluation.search import encoded
from features.contract import Contract
from features.contract_file import parse_yaml
from features.splits import with_group
from features.stages import ForestParams, forest_of, params_of, pipeline, scored_columns
from pipelines.datasets import Prepared
from pipelines.evidence import log_evidence
from pipelines.leaks import check_leaks, probe, probed_leads
from pipelines.measures import evidence_columns, measure
from tests.leads import SMALL, small_contract, small_leads

PARAMS = ForestParams(trees=4, depth=4)
# The same leads under a contract that does not know when the tag is filled in.
TRUSTING = parse_yaml(SMALL.replace("known_at: contact", "known_at: capture"), Contract, "trusting.yaml")


@pytest.fixture(scope="module")
def data(spark):
    leads = with_group(small_leads(spark, 600), small_contract()).coalesce(2).cache()
    train, test = leads.where("Number < 400").cache(), leads.where("Number >= 400").cache()
    return Prepared(train, test, {"data_hash": "0" * 32, "rows": {"train": 400, "test": 200}})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder, before = tmp_path_factory.mktemp("evidence"), mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("evidence", (folder / "artifacts").as_uri()))
    yield folder
    mlflow.set_tracking_uri(before)


def left(run_id):
    """A run's artifacts (path -> local path) and tags."""
    client = MlflowClient()
    paths = [f.path for f in client.list_artifacts(run_id)] + [f.path for f in client.list_artifacts(run_id, "plots")]
    return SimpleNamespace(
        paths=set(paths),
        tags=client.get_run(run_id).data.tags,
        json=lambda name: json.loads(open(client.download_artifacts(run_id, name), encoding="utf-8").read()),
    )


def measured(model, data, contract):
    scored = model.transform(data.test)
    return measure(scored.select(*evidence_columns(scored, contract)).cache(), contract)


@pytest.fixture(scope="module")
def leaky(store, data):
    """The evidence of a forest on a set with a field that is declared late."""
    fields = small_contract().feature_set("leaky")
    model = pipeline(fields, PARAMS, "Bought").fit(data.train)
    with mlflow.start_run() as run:
        found = measured(model, data, small_contract())
        explain = spark_scorer(model, data.test.sparkSession)
        metrics = log_evidence(small_contract(), data, model, fields, found, "forest; test leads", explain)
    return SimpleNamespace(metrics=metrics, model=model, **vars(left(run.info.run_id)))


def test_every_kind_of_evidence_is_an_artifact(leaky):
    wanted = {"intervals.json", "importance.json", "dependence.json", "honest.json", "plots/importance.png"}
    assert wanted <= leaky.paths


def test_metrics_carry_the_ends_of_their_interval(leaky):
    assert leaky.metrics["test_auc_roc_low"] <= leaky.metrics["test_auc_roc_high"]
    assert leaky.metrics["test_lift_at_10"] > 1


def test_without_the_late_field_the_honest_area_is_lower(leaky):
    assert leaky.metrics["honest_auc_roc_high"] < leaky.metrics["test_auc_roc_low"]
    assert leaky.json("honest.json")["late_fields"] == ["Tag"]


def test_of_the_honest_forest_only_what_its_order_decides_is_told(leaky):
    told = {"auc_roc", "auc_pr", "lift_at_10", "lift_at_20"}
    ends = {f"honest_{name}{end}" for name in told for end in ("", "_low", "_high")}
    assert {m for m in leaky.metrics if m.startswith("honest_")} == ends | {"honest_seconds"}
    assert all(set(side["metrics"]) == told for side in leaky.json("honest.json")["sides"].values())


def test_a_contract_without_slices_leaves_none(leaky):
    assert "slices.json" not in leaky.paths


def test_the_settings_of_a_fitted_forest_are_those_it_was_grown_with(leaky):
    assert params_of(forest_of(leaky.model)) == PARAMS


def test_explanations_are_left_out_on_request_and_slices_follow_the_contract(store, data):
    sliced = parse_yaml(SMALL.replace("feature_sets:", "slice_by: [City]\nfeature_sets:"), Contract, "sliced.yaml")
    fields = sliced.feature_set("available")
    model = pipeline(fields, PARAMS, "Bought").fit(data.train)
    with mlflow.start_run() as run:
        log_evidence(sliced, data, model, fields, measured(model, data, sliced), "forest; test leads")
    found = left(run.info.run_id)
    assert {"slices.json", "plots/slices_City.png"} <= found.paths
    assert {s["mean_score_uncalibrated"] for s in found.json("slices.json")["slices"]} == {None}
    assert "importance.json" not in found.paths


@pytest.fixture(scope="module")
def calibrated(store, data):
    """The evidence of a calibrated and graded forest under a contract that protects Tag, no field of the model."""
    text = SMALL.replace("{name: Tag,", "{name: Tag, protected: true,").replace(
        "feature_sets:", "slice_by: [City]\nfeature_sets:"
    )
    contract = parse_yaml(text, Contract, "protecting.yaml")
    fields = contract.feature_set("available")
    with encoded(data.train, fields, "Bought", folds=2, seed=1) as leads:
        model = fit_servable(leads, PARAMS, Finish(grades=GradeRule())).model
    with mlflow.start_run() as run:
        log_evidence(contract, data, model, fields, measured(model, data, contract), "forest; test leads")
    return SimpleNamespace(**vars(left(run.info.run_id)))


def test_a_protected_field_has_its_slices_though_the_model_does_not_know_it(calibrated):
    told = calibrated.json("slices.json")
    assert told["protected"] == ["Tag"]
    assert {s["value"] for s in told["slices"] if s["field"] == "Tag"} == {"won", "open"}
    assert "plots/slices_Tag.png" in calibrated.paths


def test_slices_of_a_calibrated_model_tell_of_the_forest_before_it(calibrated):
    (mumbai,) = [s for s in calibrated.json("slices.json")["slices"] if s["value"] == "Mumbai"]
    assert mumbai["mean_score_uncalibrated"] != mumbai["mean_score"]
    assert mumbai["calibration_gap_uncalibrated"]["low"] < mumbai["calibration_gap_uncalibrated"]["high"]


def test_every_grade_share_of_every_slice_lies_within_its_interval(calibrated):
    for found in calibrated.json("slices.json")["slices"]:
        assert set(found["grades"]) == set("ABCD")
        assert all(found["grades_low"][g] <= share <= found["grades_high"][g] for g, share in found["grades"].items())


def test_a_suspected_leak_stops_a_registration_and_is_on_the_record(store, data):
    with mlflow.start_run() as run, pytest.raises(LeakFound, match="Tag alone"):
        check_leaks(probe(TRUSTING, data, "available"), "available", register=True, on_leak=OnLeak.REFUSE)
    found = left(run.info.run_id)
    assert found.tags["leak_suspects"] == "Tag"
    assert {"leakage.json", "plots/leakage.png"} <= found.paths


def test_nothing_is_fitted_where_a_leak_is_suspected(store, data):
    asked = probed_leads(TRUSTING, data, "available", 2, 1, register=True, on_leak=OnLeak.REFUSE)
    with mlflow.start_run(), pytest.raises(LeakFound, match="Tag alone"), asked:
        pytest.fail("the block that fits was entered")


def test_leads_that_leak_nothing_are_encoded_for_the_fit(store, data):
    with mlflow.start_run(), probed_leads(small_contract(), data, "leaky", 2, 1, True, OnLeak.REFUSE) as leads:
        assert leads.rows == 400


@pytest.mark.parametrize(("register", "on_leak"), [(True, OnLeak.WARN), (False, OnLeak.REFUSE)])
def test_a_suspected_leak_is_told_where_it_does_not_stop(store, data, capsys, register, on_leak):
    with mlflow.start_run():
        check_leaks(probe(TRUSTING, data, "available"), "available", register, on_leak)
    assert "suspected leak: Tag alone" in capsys.readouterr().out


def test_a_field_that_is_declared_late_does_not_stop_its_feature_set(store, data):
    with mlflow.start_run() as run:
        check_leaks(probe(small_contract(), data, "leaky"), "leaky", register=True, on_leak=OnLeak.REFUSE)
    assert left(run.info.run_id).tags["leak_suspects"] == ""


def test_two_models_score_the_same_rows_side_by_side(data, leaky):
    columns = ["Bought", "lead_group", "Visits", "City", "Tag"]
    scored = score_with({"first": leaky.model, "second": leaky.model}, data.test.select(*columns)).cache()
    sample = collect_scored(scored, "Bought", ["first", "second"])
    assert sample.n == 200
    assert (sample.scores["first"] == sample.scores["second"]).all()


def test_a_sample_over_the_limit_takes_whole_groups(data, leaky):
    scored = score_with({"p": leaky.model}, data.train.union(data.train)).cache()
    sample = collect_scored(scored, "Bought", ["p"], limit=300)
    assert (sample.total, sample.n) == (800, pytest.approx(300, abs=120))
    # Every lead stands in there twice.
    assert (np.bincount(sample.groups) % 2 == 0).all()


def test_the_sample_measures_what_spark_measures(data, leaky):
    scored = leaky.model.transform(data.test)
    by_spark = evaluate(scored.select(*scored_columns(scored, "Bought")), "Bought")
    paired = score_with({"p": leaky.model}, data.test).cache()
    found = intervals(collect_scored(paired, "Bought", ["p"]), "p", 10).metrics
    for name in ("auc_roc", "auc_pr", "brier", "log_loss"):
        assert found[name].value == pytest.approx(by_spark[name], abs=1e-5)
