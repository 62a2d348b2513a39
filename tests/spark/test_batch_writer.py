"""What happens to a micro-batch on its way to the sinks: it is counted, no refused event is lost, nothing is kept."""

import threading
import time
import uuid

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.storage import Storage
from serving.dead_letters import DeadLetterFolder, DeadLetterSink
from serving.file_account import FileAccount, SourceUnsteady
from serving.lake import LakeSink
from serving.queries import BatchWriter, Running, start_micro_batches
from serving.sources import FileOptions
from serving.tally import Tally
from tests.leads import small_contract
from tests.scored import scored_rows

BAD = {"reason": "LeadId is missing", "raw": '{"Visits": 3}', "LeadId": None, "event_id": "bad"}


class RowByRow:
    """A sink that takes the rows one by one, as those of PostgreSQL and the webhook do."""

    observes = False
    cached = True

    def write(self, batch: DataFrame, number: int) -> None:
        self.taken = [row.event_id for row in batch.toLocalIterator()]


@pytest.fixture
def spark(spark):
    """A session of its own, as every query has: a batch sets it."""
    return spark.newSession()


@pytest.fixture
def lake(spark, tmp_path):
    return LakeSink(Storage(spark), str(tmp_path / "lake"), "q1")


@pytest.fixture
def writer(spark, tmp_path):
    """A writer to the sinks that a test names."""
    dead = DeadLetterSink(DeadLetterFolder(Storage(spark), str(tmp_path / "dead"), "q1"), "q1")
    return lambda *sinks: BatchWriter(sinks, lambda batch: None, dead_letters=dead)


def kept_in_memory(spark) -> int:
    return len(spark.sparkContext._jsc.getPersistentRDDs())


@pytest.fixture(params=["one sink that observes", "one that does not", "two sinks"])
def sinks(request, lake):
    return {"one sink that observes": [lake], "one that does not": [RowByRow()], "two sinks": [lake, RowByRow()]}[
        request.param
    ]


def test_a_refused_event_of_any_batch_becomes_a_dead_letter_whatever_the_sinks(spark, writer, sinks, tmp_path):
    write = writer(*sinks)
    write(scored_rows(spark, {}), 0)
    write(scored_rows(spark, {}, BAD), 1)
    assert [row.event_id for row in spark.read.parquet(str(tmp_path / "dead")).collect()] == ["bad"]


def test_a_batch_is_counted_whatever_the_sinks(spark, writer, sinks):
    write = writer(*sinks)
    write(scored_rows(spark, {"unknown_categories": 2}, {}, BAD), 7)
    tally = write.tallies[7]
    assert (tally.rows, tally.scored, tally.refused, tally.unknown_categories) == (3, 2, 1, 2)


def jobs_of(spark, action) -> int:
    """How many jobs Spark runs for an action."""
    group = uuid.uuid4().hex
    spark.sparkContext.setJobGroup(group, "counted")
    try:
        action()
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
    return len(spark.sparkContext.statusTracker().getJobIdsForGroup(group))


def test_beside_a_sink_that_observes_no_job_only_counts(spark, lake, writer):
    class Idle(RowByRow):
        def write(self, batch: DataFrame, number: int) -> None:
            pass

    rows = scored_rows(spark, {}, {})
    alone = jobs_of(spark, lambda: writer(lake)(rows, 0))
    assert jobs_of(spark, lambda: writer(Idle(), lake)(rows, 1)) == alone > 0


def test_sinks_that_come_later_read_the_scores_that_the_first_had(spark, lake, writer, tmp_path):
    rows = scored_rows(spark, {}).withColumn("event_id", F.expr("uuid()"))
    sink = RowByRow()
    writer(sink, lake)(rows, 0)
    assert sink.taken == [row.event_id for row in spark.read.parquet(str(tmp_path / "lake")).collect()]


def test_no_batch_is_kept_in_memory_once_it_is_written(spark, writer, sinks):
    before, write = kept_in_memory(spark), writer(*sinks)
    write(scored_rows(spark, {}, BAD), 0)
    assert kept_in_memory(spark) == before


def test_no_batch_is_kept_in_memory_when_a_sink_fails(spark, writer, lake):
    class Failing(RowByRow):
        def write(self, batch: DataFrame, number: int) -> None:
            batch.collect()
            raise OSError("no route")

    before = kept_in_memory(spark)
    with pytest.raises(RuntimeError):
        writer(lake, Failing())(scored_rows(spark, {}), 0)
    assert kept_in_memory(spark) == before


def test_no_sink_that_keeps_what_it_has_is_given_a_batch_of_files_that_must_be_read_again(spark, tmp_path):
    class Unsteady(FileAccount):
        def unread(self, *asked):
            raise SourceUnsteady("a.parquet gave 1 of its 2 rows")

    account = Unsteady(spark, FileOptions(folder=str(tmp_path)), small_contract(), str(tmp_path))
    sink = RowByRow()
    write = BatchWriter([sink], lambda batch: None, dead_letters=DeadLetterSink(None, "q1", account))
    with pytest.raises(RuntimeError, match="SourceUnsteady"):
        write(scored_rows(spark, {}), 0)
    assert not hasattr(sink, "taken")


def test_a_batch_that_was_cut_off_after_a_stop_is_no_failure(spark, writer, tmp_path):
    begun = threading.Event()

    class Slow(RowByRow):
        def write(self, batch: DataFrame, number: int) -> None:
            begun.set()
            batch.sparkSession.sparkContext.parallelize([0], 1).foreach(lambda _: time.sleep(600))

    rows = scored_rows(spark, {})
    rows.write.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema(rows.schema).parquet(str(tmp_path / "in"))
    running = start_micro_batches(stream, writer(Slow()), str(tmp_path / "checkpoint"), 0)
    assert begun.wait(60)
    running.ask_to_end()
    assert not running.ended(0.1)
    running.end_now()
    assert running.ended(0.1)


def test_an_empty_tally_has_no_latency():
    seen = {"rows": 0, "scored": 0, "unknown_categories": None, "quantiles": None, "max": None}
    assert Tally.of(seen).latency_ms == {"p50": None, "p95": None, "p99": None, "max": None}


def test_what_ends_a_query_for_no_known_reason_is_told_by_java_s_stack_and_not_by_the_plan(spark, tmp_path):
    def fail(batch, number):
        raise ZeroDivisionError("a bug")

    rows = spark.readStream.format("rate").load()
    query = rows.writeStream.foreachBatch(fail).option("checkpointLocation", str(tmp_path)).start()
    running = Running(query, None)
    with pytest.raises(StreamingQueryException) as ended:
        running.ended(60)
    told = str(ended.value)
    assert "ZeroDivisionError: a bug" in told
    assert "\tat org.apache.spark.sql.execution.streaming" in told
    assert "Logical Plan" not in told
