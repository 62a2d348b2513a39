"""Reasons of a Spark forest's scores: exact, and the same wherever they are told."""

import io
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.ml.functions import vector_to_array
from pyspark.sql import functions as F
from rich.console import Console

from features.ingest import read_leads
from features.stages import ForestParams, pipeline
from pipelines.compare import reasons_of
from pipelines.compiled import log_compiled
from pipelines.demo import scored_table
from pipelines.score import Engine, NoReasons, run_score, run_score_locally
from pipelines.stream import run_stream
from pipelines.stream_options import StreamOptions
from pipelines.tracking import connect, log_model, register_model
from serving.compiled.artifact import NotCompiled, load_explaining
from serving.compiled.compiling import compile_saved
from serving.compiled.in_spark import with_reasons
from serving.compiled.scorer import CompiledScorer
from serving.kafka_sink import kafka_rows
from serving.registry import resolve
from tests.forests import enumerated
from tests.leads import small_contract, small_leads
from tests.served import scored_by_spark, served, small_model, write_files

FIELDS = small_contract().feature_set("available")
LEAD = {"Visits": 7.0, "Seconds": 620.0, "City": "Mumbai"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory, spark):
    """Version 1 was logged without a compiled scorer, version 2, in Production, with one; 40 leads wait."""
    model = small_model(spark)
    with served(spark, tmp_path_factory.mktemp("reasons"), model) as settings:
        leads = small_leads(spark, 40)
        with mlflow.start_run():
            logged = log_model(model, FIELDS, leads)
            number = register_model(
                settings.model_name, logged, log_compiled(logged, FIELDS, scored_by_spark(model, leads)).tags
            )
        connect(settings).set_registered_model_alias(settings.model_name, "Production", str(number))
        write_files(leads, Path(settings.stream), files=2)
        yield settings


@pytest.fixture(scope="module")
def batch(spark, settings, tmp_path_factory):
    """The 40 leads scored with reasons in Spark: the folder."""
    folder = str(tmp_path_factory.mktemp("batch") / "scores")
    run_score(spark, settings, output=folder, engine=Engine.COMPILED, reasons=True)
    return folder


@pytest.fixture(scope="module")
def streamed(spark, settings, tmp_path_factory):
    """The 40 leads scored with reasons by a stream: the folder, and what the console showed."""
    here = settings.model_copy(update={"data": str(tmp_path_factory.mktemp("streamed"))})
    write_files(small_leads(spark, 40), Path(here.stream), files=2)
    shown = io.StringIO()
    options = StreamOptions(available_now=True, sink="console,parquet", reasons=True)
    run_stream(spark, here, options, console=Console(file=shown, width=300))
    return f"{here.data}/scores/stream", shown.getvalue()


def by_id(folder) -> dict[str, list]:
    return {row["LeadId"]: row["reasons"] for row in pq.read_table(folder).to_pylist()}


def test_every_real_leads_shares_add_up_to_the_probability_that_spark_gives(spark, contract, leads_csv, tmp_path):
    fields = contract.feature_set("available")
    leads = read_leads(spark, str(leads_csv), contract).good.cache()
    model = pipeline(fields, ForestParams(trees=20, depth=8), contract.label.name).fit(leads)
    model.write().save(str(tmp_path / "model"))
    scorer = CompiledScorer(compile_saved(tmp_path / "model", fields))
    probability = vector_to_array("probability")[1].alias("spark")
    table = model.transform(leads).select(*(f.name for f in fields), probability).toArrow()
    leads.unpersist()
    explained = scorer.explain(table)
    total = explained.base + explained.contributions.sum(axis=0)
    assert len(total) == 9_240
    assert np.abs(total - table["spark"].to_numpy()).max() <= 1e-6


def test_shares_are_the_shapley_values_of_the_trees_that_spark_saved(spark, tmp_path):
    model = pipeline(FIELDS, ForestParams(trees=5, depth=5), "Bought").fit(small_leads(spark))
    model.write().save(str(tmp_path / "model"))
    rows = model.transform(small_leads(spark, 12, seed=3)).select("*", vector_to_array("features").alias("slots"))
    table = rows.select("Visits", "Seconds", "City", "slots").toArrow()
    saved = pq.read_table(next(tmp_path.glob("model/stages/*RandomForest*/data"))).to_pylist()
    trees = [{n["nodeData"]["id"]: n["nodeData"] for n in saved if n["treeID"] == t} for t in range(5)]
    field_of = _fields_of_slots(rows)
    explained = CompiledScorer(compile_saved(tmp_path / "model", FIELDS)).explain(table)
    for lead, slots in enumerate(table["slots"].to_pylist()):
        shares = enumerated(lambda known, s=slots: _spark_expects(trees, s, known, field_of), list(LEAD))
        found = dict(zip(explained.fields, explained.contributions[:, lead], strict=True))
        assert found == pytest.approx(shares, abs=1e-12)


def test_all_engines_tell_the_same_reasons(settings, batch, tmp_path):
    run_score_locally(settings, output=str(tmp_path / "local"), reasons=True)
    assert by_id(tmp_path / "local") == by_id(batch)
    assert len(by_id(batch)) == 40


def test_reasons_have_the_same_type_from_every_engine(spark, settings, batch, tmp_path):
    run_score_locally(settings, output=str(tmp_path / "local"), reasons=True)
    told = dict(spark.read.parquet(batch).dtypes)["reasons"]
    assert told == "array<struct<field:string,value:string,points:double,text:string>>"
    assert spark.read.parquet(str(tmp_path / "local")).dtypes == spark.read.parquet(batch).dtypes


def test_the_spark_pipeline_tells_no_reasons(spark, settings, tmp_path):
    with pytest.raises(NoReasons, match="engine=compiled or engine=local"):
        run_score(spark, settings, output=str(tmp_path / "out"), engine=Engine.SPARK, reasons=True)


def test_a_version_without_a_compiled_scorer_tells_no_reasons(spark, settings, tmp_path):
    with pytest.raises(NotCompiled, match="which reasons need; take reasons=false"):
        run_score(spark, settings, output=str(tmp_path / "out"), version="1", reasons=True)


def test_one_lead_gets_its_reasons_from_the_served_model(settings):
    uri = connect(settings).get_model_version(settings.model_name, "2").tags["compiled_uri"]
    model = mlflow.pyfunc.load_model(uri)
    (told,) = model.predict(pd.DataFrame([LEAD]), params={"reasons": True}).reasons
    assert "Visits 7" in {f"{r['field']} {r['value']}" for r in told}
    assert "reasons" not in model.predict(pd.DataFrame([LEAD])).columns


def test_a_stream_tells_the_reasons_that_a_batch_tells(batch, streamed):
    assert by_id(streamed[0]) == by_id(batch)


def test_the_console_shows_reasons_as_text(streamed):
    assert "points" in streamed[1]
    assert "Row(" not in streamed[1]


def test_kafka_gets_reasons_within_its_json(spark, batch, streamed):
    scored = spark.read.parquet(streamed[0]).withColumn("epoch", F.lit("1"))
    sent = kafka_rows(scored, small_contract(), "scores").collect()
    found = {told["LeadId"]: told["reasons"] for told in (json.loads(row["value"]) for row in sent)}
    # Kafka's JSON has no nulls, such as the value of a field that was not answered.
    assert found == {
        lead: [{k: v for k, v in reason.items() if v is not None} for reason in told]
        for lead, told in by_id(batch).items()
    }


def test_a_refused_event_gets_no_reasons_and_leaves_the_others_theirs(spark, settings):
    scorer = load_explaining(resolve(connect(settings), settings.model_name))
    events = small_leads(spark, 3).withColumn("reason", F.when(F.col("LeadId") == "lead-00001", "too old")).coalesce(1)
    found = {row.LeadId: row.reasons for row in with_reasons(events, scorer).collect()}
    alone = {row.LeadId: row.reasons for row in with_reasons(events.where("reason is null"), scorer).collect()}
    assert found == {**alone, "lead-00001": None}
    assert all(alone.values())


def test_a_comparison_is_told_the_reasons_that_scored_leads_carry(spark, settings, batch):
    production = resolve(connect(settings), settings.model_name)
    told = reasons_of(production, small_leads(spark, 40), ["lead-00003"], small_contract())
    assert told == {"lead-00003": by_id(batch)["lead-00003"]}


def test_a_comparison_with_a_version_that_tells_no_reasons_has_none(spark, settings):
    first = resolve(connect(settings), settings.model_name, "1")
    assert reasons_of(first, small_leads(spark, 5), ["lead-00003"], small_contract()) is None


def test_the_hottest_leads_fit_a_terminal_of_a_hundred_columns_with_their_main_reason(spark, batch):
    shown = io.StringIO()
    long = spark.read.parquet(batch).withColumn("LeadId", F.concat(F.col("LeadId"), F.lit("-" + "x" * 25)))
    Console(file=shown, width=100).print(scored_table(long, small_contract()))
    assert "points" in shown.getvalue()
    assert "…" not in shown.getvalue()
    assert max(map(len, shown.getvalue().splitlines())) <= 100


def _fields_of_slots(rows) -> dict[int, str]:
    """The field of each slot of the vector, from what Spark notes about it."""
    noted = rows.schema["features"].metadata["ml_attr"]["attrs"]
    return {
        about["idx"]: next(name for name in LEAD if name in about["name"]) for kind in noted.values() for about in kind
    }


def _spark_expects(trees, slots, known, field_of) -> float:
    """The forest's probability by the nodes as Spark saved them, where only some fields are known."""

    def walk(tree, number: int) -> float:
        node = tree[number]
        if node["leftChild"] < 0:
            zero, one = node["impurityStats"]
            return one / (zero + one)
        left, right = tree[node["leftChild"]], tree[node["rightChild"]]
        split, slot = node["split"], node["split"]["featureIndex"]
        if field_of[slot] not in known:
            parts = ((left["rawCount"], left["id"]), (right["rawCount"], right["id"]))
            return sum(count * walk(tree, at) for count, at in parts) / node["rawCount"]
        listed = split["leftCategoriesOrThreshold"]
        goes = slots[slot] <= listed[0] if split["numCategories"] == -1 else slots[slot] in listed
        return walk(tree, (left if goes else right)["id"])

    return sum(walk(tree, 0) for tree in trees) / len(trees)
