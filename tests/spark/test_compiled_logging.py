"""The compiled artifact of a run: logged after parity, served by MLflow, used by score."""

import logging
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from pipelines.compiled import log_compiled
from pipelines.gate_ways import ways_of_serving
from pipelines.score import Engine, OutputTaken, run_score, run_score_locally
from pipelines.settings import ROOT
from pipelines.tracking import LoggedModel, connect, log_model, register_model
from serving.compiled import parity as parity_module
from serving.compiled.artifact import NotCompiled, load_compiled
from serving.compiled.errors import CannotCompile
from serving.compiled.places import BadDataset
from serving.models import load_version
from serving.ownership import NotOurs
from serving.registry import resolve
from tests.leads import small_contract, small_leads
from tests.served import WAYS, scored_by_spark, served, small_model, write_files

FIELDS = small_contract().feature_set("available")
LEAD = {"Visits": 3.0, "Seconds": 120.0, "City": "Mumbai"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory, spark):
    """Version 1 was logged without a compiled scorer, version 2, in Production, with one."""
    model = small_model(spark)
    with served(spark, tmp_path_factory.mktemp("compiled"), model) as settings:
        leads = small_leads(spark, 40)
        with mlflow.start_run():
            logged = log_model(model, FIELDS, leads)
            tags = log_compiled(logged, FIELDS, scored_by_spark(model, leads)).tags
            number = register_model(settings.model_name, logged, tags)
        connect(settings).set_registered_model_alias(settings.model_name, "Production", str(number))
        write_files(leads.drop("Bought"), Path(settings.stream), files=2)
        yield settings


@pytest.fixture(scope="module")
def version(settings):
    return resolve(connect(settings), settings.model_name)


@pytest.fixture(scope="module")
def pyfunc(version):
    return mlflow.pyfunc.load_model(version.tags["compiled_uri"])


def by_id(folder) -> dict[str, tuple]:
    rows = pq.read_table(folder).to_pylist()
    return {r["LeadId"]: (r["score"], r["probability"], r["prediction"], r["model_version"]) for r in rows}


def test_a_compiled_model_that_agrees_with_spark_is_logged_and_tagged(version):
    assert version.tags["compiled"] == "ok"
    assert float(version.tags["compiled_difference"]) < 1e-6


def test_a_compiled_model_names_the_run_and_the_model_it_came_from(version, pyfunc):
    about = pyfunc.metadata.metadata
    assert about["run_id"] == version.run_id
    assert about["spark_model"].endswith("/model") or about["spark_model"].startswith("models:/")


def test_mlflow_scores_leads_by_the_compiled_model(version, pyfunc):
    found = pyfunc.predict(pd.DataFrame([LEAD, {**LEAD, "City": None}]))
    assert list(found.columns) == ["score", "probability", "prediction", "grade"]
    assert found.probability[0] == load_compiled(version).score_one(LEAD)["probability"]


def test_many_leads_and_few_score_the_same(pyfunc):
    many = pd.DataFrame([LEAD] * 20)
    assert pyfunc.predict(many).score[19] == pyfunc.predict(many[:1]).score[0]


def test_a_batch_out_of_range_is_refused_unless_told_otherwise(pyfunc):
    leads = pd.DataFrame([LEAD] * 20 + [{**LEAD, "Visits": 1001.0}])
    with pytest.raises(mlflow.MlflowException, match="row 20: Visits is 1001, expected -inf to 1000") as refused:
        pyfunc.predict(leads)
    assert refused.value.get_http_status_code() == 400
    assert len(pyfunc.predict(leads, params={"check": False})) == 21


def test_a_column_that_is_not_sent_is_a_bad_request(pyfunc):
    with pytest.raises(mlflow.MlflowException, match="lacks City"):
        pyfunc.predict(pd.DataFrame([{"Visits": 1.0, "Seconds": 2.0, "Citty": "x"}]))


def test_all_engines_give_the_same_scores(spark, settings, tmp_path):
    for engine in (Engine.SPARK, Engine.COMPILED):
        run_score(spark, settings, output=str(tmp_path / engine), engine=engine)
    run_score_locally(settings, output=str(tmp_path / "local"))
    scores = {name: by_id(tmp_path / name) for name in ("spark", "compiled", "local")}
    assert len(scores["local"]) == 40
    assert scores["local"] == scores["compiled"]
    for lead, (score, probability, *rest) in scores["spark"].items():
        assert scores["compiled"][lead] == (score, pytest.approx(probability, abs=1e-12), *rest)


def test_local_scores_have_the_types_of_spark_scores(spark, settings, tmp_path):
    run_score(spark, settings, output=str(tmp_path / "spark"), engine=Engine.COMPILED)
    run_score_locally(settings, output=str(tmp_path / "local"))
    assert spark.read.parquet(str(tmp_path / "local")).dtypes == spark.read.parquet(str(tmp_path / "spark")).dtypes


def test_files_that_lack_a_column_or_carry_whole_numbers_score_as_in_one_schema(settings, tmp_path):
    whole = pq.read_table(settings.stream)
    (tmp_path / "split").mkdir()
    visits = whole["Visits"].combine_chunks().cast(pa.int64(), safe=False)
    numbered = whole.set_column(whole.column_names.index("Visits"), "Visits", visits)
    pq.write_table(whole.slice(0, 20), tmp_path / "split" / "0.parquet")
    pq.write_table(numbered.slice(20, 10), tmp_path / "split" / "1.parquet")
    pq.write_table(whole.slice(30).drop_columns("City"), tmp_path / "split" / "2.parquet")
    run_score_locally(settings, str(tmp_path / "split"), str(tmp_path / "scores"))
    run_score_locally(settings, output=str(tmp_path / "usual"))
    found, usual = by_id(tmp_path / "scores"), by_id(tmp_path / "usual")
    unanswered = load_compiled(resolve(connect(settings), settings.model_name))
    for place, lead in enumerate(whole.to_pylist()):
        expected = usual[lead["LeadId"]]
        if place >= 30:
            expected = unanswered.score_one({"Visits": lead["Visits"], "Seconds": lead["Seconds"], "City": None})
            expected = (expected["score"], expected["probability"], expected["prediction"], 2)
        assert found[lead["LeadId"]] == expected


@pytest.mark.parametrize("asked", [("leads.parquet", "out"), ("in", "leads.parquet")])
def test_a_file_in_the_place_of_a_folder_is_named(settings, tmp_path, asked):
    (tmp_path / "leads.parquet").write_bytes(b"")
    with pytest.raises(BadDataset, match=r"leads\.parquet is a file; name a folder"):
        run_score_locally(settings, *(str(tmp_path / name) for name in asked))


@pytest.mark.parametrize("spelling", ["{}", "file:{}", "file://{}"])
def test_an_output_within_the_leads_is_refused_however_it_is_spelt(settings, tmp_path, spelling):
    shutil.copytree(settings.stream, tmp_path / "in")
    with pytest.raises(OutputTaken, match="inside one another"):
        run_score_locally(settings, str(tmp_path / "in"), spelling.format(tmp_path / "in" / "scores"))


def test_auto_takes_the_compiled_scorer_where_there_is_one(spark, settings, tmp_path):
    engines = {}
    for number in ("1", "2"):
        run = run_score(spark, settings, output=str(tmp_path / number), version=number).run_id
        engines[number] = mlflow.get_run(run).data.tags["engine"]
    assert engines == {"1": "spark", "2": "compiled"}


def test_a_version_without_a_compiled_scorer_is_named(spark, settings, tmp_path):
    with pytest.raises(NotCompiled, match="version 1 has no compiled scorer"):
        run_score(spark, settings, output=str(tmp_path / "out"), version="1", engine=Engine.COMPILED)


def test_local_scores_of_an_earlier_batch_are_replaced_only_on_demand(settings, tmp_path):
    run_score_locally(settings, output=str(tmp_path / "out"))
    with pytest.raises(OutputTaken):
        run_score_locally(settings, output=str(tmp_path / "out"))
    assert run_score_locally(settings, output=str(tmp_path / "out"), overwrite=True).rows == 40


def test_local_scoring_never_overwrites_someone_elses_folder(settings, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(NotOurs):
        run_score_locally(settings, output=str(tmp_path), overwrite=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_local_scoring_that_fails_leaves_nothing(settings, tmp_path):
    shutil.copytree(settings.stream, tmp_path / "in")
    sorted((tmp_path / "in").iterdir())[-1].write_bytes(b"PAR1 this is no parquet PAR1")
    with pytest.raises(BadDataset):
        run_score_locally(settings, str(tmp_path / "in"), str(tmp_path / "out"))
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.fixture(scope="module")
def ways(spark, version):
    """A function that holds the ways of serving a version against the pipeline it was logged from."""
    leads = small_leads(spark, 60).drop("Bought")
    silent = leads.limit(1).selectExpr("'silent' LeadId", "Number", *(f"null {name}" for name in leads.columns[2:]))
    leads = leads.unionByName(silent).cache()

    def compared(of=version):
        return {p.way: p for p in ways_of_serving(of, load_version(spark, of), leads, small_contract())}

    return compared


def test_every_way_of_serving_gives_the_scores_of_the_pipeline(ways):
    found = ways()
    assert list(found) == WAYS
    assert max(parity.largest for parity in found.values()) < 1e-9
    # A lead without any answer is refused by the stream and by serve.
    assert {way: p.leads for way, p in found.items()} == dict.fromkeys(WAYS, 61) | {"stream": 60, "online": 60}


def test_a_version_without_a_compiled_scorer_is_served_by_spark_alone(settings, ways):
    assert list(ways(resolve(connect(settings), settings.model_name, "1"))) == ["batch", "stream"]


def test_a_scorer_that_was_found_to_differ_is_told_of(version, ways):
    differs = replace(version, tags={**version.tags, "compiled": "differs", "compiled_difference": "0.3"})
    assert ways(differs)["compiled"].largest == 0.3


@pytest.mark.parametrize(
    ("way", "part"),
    [
        ("stream", "pipelines.gate_ways.version_plan"),
        ("pyfunc", "serving.compiled.pyfunc.CompiledModel.predict"),
        ("online", "pipelines.gate_ways.Online.answer"),
        ("compiled without Spark", "pipelines.gate_ways.scored_batch"),
        ("compiled in Spark", "pipelines.gate_ways.scored_by_compiled"),
    ],
)
def test_a_way_of_serving_that_gives_nothing_is_told_of(ways, monkeypatch, way, part):
    nothing = {
        "stream": lambda *_: lambda arriving: arriving.selectExpr("string(key) AS LeadId", "null AS probability"),
        "pyfunc": lambda self, context, leads, params=None: pd.DataFrame({"probability": [float("nan")] * len(leads)}),
        "online": lambda *_: (500, b"{}"),
        "compiled without Spark": lambda batch, *_: batch.append_column("probability", pa.nulls(len(batch))),
        "compiled in Spark": lambda leads, *_: leads.selectExpr("LeadId", "null as probability"),
    }
    monkeypatch.setattr(part, nothing[way])
    far = [name for name, parity in ways().items() if parity.largest == math.inf]
    assert far == [way]


def test_a_model_without_a_compiled_form_keeps_its_spark_model_alone(spark, settings, monkeypatch, caplog):
    def refusing(*_):
        raise CannotCompile("the pipeline has no forest")

    monkeypatch.setattr("pipelines.compiled.compile_saved", refusing)
    address = resolve(connect(settings), settings.model_name).uri
    with mlflow.start_run() as run, caplog.at_level(logging.WARNING):
        compiled = log_compiled(
            LoggedModel(address, 0), FIELDS, scored_by_spark(small_model(spark), small_leads(spark, 9))
        )
    told = "cannot compile: the pipeline has no forest"
    assert (compiled.tags, compiled.scorer) == ({"compiled": told}, None)
    assert mlflow.get_run(run.info.run_id).data.tags["compiled"] == told
    assert "no compiled scorer: the pipeline has no forest" in caplog.text


def test_spark_calls_the_compiled_model_as_a_function(spark, settings, version, tmp_path):
    leads = spark.read.parquet(settings.stream)
    score = mlflow.pyfunc.spark_udf(
        spark, version.tags["compiled_uri"], result_type="probability double", params={"check": False}
    )
    called = leads.select("LeadId", score(F.struct(*(f.name for f in FIELDS)))["probability"].alias("probability"))
    run_score_locally(settings, output=str(tmp_path / "scores"))
    assert {r.LeadId: r.probability for r in called.collect()} == {
        lead: scores[1] for lead, scores in by_id(tmp_path / "scores").items()
    }


def test_local_scoring_needs_neither_java_nor_git(settings, tmp_path):
    words = ["--engine", "local", "--input", settings.stream, "--output", str(tmp_path / "out")]
    without = {"JAVA_HOME": "/nonexistent", "PATH": str(tmp_path)}
    asked = {"LEADS_MODEL_NAME": settings.model_name, "LEADS_CONTRACT_FILE": str(settings.contract_file)}
    ended = subprocess.run(
        [sys.executable, "-m", "pipelines.score", *words],
        env={**os.environ, **without, **asked, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert len(by_id(tmp_path / "out")) == 40


def test_a_model_that_differs_from_spark_is_not_logged(spark, settings, monkeypatch, caplog):
    model, leads = small_model(spark), small_leads(spark, 20)
    address = resolve(connect(settings), settings.model_name).uri
    monkeypatch.setattr("pipelines.compiled.parity_with", lambda *_: parity_module.Parity(20, 0.3, 0))
    with mlflow.start_run() as run, caplog.at_level(logging.WARNING):
        compiled = log_compiled(LoggedModel(address, 0), FIELDS, scored_by_spark(model, leads))
    assert compiled.tags == {"compiled": "differs", "compiled_difference": "0.3"}
    assert compiled.scorer is None
    assert "differs from Spark by 0.3" in caplog.text
    assert mlflow.search_logged_models(filter_string=f"source_run_id='{run.info.run_id}'", output_format="list") == []
