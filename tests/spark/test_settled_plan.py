"""A stream's plan that is optimized beforehand: the rows of the plan itself, found with less looking."""

import datetime
import re

import pytest
from pyspark.sql import functions as F

from features.stages import ForestParams, pipeline
from serving.events import events
from serving.registry import ResolvedVersion
from serving.scoring import scored_events
from serving.settled_plan import LEFT_OUT, NAME, settled
from serving.sources import as_records, kafka_arrivals
from tests.leads import small_contract, small_leads

VERSION = ResolvedVersion("small", 3, "models:/small/3", {})
SCORED_AT = "scored_at"  # the wall clock of a row


@pytest.fixture(scope="module")
def arriving(spark):
    return kafka_arrivals(as_records(small_leads(spark, 60), small_contract()))


@pytest.fixture(scope="module")
def scores(spark):
    contract = small_contract()
    model = pipeline(contract.feature_set("available"), ForestParams(trees=5, depth=4), "Bought").fit(
        small_leads(spark, 300)
    )
    return lambda rows: scored_events(events(rows, contract), model, VERSION, contract)


@pytest.fixture(scope="module")
def both(arriving, scores):
    return scores(arriving), settled(arriving, scores)


def optimized(rows):
    return rows._jdf.queryExecution().optimizedPlan().toString()


def test_the_rows_are_the_same(both):
    own, found = (sorted(rows.drop(SCORED_AT, "event_time").collect()) for rows in both)
    assert found == own
    assert len(own) == 60


def test_columns_and_types_are_the_same(both):
    own, found = both
    assert found.dtypes == own.dtypes


def test_no_projection_lies_on_another_in_what_is_optimized_anew(both):
    own, found = (re.findall(r"(?m)^ *\+- ~?(Project|Subquery)", optimized(rows)) for rows in both)
    assert "Subquery" not in own
    above = found[: -found[::-1].index("Subquery")]
    assert above == ["Subquery", "Project"] * (len(above) // 2) + ["Subquery"]


def test_nodes_between_projections_are_planned_as_what_is_below(both):
    own, found = (rows._jdf.queryExecution().sparkPlan().toString() for rows in both)
    assert "Subquery" in optimized(both[1])
    assert "Subquery" not in found
    assert abs(found.count("Project [") - own.count("Project [")) <= 1


def test_the_strategy_is_there_once_however_many_plans_are_settled(spark, both, arriving, scores):
    settled(arriving, scores)
    strategies = spark._jsparkSession.experimental().extraStrategies()
    names = [strategies.apply(i).getClass().getName() for i in range(strategies.size())]
    assert names.count(NAME) == 1


def test_the_day_is_asked_for_in_each_batch(both):
    analyzed = both[1]._jdf.queryExecution().analyzed().toString()
    assert "current_date" in analyzed
    assert {row.batch_date for row in both[1].collect()} == {datetime.datetime.now(datetime.UTC).date()}


def test_rules_that_a_session_leaves_out_stay_left_out(spark, arriving, scores):
    rule = "org.apache.spark.sql.catalyst.optimizer.LikeSimplification"
    spark.conf.set(LEFT_OUT, rule)
    try:
        settled(arriving, scores)
        assert spark.conf.get(LEFT_OUT) == rule
    finally:
        spark.conf.unset(LEFT_OUT)


def test_a_stream_over_files_scores_as_a_batch_does(spark, scores, tmp_path):
    records = as_records(small_leads(spark, 40), small_contract())
    records.write.parquet(str(tmp_path / "records"))
    stream = spark.readStream.schema(records.schema).parquet(str(tmp_path / "records"))
    rows = settled(kafka_arrivals(stream), scores)
    query = rows.writeStream.format("memory").queryName("settled").trigger(availableNow=True)
    query.option("checkpointLocation", str(tmp_path / "checkpoint")).start().awaitTermination()
    own = scores(kafka_arrivals(spark.read.parquet(str(tmp_path / "records"))))
    read = ("LeadId", "score", "grade", "reason", "batch_date")
    assert sorted(spark.table("settled").select(*read).collect()) == sorted(own.select(*read).collect())


def test_where_spark_has_its_plans_otherwise_the_plan_is_run_as_it_is(spark, arriving, scores, monkeypatch):
    monkeypatch.setattr("serving.settled_plan.SOURCE", "public class Nothing {}")
    assert "Subquery" not in optimized(settled(arriving, scores).select(F.col("score")))
