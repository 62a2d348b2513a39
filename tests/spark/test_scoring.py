"""The scoring plan, loading a version, and the batch entry point."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.linalg import DenseVector, SparseVector
from pyspark.sql import DataFrame, SparkSession

from features.contract import Contract
from pipelines.score import OutputTaken, run_score
from pipelines.settings import Settings
from pipelines.tracking import connect
from serving.models import ModelUnreadable, load_version, required_columns
from serving.ownership import NotOurs
from serving.registry import ResolvedVersion, resolve
from serving.scoring import UnfitLeads, input_columns, scored, transformed
from serving.sources import BadSource
from tests.leads import small_contract, small_leads
from tests.served import register_small, served, small_model, write_files

VERSION = ResolvedVersion("small", 7, "run", {})


@pytest.fixture(scope="module")
def small() -> Contract:
    return small_contract()


@pytest.fixture(scope="module")
def leads(spark: SparkSession) -> DataFrame:
    return small_leads(spark, 40).cache()


@pytest.fixture(scope="module")
def model(spark: SparkSession) -> PipelineModel:
    return small_model(spark)


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, spark: SparkSession, model: PipelineModel, leads: DataFrame
) -> Iterator[Settings]:
    """A data folder whose stream side holds 40 leads without labels, and the small model in Production."""
    with served(spark, tmp_path_factory.mktemp("scoring"), model) as settings:
        write_files(leads.drop("Bought"), Path(settings.stream), files=2)
        yield settings


@pytest.fixture
def production(settings: Settings) -> ResolvedVersion:
    return resolve(connect(settings), settings.model_name)


def test_a_score_is_the_probability_in_percent_with_one_decimal(leads, model, small):
    rows = scored(leads, model, VERSION, small).collect()
    assert [r.score for r in rows] == [pytest.approx(100 * r.probability, abs=0.05001) for r in rows]
    assert all(r.score == round(r.score, 1) for r in rows)


def test_the_probability_is_that_of_the_label_one(spark, leads, model, small):
    rows = scored(leads, model, VERSION, small).collect()
    assert [r.prediction for r in rows] == [int(r.probability > 0.5) for r in rows]
    assert {r.prediction for r in rows} == {0, 1}
    vectors = {r.LeadId: r.probability[1] for r in model.transform(leads).collect()}
    assert {r.LeadId: r.probability for r in rows} == vectors


def test_the_forest_is_given_a_dense_vector_of_the_same_numbers(leads, model):
    ours, plain = (frame.orderBy("LeadId").collect() for frame in (transformed(model, leads), model.transform(leads)))
    assert any(isinstance(row.features, SparseVector) for row in plain)
    assert all(isinstance(row.features, DenseVector) for row in ours)
    assert [row.features.toArray().tolist() for row in ours] == [row.features.toArray().tolist() for row in plain]


def test_a_scored_lead_has_these_columns_and_types(leads, model, small):
    assert scored(leads, model, VERSION, small).dtypes == [
        ("LeadId", "string"),
        ("score", "double"),
        ("probability", "double"),
        ("prediction", "int"),
        ("grade", "string"),
        ("model_version", "int"),
        ("scored_at", "timestamp"),
        ("Bought", "int"),
    ]


def test_leads_without_a_label_are_scored_without_one(leads, model, small):
    assert "Bought" not in scored(leads.drop("Bought"), model, VERSION, small).columns


def test_every_lead_carries_the_version_that_scored_it(leads, model, small):
    assert {r.model_version for r in scored(leads, model, VERSION, small).collect()} == {7}


def test_missing_columns_are_named_with_the_closest_found(leads, model, small):
    renamed = leads.withColumnRenamed("Visits", "visits_").drop("City")
    with pytest.raises(UnfitLeads, match=r"lack Visits, City.*visits_ for Visits"):
        scored(renamed, model, VERSION, small)


def test_text_in_place_of_a_number_is_refused_before_anything_runs(leads, model, small):
    text = leads.selectExpr("LeadId", "City", "Seconds", "string(Visits) Visits")
    with pytest.raises(UnfitLeads, match="Visits is string, expected a number"):
        scored(text, model, VERSION, small)


def test_an_id_that_is_no_text_and_no_whole_number_is_refused(leads, model, small):
    with pytest.raises(UnfitLeads, match="LeadId is double, expected a string"):
        scored(leads.withColumn("LeadId", leads["Seconds"]), model, VERSION, small)


def test_whole_numbers_score_as_the_same_decimals(leads, model, small):
    whole = leads.selectExpr("LeadId", "City", "Seconds", "int(Visits) Visits")
    same = [
        [r.probability for r in scored(frame, model, VERSION, small).orderBy("LeadId").collect()]
        for frame in (whole, leads)
    ]
    assert same[0] == same[1]


@pytest.mark.parametrize("values", ["null, null, null", "double('NaN'), -1D, 'Atlantis'"])
def test_an_empty_or_unseen_value_still_gets_a_score(spark, model, small, values):
    lead = spark.sql(f"select 'x' LeadId, * from values ({values}) as t(Visits, Seconds, City)")
    assert 0 <= scored(lead, model, VERSION, small).first().score <= 100


def test_leads_may_carry_columns_named_like_the_models_own(leads, model, small):
    crowded = leads.selectExpr("*", "1 probability", "2 features", "3 score", "4 model_version")
    assert scored(crowded, model, VERSION, small).count() == 40


def test_the_plan_scores_outside_python(leads, model, small):
    plan = scored(leads, model, VERSION, small)._jdf.queryExecution().executedPlan().toString()
    assert "Python" not in plan


def test_a_pipeline_takes_what_none_of_its_stages_makes(model):
    assert input_columns(model) == ("Visits", "Seconds", "City")


def test_a_loaded_version_scores_as_the_fitted_model_did(spark, production, leads, model, small):
    loaded = load_version(spark, production)
    both = [scored(leads, m, VERSION, small).select("LeadId", "probability") for m in (loaded, model)]
    assert both[0].exceptAll(both[1]).count() == 0


def test_loading_a_version_leaves_no_files_behind(spark, production, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    load_version(spark, production)
    assert os.listdir(tmp_path) == []


def test_a_version_names_the_columns_of_its_signature(production):
    assert required_columns(production) == ("Visits", "Seconds", "City")


@pytest.mark.parametrize("damage", ["folder", "stage", "MLmodel"])
def test_a_version_without_a_whole_artifact_is_refused_by_name(spark, settings, model, damage):
    number = register_small(spark, settings, "broken", model)
    client = connect(settings)
    # A local store hands out its own folder, not a copy.
    artifact = Path(mlflow.artifacts.download_artifacts(client.get_model_version_download_uri("broken", str(number))))
    if damage == "MLmodel":
        (artifact / "MLmodel").write_text("flavors: {")
    else:
        shutil.rmtree(artifact if damage == "folder" else next((artifact / "sparkml" / "stages").glob("*Forest*")))
    with pytest.raises(ModelUnreadable, match=f"broken version {number} cannot be loaded"):
        load_version(spark, ResolvedVersion("broken", number, "run", {}))


def test_a_batch_scores_every_lead_once(spark, settings, tmp_path):
    summary = run_score(spark, settings, settings.stream, str(tmp_path / "scores"))
    ids = [r.LeadId for r in spark.read.parquet(str(tmp_path / "scores")).collect()]
    assert sorted(ids) == [f"lead-{i:05d}" for i in range(40)]
    assert summary.rows == 40


def test_a_batch_leaves_its_numbers_in_a_run(spark, settings, tmp_path):
    run_id = run_score(spark, settings, settings.stream, str(tmp_path / "scores")).run_id
    run = mlflow.get_run(run_id)
    assert run.data.metrics["rows_scored"] == 40
    assert run.data.tags["model_version"] == "1"


def test_a_csv_is_scored_by_the_contract(spark, settings, tmp_path):
    (tmp_path / "new.csv").write_text("Lead Id,Number,Visits,Seconds,City,Tag\nnew-1,1,9,80,Pune,\nnew-2,2,,,,\n")
    run_score(spark, settings, str(tmp_path / "new.csv"), str(tmp_path / "scores"))
    assert {r.LeadId for r in spark.read.parquet(str(tmp_path / "scores")).collect()} == {"new-1", "new-2"}


def test_scores_of_an_earlier_batch_are_replaced_only_on_demand(spark, settings, tmp_path):
    source, output = settings.stream, str(tmp_path / "scores")
    first = run_score(spark, settings, source, output)
    with pytest.raises(OutputTaken, match="overwrite=true"):
        run_score(spark, settings, source, output)
    run_score(spark, settings, source, output, overwrite=True)
    assert spark.read.parquet(output).count() == first.rows


def test_a_folder_of_someone_elses_is_never_overwritten(spark, settings, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(NotOurs, match="not empty"):
        run_score(spark, settings, settings.stream, str(tmp_path), overwrite=True)
    assert os.listdir(tmp_path) == ["precious.txt"]


def test_a_batch_that_fails_leaves_no_output(spark, settings, tmp_path):
    (tmp_path / "bad").mkdir()
    shutil.copytree(settings.stream, tmp_path / "bad", dirs_exist_ok=True)
    victim = next(p for p in sorted((tmp_path / "bad").glob("*.parquet"))[1:])
    victim.write_bytes(b"PAR1 this is no parquet PAR1")
    with pytest.raises(BadSource, match="cannot be read as Parquet"):
        run_score(spark, settings, str(tmp_path / "bad"), str(tmp_path / "scores"))
    assert os.listdir(tmp_path) == ["bad"]
