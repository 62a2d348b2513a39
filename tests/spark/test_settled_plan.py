"""A stream's plan that is optimized beforehand: the rows of the plan itself, found with less looking."""

import datetime
import re

import pytest
from pyspark.errors import ArithmeticException, IllegalArgumentException
from pyspark.sql import functions as F
from rich.console import Console

from features.java_source import ISOLATED
from features.stages import ForestParams, pipeline
from pipelines.stream_options import Connections, StreamOptions
from pipelines.stream_plan import StreamPlan
from serving.events import events
from serving.ownership import Places
from serving.queries import Mode
from serving.registry import ResolvedVersion
from serving.scoring import scored_events
from serving.settled_node import LARGEST_KEPT, NAME
from serving.settled_plan import settled
from serving.sources import as_records, kafka_arrivals
from serving.version_plan import version_plan
from tests.leads import small_contract, small_leads
from tests.served import graded_model

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
def both(spark, arriving, scores):
    return scores(arriving), settled(spark, arriving.schema, scores)(arriving)


class Tasks:
    """The steps of a settled plan, run as tasks run them, here in the driver, where one can look at what they keep."""

    def __init__(self, spark, settled_rows):
        self.jvm, node = spark._jvm, settled_rows._jdf.queryExecution().optimizedPlan()
        self.contexts = getattr(getattr(self.jvm, "org.apache.spark.TaskContext$"), "MODULE$")
        self.steps = self._hidden(node, "steps")

    def begins(self):
        context = self.contexts.empty()
        self.contexts.setTaskContext(context)
        self.steps.call(self.jvm.java.util.Collections.emptyIterator())
        return context

    def ends(self, context):
        context.markTaskCompleted(self.jvm.scala.Option.empty())

    def waiting(self):
        """How many copies of the steps are compiled and free for the next task."""
        kept = self._hidden(self.steps, "FREE").get(self._hidden(self.steps, "key"))
        return kept.get().size() if kept else 0

    @staticmethod
    def _hidden(of, name):
        field = of.getClass().getDeclaredField(name)
        field.setAccessible(True)
        return field.get(of)


@pytest.fixture
def tasks(spark):
    plan = settled(spark, spark.range(1).schema, lambda rows: rows.select((F.col("id") + 1).alias("next")))
    found = Tasks(spark, plan(spark.range(2)))
    blocks = found.jvm.org.apache.spark.SparkEnv.get().blockManager()
    blocks.registerTask(0)  # as which an empty context reads the broadcast
    yield found
    found.contexts.unset()
    blocks.releaseAllLocksForTask(0)


def optimized(rows):
    return rows._jdf.queryExecution().optimizedPlan().toString()


def test_the_rows_are_the_same(both):
    own, found = (sorted(rows.drop(SCORED_AT, "event_time", "event_id").collect()) for rows in both)
    assert found == own
    assert len(own) == 60


def test_each_row_has_a_time_of_its_own_and_each_run_later_ones(both):
    first, later = ([row[SCORED_AT] for row in both[1].collect()] for _ in range(2))
    assert len(set(first)) > 1
    assert max(first) < min(later)


def test_columns_and_types_are_the_same(both):
    own, found = both
    assert found.dtypes == own.dtypes


def test_what_is_optimized_anew_is_one_node_over_the_source(both):
    own, found = (optimized(rows) for rows in both)
    assert "Settled" not in own
    assert re.search(r"^Settled ", found)
    above_source = re.findall(r"(?m)^(?:   )* *\+- (\w+)", found)  # an inner plan's lines begin with a colon
    assert len(above_source) < len(re.findall(r"(?m)^ *\+- (\w+)", own)) / 2


def test_the_plan_shows_what_the_node_does(both):
    shown = both[1]._jdf.queryExecution().executedPlan().toString()
    assert re.search(r"(?m)^ *: *\+- Project .* AS score", shown)


def test_a_task_carries_neither_the_steps_nor_the_forest(spark, both):
    jvm = spark._jvm
    serializer = jvm.org.apache.spark.SparkEnv.get().closureSerializer().newInstance()
    weights = [
        serializer.serialize(rows._jdf.queryExecution().toRdd(), jvm.scala.reflect.ClassTag.Any()).limit()
        for rows in both
    ]
    assert weights[1] < weights[0] / 3, weights


def test_a_settled_plan_takes_another_source_of_the_same_columns(spark, arriving, scores):
    plan = settled(spark, arriving.schema, scores)
    first, second = (plan(arriving.where(f"position % 2 = {rest}")) for rest in (0, 1))
    own = scores(arriving)
    assert sorted(first.union(second).select("LeadId", "score").collect()) == sorted(
        own.select("LeadId", "score").collect()
    )


def test_a_column_that_is_never_null_in_one_source_may_be_in_another(spark):
    plan = settled(spark, spark.range(1).schema, lambda rows: rows.select(F.isnull("id").alias("none")))
    assert plan(spark.createDataFrame([(None,), (1,)], "id long")).collect() == [(True,), (False,)]


def test_columns_that_are_read_in_another_order_are_not_taken_for_one_another(spark, tmp_path):
    path = str(tmp_path / "pairs")
    spark.createDataFrame([("a", "b")], "one string, two string").write.parquet(path)
    source = spark.read.parquet(path).select("two", "one")
    plan = settled(spark, source.schema, lambda rows: rows.select(F.upper("one").alias("x"), F.col("two").alias("y")))
    assert plan(source).collect() == [("A", "b")]


@pytest.mark.parametrize("other", ["swapped", "of another type"])
def test_a_source_of_other_columns_is_refused(spark, other):
    columns = "one string, two string"
    given = {"swapped": "two string, one string", "of another type": "one string, two int"}[other]
    plan = settled(spark, spark.createDataFrame([], columns).schema, lambda rows: rows.select("one"))
    with pytest.raises(ValueError, match="the plan is settled for"):
        plan(spark.createDataFrame([], given))


@pytest.mark.parametrize("mode", [Mode.MICRO_BATCH, Mode.REAL_TIME])
def test_the_plan_of_a_calibrated_and_graded_model_is_settled_and_runs_no_python(spark, arriving, mode):
    contract = small_contract()
    options = StreamOptions(mode=mode, source="kafka:a", sink="kafka", topic="b")
    stream = StreamPlan(spark, contract, options, Connections(kafka="none:9"), Places("", "", ""), "", Console())
    sent = stream._sent(version_plan(spark, arriving.schema, graded_model(spark), VERSION, contract))(arriving)
    run = sent._jdf.queryExecution().executedPlan().toString()
    assert "Settled" in run
    assert "Python" not in run
    # What is left is the observation, and what puts an epoch's time beside its rows.
    assert "ScalaUDF" not in run
    assert sent.count() == 60


def test_a_plan_is_not_put_over_itself(spark):
    plan = settled(spark, spark.range(1).schema, lambda rows: rows.select((F.col("id") + 1).alias("id")))
    with pytest.raises(IllegalArgumentException, match="takes no rows of its own"):
        plan(plan(spark.range(1)))


def test_a_plan_that_reads_nothing_of_its_source_stays_as_it_is(spark):
    plan = settled(spark, spark.range(1).schema, lambda rows: rows.where(F.lit(False)).select(F.col("id") + 1))
    assert plan(spark.range(3)).collect() == []


def test_a_step_that_is_no_projection_stays_where_it_is(spark):
    def steps(rows):
        return rows.select((F.col("id") * 2).alias("twice")).where("twice > 2").select((F.col("twice") + 1).alias("n"))

    plan = settled(spark, spark.range(1).schema, steps)
    assert sorted(plan(spark.range(4)).collect()) == [(5,), (7,)]
    assert "Filter" in optimized(plan(spark.range(4)))


def test_rows_are_made_anew_by_each_of_many_tasks(spark):
    plan = settled(spark, spark.range(1).schema, lambda rows: rows.select((F.col("id") + 1).alias("next")))
    numbers = plan(spark.range(0, 1000, 1, 8))
    assert [row["next"] for row in numbers.collect()] == list(range(1, 1001))
    assert [row["next"] for row in numbers.collect()] == list(range(1, 1001))


def test_two_plans_over_one_source_are_not_taken_for_one_another(spark):
    source = spark.range(3)
    plans = [lambda rows, n=n: rows.select((F.col("id") * n).alias("n")) for n in (1, 2)]
    once, twice = (settled(spark, source.schema, plan)(source) for plan in plans)
    kept = once.persist()
    assert kept.count() == 3
    try:
        assert [row["n"] for row in twice.collect()] == [0, 2, 4]
    finally:
        kept.unpersist()


def test_two_plans_in_one_query_keep_their_own_rows(spark):
    source = spark.range(4)
    plans = [lambda rows, n=n: rows.select((F.col("id") % n).alias("n")) for n in (2, 4)]
    counted = [settled(spark, source.schema, plan)(source).groupBy("n").count() for plan in plans]
    assert sorted(counted[0].union(counted[1]).collect()) == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (3, 1)]


def test_a_row_that_is_very_large_is_passed_like_any_other(spark):
    plan = settled(
        spark, spark.range(1).schema, lambda rows: rows.select(F.repeat(F.lit("x"), F.col("id").cast("int")))
    )
    for length in (2 * LARGEST_KEPT, 1):
        assert [len(row[0]) for row in plan(spark.range(length, length + 1)).collect()] == [length]


def test_a_task_that_failed_leaves_nothing_that_fails_the_next(spark):
    plan = settled(spark, spark.range(1).schema, lambda rows: rows.select(F.expr("1 div id AS n")))
    with pytest.raises(ArithmeticException):
        plan(spark.range(2)).collect()
    assert plan(spark.range(1, 2)).collect() == [(1,)]


def test_a_task_runs_what_was_compiled_for_the_one_before(tasks):
    tasks.ends(tasks.begins())
    assert tasks.waiting() == 1
    tasks.begins()
    assert tasks.waiting() == 0


def test_tasks_side_by_side_have_a_copy_each(tasks):
    begun = [tasks.begins(), tasks.begins()]
    for task in begun:
        tasks.ends(task)
    assert tasks.waiting() == 2


def test_what_a_failed_task_has_used_is_not_used_again(tasks):
    failed = tasks.begins()
    failed.markTaskFailed(tasks.jvm.java.lang.Exception("of the rows"))
    tasks.ends(failed)
    assert tasks.waiting() == 0


def test_the_strategy_is_there_once_however_many_plans_are_settled(spark, both, arriving, scores):
    settled(spark, arriving.schema, scores)
    strategies = spark._jsparkSession.experimental().extraStrategies()
    names = [strategies.apply(i).getClass().getName() for i in range(strategies.size())]
    assert names.count(NAME) == 1


def test_the_day_is_asked_for_in_each_batch(both):
    analyzed = both[1]._jdf.queryExecution().analyzed().toString()
    assert "current_date" in analyzed
    assert {row.batch_date for row in both[1].collect()} == {datetime.datetime.now(datetime.UTC).date()}


def test_a_stream_over_files_scores_as_a_batch_does(spark, scores, tmp_path):
    records = as_records(small_leads(spark, 40), small_contract())
    records.write.parquet(str(tmp_path / "records"))
    stream = spark.readStream.schema(records.schema).parquet(str(tmp_path / "records"))
    arrived = kafka_arrivals(stream)
    rows = settled(spark, arrived.schema, scores)(arrived)
    query = rows.writeStream.format("memory").queryName("settled").trigger(availableNow=True)
    query.option("checkpointLocation", str(tmp_path / "checkpoint")).start().awaitTermination()
    own = scores(kafka_arrivals(spark.read.parquet(str(tmp_path / "records"))))
    read = ("LeadId", "score", "grade", "reason", "batch_date")
    assert sorted(spark.table("settled").select(*read).collect()) == sorted(own.select(*read).collect())


def test_where_spark_has_its_plans_otherwise_the_plan_is_run_as_it_is(spark, arriving, scores, monkeypatch):
    monkeypatch.setattr("serving.settled_plan.SOURCE", "public class Nothing {}")
    assert "Settled" not in optimized(settled(spark, arriving.schema, scores)(arriving))


def test_where_tasks_would_not_get_the_classes_the_plan_is_run_as_it_is(spark, arriving, scores):
    spark.conf.set(ISOLATED, "true")
    try:
        assert "Settled" not in optimized(settled(spark, arriving.schema, scores)(arriving))
    finally:
        spark.conf.set(ISOLATED, "false")
