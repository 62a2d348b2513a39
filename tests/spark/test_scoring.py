"""The scoring plan, loading a version, and the batch entry point."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession

from features.contract import Contract
from features.contract_file import parse_yaml
from features.stages import ForestParams, pipeline
from pipelines.score import OutputTaken, run_score
from pipelines.settings import Settings
from pipelines.tracking import connect, log_model, register_model
from serving.models import ModelUnreadable, load_version, required_columns
from serving.ownership import NotOurs
from serving.registry import ResolvedVersion
from serving.scoring import UnfitLeads, input_columns, scored

CONTRACT = """
name: tiny
score_at: browsing
fields:
  - {name: ProspectID, source: Id, kind: id, known_at: capture}
  - {name: LeadNumber, source: Number, kind: order, known_at: capture}
  - {name: ContactedAgent, source: Converted, kind: label, known_at: outcome}
  - {name: Visits, source: Visits, kind: numeric, known_at: browsing}
  - {name: City, source: City, kind: category, known_at: capture}
"""
LEADS = "ProspectID string, LeadNumber double, ContactedAgent int, Visits double, City string"
VERSION = ResolvedVersion("tiny", 7, "run", {})


@pytest.fixture(scope="module")
def tiny() -> Contract:
    return parse_yaml(CONTRACT, Contract, "tiny.yaml")


@pytest.fixture(scope="module")
def leads(spark: SparkSession) -> DataFrame:
    """40 leads; those with 5 visits or more converted."""
    rows = [(f"p{i}", float(i), int(i % 10 >= 5), float(i % 10), ("Mumbai", "Pune")[i % 2]) for i in range(40)]
    return spark.createDataFrame(rows, LEADS)


@pytest.fixture(scope="module")
def model(leads: DataFrame, tiny: Contract) -> PipelineModel:
    return pipeline(tiny.features, ForestParams(trees=3, depth=2), "ContactedAgent").fit(leads)


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, model: PipelineModel, leads: DataFrame, tiny: Contract
) -> Iterator[Settings]:
    """A data folder of its own, and a store with the tiny model in Production."""
    folder = tmp_path_factory.mktemp("scoring")
    (folder / "tiny.yaml").write_text(CONTRACT)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    settings = Settings(data=str(folder), contract_file=folder / "tiny.yaml", model_name="tiny", experiment="tiny")
    client = connect(settings)
    client.create_experiment("tiny", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("tiny")
    with mlflow.start_run():
        number = register_model("tiny", log_model(model, tiny.features, leads), {"feature_set": "available"})
    client.set_registered_model_alias("tiny", "Production", str(number))
    leads.drop("ContactedAgent").write.parquet(str(folder / "leads"))
    yield settings
    mlflow.set_tracking_uri(before)


def test_a_score_is_the_probability_of_conversion_in_percent_with_one_decimal(leads, model, tiny):
    row = scored(leads, model, VERSION, tiny).where("ProspectID = 'p9'").first()
    assert row.probability > 0.5
    assert row.score == round(100 * row.probability, 1)
    assert row.prediction == 1


def test_a_scored_lead_has_these_columns_and_types(leads, model, tiny):
    assert scored(leads, model, VERSION, tiny).dtypes == [
        ("ProspectID", "string"),
        ("score", "double"),
        ("probability", "double"),
        ("prediction", "int"),
        ("model_version", "int"),
        ("scored_at", "timestamp"),
        ("ContactedAgent", "int"),
    ]


def test_leads_without_a_label_are_scored_without_one(leads, model, tiny):
    assert "ContactedAgent" not in scored(leads.drop("ContactedAgent"), model, VERSION, tiny).columns


def test_every_lead_carries_the_version_that_scored_it(leads, model, tiny):
    assert {r.model_version for r in scored(leads, model, VERSION, tiny).collect()} == {7}


def test_missing_columns_are_named_with_the_closest_found(leads, model, tiny):
    renamed = leads.withColumnRenamed("Visits", "visits_").drop("City")
    with pytest.raises(UnfitLeads, match=r"lack Visits, City.*visits_ for Visits"):
        scored(renamed, model, VERSION, tiny)


def test_text_in_place_of_a_number_is_refused_before_anything_runs(leads, model, tiny):
    text = leads.selectExpr("ProspectID", "City", "string(Visits) Visits")
    with pytest.raises(UnfitLeads, match="Visits is string, expected a number"):
        scored(text, model, VERSION, tiny)


def test_whole_numbers_score_as_the_same_decimals(leads, model, tiny):
    whole = leads.selectExpr("ProspectID", "City", "int(Visits) Visits")
    same = [
        [r.probability for r in scored(frame, model, VERSION, tiny).orderBy("ProspectID").collect()]
        for frame in (whole, leads)
    ]
    assert same[0] == same[1]


@pytest.mark.parametrize("values", ["null, null", "double('NaN'), 'Atlantis'"])
def test_an_empty_or_unseen_value_still_gets_a_score(spark, model, tiny, values):
    lead = spark.sql(f"select 'x' ProspectID, * from values ({values}) as t(Visits, City)")
    assert 0 <= scored(lead, model, VERSION, tiny).first().score <= 100


def test_leads_may_carry_columns_named_like_the_models_own(leads, model, tiny):
    crowded = leads.selectExpr("*", "1 probability", "2 features", "3 score", "4 model_version")
    assert scored(crowded, model, VERSION, tiny).count() == 40


def test_the_plan_scores_outside_python(leads, model, tiny):
    plan = scored(leads, model, VERSION, tiny)._jdf.queryExecution().executedPlan().toString()
    assert "Python" not in plan
    assert "UDF" in plan


def test_a_pipeline_takes_what_none_of_its_stages_makes(model):
    assert input_columns(model) == ("Visits", "City")


def test_a_loaded_version_scores_as_the_fitted_model_did(spark, settings, leads, model, tiny):
    loaded = load_version(spark, ResolvedVersion("tiny", 1, "run", {}))
    both = [scored(leads, m, VERSION, tiny).select("ProspectID", "probability") for m in (loaded, model)]
    assert both[0].exceptAll(both[1]).count() == 0


def test_loading_a_version_leaves_no_files_behind(spark, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    load_version(spark, ResolvedVersion("tiny", 1, "run", {}))
    assert os.listdir(tmp_path) == []


def test_a_version_names_the_columns_of_its_signature(settings):
    assert required_columns(ResolvedVersion("tiny", 1, "run", {})) == ("Visits", "City")


@pytest.mark.parametrize("damage", ["folder", "stage", "MLmodel"])
def test_a_version_without_a_whole_artifact_is_refused_by_name(spark, settings, model, leads, tiny, damage):
    with mlflow.start_run():
        logged = log_model(model, tiny.features, leads)
        number = register_model("broken", logged, {})
    artifact = Path(mlflow.artifacts.download_artifacts(logged.uri))  # a local store hands out its own folder
    if damage == "MLmodel":
        (artifact / "MLmodel").write_text("flavors: {")
    else:
        shutil.rmtree(artifact if damage == "folder" else next((artifact / "sparkml" / "stages").glob("*Forest*")))
    with pytest.raises(ModelUnreadable, match=f"broken version {number} .* cannot be loaded"):
        load_version(spark, ResolvedVersion("broken", number, "run", {}))


def test_a_batch_scores_every_lead_once(spark, settings, tmp_path):
    summary = run_score(spark, settings, f"{settings.data}/leads", str(tmp_path / "scores"))
    ids = [r.ProspectID for r in spark.read.parquet(str(tmp_path / "scores")).collect()]
    assert sorted(ids) == sorted(f"p{i}" for i in range(40))
    assert summary.rows == 40


def test_a_batch_leaves_its_numbers_in_a_run(spark, settings, tmp_path):
    run_id = run_score(spark, settings, f"{settings.data}/leads", str(tmp_path / "scores")).run_id
    run = mlflow.get_run(run_id)
    assert run.data.metrics["rows_scored"] == 40
    assert run.data.tags["model_version"] == "1"


def test_a_csv_is_scored_by_the_contract(spark, settings, tmp_path):
    (tmp_path / "new.csv").write_text("Id,Number,Visits,City\nnew-1,1,9,Pune\nnew-2,2,,\n")
    run_score(spark, settings, str(tmp_path / "new.csv"), str(tmp_path / "scores"))
    assert {r.ProspectID for r in spark.read.parquet(str(tmp_path / "scores")).collect()} == {"new-1", "new-2"}


def test_scores_of_an_earlier_batch_are_replaced_only_on_demand(spark, settings, tmp_path):
    source, output = f"{settings.data}/leads", str(tmp_path / "scores")
    first = run_score(spark, settings, source, output)
    with pytest.raises(OutputTaken, match="overwrite=true"):
        run_score(spark, settings, source, output)
    run_score(spark, settings, source, output, overwrite=True)
    assert spark.read.parquet(output).count() == first.rows


def test_a_folder_of_someone_elses_is_never_overwritten(spark, settings, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(NotOurs, match="not empty"):
        run_score(spark, settings, f"{settings.data}/leads", str(tmp_path), overwrite=True)
    assert os.listdir(tmp_path) == ["precious.txt"]


def test_a_batch_that_fails_leaves_no_output(spark, settings, tmp_path):
    (tmp_path / "bad").mkdir()
    shutil.copytree(f"{settings.data}/leads", tmp_path / "bad", dirs_exist_ok=True)
    victim = next(p for p in sorted((tmp_path / "bad").glob("*.parquet"))[1:])
    victim.write_bytes(b"PAR1 this is no parquet PAR1")
    with pytest.raises(Exception, match="parquet"):
        run_score(spark, settings, str(tmp_path / "bad"), str(tmp_path / "scores"))
    assert not (tmp_path / "scores").exists()
    assert not (tmp_path / ".scores.part").exists()
