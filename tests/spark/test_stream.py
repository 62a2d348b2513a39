"""The micro-batch stream: every lead once, and ends that lose nothing."""

import io
import json
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from features.storage import Storage
from pipelines.redrive import AlreadyRuns, RedriveOptions, run_redrive
from pipelines.settings import Settings
from pipelines.stream import StreamSummary, run_stream
from pipelines.stream_options import StreamOptions, UnfitOptions
from serving.dead_letters import DeadLetterFolder, DeadLetterSink
from serving.model_copies import IN_USE, PREFIX
from serving.queries import Batch
from serving.redrive import NoDeadLetters
from serving.runtime.lease import CheckpointInUse, FileLock
from serving.sources import BadSource, FileFormat
from tests.leads import SMALL, small_leads
from tests.scored import scored_rows
from tests.served import served, write_files

FILES, PER_FILE = 3, 30
LEADS = FILES * PER_FILE
ANSWERS = {"Visits": "double", "Seconds": "double", "City": "string"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Iterator[Settings]:
    """A source of 3 files with 30 leads each, and a small model in Production."""
    with served(spark, tmp_path_factory.mktemp("stream")) as settings:
        write_files(small_leads(spark, LEADS), Path(settings.stream), FILES)
        yield settings


@pytest.fixture
def settings(store: Settings, tmp_path: Path) -> Settings:
    """A fresh data folder whose stream side holds the three files."""
    shutil.copytree(store.stream, tmp_path / "stream")
    return store.model_copy(update={"data": str(tmp_path)})


def add_five(spark: SparkSession, settings: Settings) -> Path:
    """Let a file of five new leads arrive."""
    new = small_leads(spark, LEADS + 5).where(f"Number >= {LEADS}")
    write_files(new, Path(settings.stream), 1, first=FILES)
    return Path(settings.stream, f"part-{FILES:03d}.parquet")


def run_to_end(spark: SparkSession, settings: Settings, **options) -> StreamSummary:
    return run_stream(spark, settings, StreamOptions(**{"available_now": True, "sink": "parquet", **options}))


def ids_in_sink(spark: SparkSession, settings: Settings) -> Counter:
    return Counter(r.LeadId for r in spark.read.parquet(f"{settings.data}/scores/stream").collect())


def once(count: int) -> Counter:
    return Counter(f"lead-{i:05d}" for i in range(count))


def test_every_lead_of_the_source_is_in_the_sink_once(spark, settings):
    run_to_end(spark, settings)
    assert ids_in_sink(spark, settings) == once(LEADS)


def test_a_stream_removes_the_copies_of_models_that_killed_ones_left(spark, settings):
    left = Path(tempfile.mkdtemp(prefix=PREFIX))
    (left / IN_USE).touch()
    os.utime(left, (time.time() - 3600,) * 2)
    run_to_end(spark, settings)
    assert not left.exists()


def test_a_batch_has_a_folder_of_its_own_that_any_reader_finds(spark, settings):
    run_to_end(spark, settings)
    found = sorted(
        p.parent.name for p in Path(settings.data).glob("scores/stream/batch_date=*/query=q*/batch=*/*.parquet")
    )
    assert found == ["batch=000000", "batch=000001", "batch=000002"]


def test_a_second_run_scores_only_what_arrived_since(spark, settings):
    run_to_end(spark, settings)
    add_five(spark, settings)
    assert run_to_end(spark, settings).rows == 5
    assert ids_in_sink(spark, settings) == once(LEADS + 5)


def test_a_file_a_year_older_than_the_others_is_scored_too(spark, settings):
    run_to_end(spark, settings)
    late = add_five(spark, settings)
    year_ago = time.time() - 365 * 86400
    os.utime(late, (year_ago, year_ago))
    assert run_to_end(spark, settings).rows == 5


def test_a_batch_that_was_written_but_not_committed_is_not_doubled(spark, settings):
    run_to_end(spark, settings)
    for left in Path(settings.data).glob("checkpoints/stream/commits/*2*"):
        left.unlink()
    assert run_to_end(spark, settings).rows == PER_FILE
    assert ids_in_sink(spark, settings) == once(LEADS)


@pytest.mark.parametrize("step", ["before the delete", "before the move", "after the move"])
def test_a_write_that_breaks_off_at_any_step_loses_and_doubles_nothing(spark, settings, monkeypatch, step):
    def broken(storage: Storage, source: str, target: str) -> None:
        if step == "after the move":
            move(storage, source, target)
        raise OSError("pulled the plug")

    move, delete = Storage.move, Storage.delete
    with monkeypatch.context() as patch:
        if step == "before the delete":
            patch.setattr(Storage, "delete", lambda s, uri: broken(s, uri, "") if "batch=" in uri else delete(s, uri))
        else:
            patch.setattr(Storage, "move", broken)
        with pytest.raises(OSError, match="pulled the plug"):
            run_to_end(spark, settings)
    run_to_end(spark, settings)
    assert ids_in_sink(spark, settings) == once(LEADS)


def test_what_a_killed_process_had_begun_to_write_is_never_read(spark, settings):
    run_to_end(spark, settings)
    output = Path(settings.data, "scores", "stream")
    begun = output / "_staging" / "000002-killed"
    shutil.copytree(next(output.glob("batch_date=*/query=*/batch=000002")), begun)
    assert ids_in_sink(spark, settings) == once(LEADS)
    run_to_end(spark, settings)
    assert not begun.exists()


def test_a_stop_ends_the_stream_after_a_whole_batch_and_the_rest_follows_later(spark, settings):
    stop = threading.Event()

    def stop_within_the_batch(batch: Batch) -> None:
        stop.set()
        time.sleep(3)  # far longer than a stop needs to be noticed: the batch is not over before

    options = StreamOptions(sink="parquet", trigger="0 seconds")
    first = run_stream(spark, settings, options, stop, report=stop_within_the_batch)
    written = len(list(Path(settings.data).glob("scores/stream/batch_date=*/query=*/batch=*")))
    assert (first.batches, written) == (1, 1)
    assert run_to_end(spark, settings).batches == FILES - 1
    assert ids_in_sink(spark, settings) == once(LEADS)


def test_several_files_may_go_into_one_batch(spark, settings):
    assert run_to_end(spark, settings, max_files_per_trigger=2).batches == 2


@pytest.mark.parametrize("sink", ["parquet", "console", "console,parquet"])
def test_a_file_without_rows_is_a_batch_of_none(spark, settings, sink):
    shutil.rmtree(settings.stream)
    write_files(small_leads(spark, 1).where("false"), Path(settings.stream), 1)
    summary = run_to_end(spark, settings, sink=sink)
    assert (summary.batches, summary.rows) == (1, 0)


def test_the_run_records_what_was_scored_and_how_fast(spark, settings):
    summary = run_to_end(spark, settings)
    metrics = mlflow.get_run(summary.run_id).data.metrics
    assert (metrics["rows_scored"], metrics["batches"]) == (LEADS, FILES)
    assert 0 < metrics["batch_p50_ms"] <= metrics["batch_p95_ms"]


def test_the_console_shows_twenty_leads_a_batch_with_its_number_and_row_count(spark, settings):
    console = Console(file=io.StringIO(), width=200)
    run_stream(spark, settings, StreamOptions(available_now=True, sink="console"), console=console)
    shown = console.file.getvalue()
    assert "batch 2: 20 of 30 scored leads" in shown
    assert shown.count("│ lead-") == FILES * 20


def test_a_query_for_the_console_alone_writes_no_scores(spark, settings):
    run_stream(spark, settings, StreamOptions(available_now=True, sink="console"), console=Console(file=io.StringIO()))
    assert not Path(settings.data, "scores").exists()


def test_both_sinks_get_every_batch(spark, settings):
    console = Console(file=io.StringIO(), width=200)
    run_stream(spark, settings, StreamOptions(available_now=True, sink="console,parquet"), console=console)
    assert "batch 2: 20 of 30 scored leads" in console.file.getvalue()
    assert ids_in_sink(spark, settings) == once(LEADS)


def test_a_file_that_lacks_a_column_is_scored_as_if_nobody_had_answered(spark, settings):
    shutil.rmtree(settings.stream)
    write_files(small_leads(spark, 5).drop("City"), Path(settings.stream), 1)
    assert run_to_end(spark, settings).rows == 5


def test_a_source_that_is_not_there_is_refused_before_anything_is_written(spark, settings):
    shutil.rmtree(settings.stream)
    with pytest.raises(BadSource, match="not a folder"):
        run_to_end(spark, settings)
    assert os.listdir(settings.data) == []


def test_a_refused_start_is_on_record_in_its_run(spark, settings):
    shutil.rmtree(settings.stream)
    with pytest.raises(BadSource, match="not a folder"):
        run_to_end(spark, settings)
    run = mlflow.search_runs(experiment_names=[settings.experiment], max_results=1, output_format="list")[0]
    assert run.info.status == "FAILED"
    assert "not a folder" in run.data.tags["error"]


def test_a_run_that_its_store_does_not_take_at_first_is_the_one_that_was_asked_for(spark, settings, monkeypatch):
    experiment = mlflow.MlflowClient().get_experiment_by_name(settings.experiment)
    run = mlflow.MlflowClient().create_run(experiment.experiment_id).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run)
    monkeypatch.setattr("serving.runtime.watch.FIRST_WAIT_SECONDS", 0.01)
    set_tags, tries = mlflow.set_tags, []

    def away_at_first(tags):
        tries.append(tags)
        if len(tries) == 1:
            raise MlflowException("Max retries exceeded with url: /api/2.0/mlflow/runs/log-batch")
        set_tags(tags)

    monkeypatch.setattr("pipelines.tracking.mlflow.set_tags", away_at_first)
    assert run_to_end(spark, settings).run_id == run
    assert len(tries) > 1
    assert mlflow.get_run(run).info.status == "FINISHED"


def test_an_empty_source_has_nothing_to_score(spark, settings):
    shutil.rmtree(settings.stream)
    Path(settings.stream).mkdir()
    assert run_to_end(spark, settings).batches == 0


def test_a_damaged_file_becomes_a_dead_letter_and_the_others_are_scored(spark, settings):
    Path(settings.stream, "a-damaged.parquet").write_bytes(b"PAR1 no parquet PAR1")
    run_to_end(spark, settings)
    assert ids_in_sink(spark, settings) == once(LEADS)
    letters = spark.read.parquet(f"{settings.data}/dead-letters/kind=files").collect()
    assert [Path(r.origin).name for r in letters] == ["a-damaged.parquet"]


def test_a_lead_without_any_answer_becomes_a_dead_letter(spark, settings):
    shutil.rmtree(settings.stream)
    empty = small_leads(spark, 3).withColumns({n: F.lit(None).cast(t) for n, t in ANSWERS.items()})
    write_files(empty, Path(settings.stream), 1)
    assert run_to_end(spark, settings).rows == 0
    letters = spark.read.parquet(f"{settings.data}/dead-letters/kind=refused").collect()
    assert {r.reason for r in letters} == {"no feature was answered"}


def test_a_checkpoint_in_use_is_refused_and_free_again_afterwards(spark, settings):
    folder = Path(settings.data, "checkpoints", "stream")
    with FileLock(folder), pytest.raises(CheckpointInUse, match=f"process {os.getpid()}"):
        run_to_end(spark, settings)
    assert run_to_end(spark, settings).rows == LEADS


def test_a_log_line_is_written_for_every_batch(spark, settings, capsys):
    run_to_end(spark, settings)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    batches = [line for line in lines if line["event"] == "batch"]
    assert [(b["batch"], b["version"], b["scored"], b["quarantined"]) for b in batches] == [
        (number, 1, PER_FILE, 0) for number in range(FILES)
    ]
    assert all(b["latency_ms"]["p50"] is not None and b["durations"]["addBatch"] > 0 for b in batches)


@pytest.mark.parametrize("kind", [FileFormat.JSON, FileFormat.CSV])
def test_files_of_text_are_streamed_and_their_faults_become_letters(spark, settings, kind):
    source = Path(settings.data, "texts")
    source.mkdir()
    lines = {
        FileFormat.JSON: ['{"LeadId": "a", "Visits": 3}', "not json", '{"LeadId": "b", "City": "Pune"}'],
        FileFormat.CSV: ["LeadId,Visits,Seconds,City", "a,3,,", "c,many,,", "b,,,Pune"],
    }
    (source / f"leads.{kind}").write_text("\n".join(lines[kind]) + "\n", encoding="utf-8")
    run_to_end(spark, settings, source=str(source), source_format=kind)
    assert ids_in_sink(spark, settings) == Counter(["a", "b"])
    letters = spark.read.parquet(settings.dead_letters).collect()
    assert [letter.reason.split(":")[0] for letter in letters] in (
        ["the event is not JSON"],
        ["Visits is not a number"],
    )


def test_what_a_stream_refused_is_replayed_by_default_once_it_is_mended(spark, settings):
    (Path(settings.stream) / "part-000.parquet").unlink()
    far = small_leads(spark, 1).withColumn("Visits", F.lit(5000.0))
    write_files(far, Path(settings.stream), 1)
    assert run_to_end(spark, settings).rows == LEADS - PER_FILE
    contract = Path(settings.data, "mended.yaml")
    contract.write_text(SMALL.replace("max: 1000", "max: 9000"), encoding="utf-8")
    mended = settings.model_copy(update={"contract_file": contract})
    with pytest.raises(UnfitOptions, match="holds files of the format parquet"):
        run_redrive(spark, mended, RedriveOptions(format=FileFormat.JSON))
    with (
        FileLock(Path(mended.data, "redriven")),
        pytest.raises(AlreadyRuns, match="another redrive replays by the ledger"),
    ):
        run_redrive(spark, mended)
    assert run_redrive(spark, mended).replayed == 1
    assert run_to_end(spark, mended).rows == 1


def test_letters_of_several_streams_are_replayed_by_the_query_that_is_named(spark, settings):
    for query in ("q1", "q2"):
        far = {"event_id": f"E-{query}", "raw": json.dumps({"LeadId": query, "Visits": 3}), "reason": "was bad"}
        DeadLetterSink(DeadLetterFolder(Storage(spark), settings.dead_letters, query), query).write(
            scored_rows(spark, far), 0
        )
    with pytest.raises(UnfitOptions, match=r"letters of several queries: q1, q2\. Name one"):
        run_redrive(spark, settings)
    with pytest.raises(NoDeadLetters, match="no letters of the query q3; there are those of q1, q2"):
        run_redrive(spark, settings, RedriveOptions(query="q3"))
    assert run_redrive(spark, settings, RedriveOptions(query="q1")).replayed == 1
    assert run_redrive(spark, settings, RedriveOptions(query="all")).replayed == 1
