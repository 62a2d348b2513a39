"""The micro-batch stream: every lead once, whose folders are whose, and ends that lose nothing."""

import io
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from features.contract import Contract
from features.contract_file import parse_yaml
from features.stages import ForestParams, pipeline
from features.storage import Storage
from pipelines.settings import Settings
from pipelines.stream import StreamOptions, StreamSummary, run_stream
from pipelines.tracking import connect, log_model, register_model
from serving.ownership import MARKER, Entangled, NotOurs, OtherQuery, Places, bind
from serving.queries import BadSource, BadTrigger, Durations, QueryFailed, parse_trigger
from serving.scoring import UnfitLeads
from serving.sinks import UnknownSink, parse_sinks

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
FILES, PER_FILE = 3, 30


def some_leads(spark: SparkSession, first: int, count: int):
    rows = [(f"p{i}", float(i), int(i % 10 >= 5), float(i % 10), "Pune") for i in range(first, first + count)]
    return spark.createDataFrame(rows, LEADS).coalesce(1)


def add_file(spark: SparkSession, source: Path, name: str, first: int, count: int = PER_FILE) -> Path:
    """Put one Parquet file of leads into a folder, whole, as a producer must."""
    aside = source.parent / f"aside-{name}"
    some_leads(spark, first, count).write.parquet(str(aside))
    source.mkdir(exist_ok=True)
    target = source / f"{name}.parquet"
    next(aside.glob("*.parquet")).rename(target)
    shutil.rmtree(aside)
    return target


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Iterator[Path]:
    """A folder with a contract, a source of 3 files, and a store with a tiny model in Production."""
    folder = tmp_path_factory.mktemp("stream")
    (folder / "tiny.yaml").write_text(CONTRACT)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    client = connect(Settings())
    client.create_experiment("tiny", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("tiny")
    fields, leads = parse_yaml(CONTRACT, Contract, "tiny.yaml").features, some_leads(spark, 0, 40)
    model = pipeline(fields, ForestParams(trees=2, depth=2), "ContactedAgent").fit(leads)
    with mlflow.start_run():
        number = register_model("tiny", log_model(model, fields, leads), {})
    client.set_registered_model_alias("tiny", "Production", str(number))
    for index in range(FILES):
        add_file(spark, folder / "source", f"{index}", index * PER_FILE)
    yield folder
    mlflow.set_tracking_uri(before)


@pytest.fixture
def settings(store: Path, tmp_path: Path) -> Settings:
    """A fresh data folder whose stream side holds the three files."""
    shutil.copytree(store / "source", tmp_path / "stream")
    return Settings(data=str(tmp_path), contract_file=store / "tiny.yaml", model_name="tiny", experiment="tiny")


def run_to_end(spark: SparkSession, settings: Settings, **options) -> StreamSummary:
    return run_stream(spark, settings, StreamOptions(**{"available_now": True, "sink": "parquet", **options}))


def ids_in_sink(spark: SparkSession, settings: Settings) -> Counter:
    return Counter(r.ProspectID for r in spark.read.parquet(f"{settings.data}/scores/stream").collect())


def once(count: int) -> Counter:
    return Counter(f"p{i}" for i in range(count))


def test_every_lead_of_the_source_is_in_the_sink_once(spark, settings):
    run_to_end(spark, settings)
    assert ids_in_sink(spark, settings) == once(FILES * PER_FILE)


def test_a_batch_has_a_folder_of_its_own_that_any_reader_finds(spark, settings):
    run_to_end(spark, settings)
    found = sorted(p.parent.name for p in Path(settings.data).glob("scores/stream/query=q*/batch=*/*.parquet"))
    assert found == ["batch=000000", "batch=000001", "batch=000002"]


def test_a_second_run_scores_only_what_arrived_since(spark, settings):
    run_to_end(spark, settings)
    add_file(spark, Path(settings.stream), "late", 90, 5)
    assert run_to_end(spark, settings).rows == 5
    assert ids_in_sink(spark, settings) == once(95)


def test_a_file_a_year_older_than_the_others_is_scored_too(spark, settings):
    run_to_end(spark, settings)
    late = add_file(spark, Path(settings.stream), "late", 90, 5)
    year_ago = time.time() - 365 * 86400
    os.utime(late, (year_ago, year_ago))
    assert run_to_end(spark, settings).rows == 5


def test_a_batch_that_was_written_but_not_committed_is_not_doubled(spark, settings):
    run_to_end(spark, settings)
    for left in Path(settings.data).glob("checkpoints/stream/commits/*2*"):
        left.unlink()
    assert run_to_end(spark, settings).rows == PER_FILE
    assert ids_in_sink(spark, settings) == once(FILES * PER_FILE)


def test_what_a_killed_process_had_begun_to_write_is_never_read(spark, settings):
    run_to_end(spark, settings)
    output = Path(settings.data, "scores", "stream")
    begun = output / "_staging" / "000002-killed"
    shutil.copytree(next(output.glob("query=*/batch=000002")), begun)
    assert ids_in_sink(spark, settings) == once(FILES * PER_FILE)
    run_to_end(spark, settings)
    assert not begun.exists()


def test_a_stop_ends_the_stream_after_a_whole_batch_and_the_rest_follows_later(spark, settings):
    stop = threading.Event()
    options = StreamOptions(sink="parquet", trigger="0 seconds")
    first = run_stream(spark, settings, options, stop, report=lambda batch: stop.set())
    written = len(list(Path(settings.data).glob("scores/stream/query=*/batch=*")))
    assert (first.batches, written) == (1, 1)
    assert run_to_end(spark, settings).batches == FILES - 1
    assert ids_in_sink(spark, settings) == once(FILES * PER_FILE)


def test_several_files_may_go_into_one_batch(spark, settings):
    assert run_to_end(spark, settings, max_files_per_trigger=2).batches == 2


def test_a_file_without_rows_is_a_batch_of_none(spark, settings):
    shutil.rmtree(settings.stream)
    add_file(spark, Path(settings.stream), "none", 0, 0)
    assert run_to_end(spark, settings).rows == 0


def test_the_run_records_what_was_scored_and_how_fast(spark, settings):
    summary = run_to_end(spark, settings)
    metrics = mlflow.get_run(summary.run_id).data.metrics
    assert (metrics["rows_scored"], metrics["batches"]) == (FILES * PER_FILE, FILES)
    assert 0 < metrics["batch_p50_ms"] <= metrics["batch_p95_ms"]


def test_the_console_shows_twenty_leads_a_batch_with_its_number_and_row_count(spark, settings):
    console = Console(file=io.StringIO(), width=200)
    run_stream(spark, settings, StreamOptions(available_now=True, sink="console"), console=console)
    shown = console.file.getvalue()
    assert "batch 2: 20 of 30 scored leads" in shown
    assert shown.count("│ p") == FILES * 20


def test_a_query_for_the_console_alone_writes_no_scores(spark, settings):
    run_stream(spark, settings, StreamOptions(available_now=True, sink="console"), console=Console(file=io.StringIO()))
    assert not Path(settings.data, "scores").exists()


def test_both_sinks_get_every_batch(spark, settings):
    console = Console(file=io.StringIO(), width=200)
    run_stream(spark, settings, StreamOptions(available_now=True, sink="console,parquet"), console=console)
    assert "batch 2: 20 of 30 scored leads" in console.file.getvalue()
    assert ids_in_sink(spark, settings) == once(FILES * PER_FILE)


def test_a_source_that_lacks_a_column_is_refused_before_anything_is_written(spark, settings):
    shutil.rmtree(settings.stream)
    some_leads(spark, 0, 5).drop("City").write.parquet(settings.stream)
    with pytest.raises(UnfitLeads, match="lack City"):
        run_to_end(spark, settings)
    assert os.listdir(settings.data) == ["stream"]


def test_a_refused_start_is_on_record_in_its_run(spark, settings):
    shutil.rmtree(settings.stream)
    with pytest.raises(BadSource, match="not a folder"):
        run_to_end(spark, settings)
    run = mlflow.search_runs(experiment_names=["tiny"], max_results=1, output_format="list")[0]
    assert run.info.status == "FAILED"
    assert "not a folder" in run.data.tags["error"]


def test_an_empty_source_is_refused(spark, settings):
    shutil.rmtree(settings.stream)
    Path(settings.stream).mkdir()
    with pytest.raises(BadSource, match="is empty"):
        run_to_end(spark, settings)


def test_a_damaged_file_ends_the_stream_by_name(spark, settings):
    run_to_end(spark, settings)
    Path(settings.stream, "damaged.parquet").write_bytes(b"PAR1 no parquet PAR1")
    with pytest.raises(QueryFailed, match=r"damaged\.parquet"):
        run_to_end(spark, settings)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(*(f"file:{tmp_path}/{name}" for name in ("source", "output", "checkpoint")))


def path_of(uri: str) -> Path:
    return Path(uri.removeprefix("file:"))


def test_the_same_places_make_the_same_query_again(spark, places):
    assert bind(Storage(spark), places, "m") == bind(Storage(spark), places, "m")


def test_a_full_output_folder_without_our_marker_is_not_written_to(spark, places):
    path_of(places.output).mkdir()
    (path_of(places.output) / "precious.txt").write_text("mine")
    with pytest.raises(NotOurs, match="was not written here"):
        bind(Storage(spark), places, "m")
    assert not path_of(places.checkpoint).exists()


def test_a_full_checkpoint_folder_without_our_marker_is_not_used(spark, places):
    (path_of(places.checkpoint) / "offsets").mkdir(parents=True)
    with pytest.raises(NotOurs, match="was not written here"):
        bind(Storage(spark), places, "m")


def test_a_lost_checkpoint_is_not_made_anew_for_an_output_with_scores(spark, places):
    bind(Storage(spark), places, "m")
    shutil.rmtree(path_of(places.checkpoint))
    with pytest.raises(OtherQuery, match="is gone; a new one would score every lead again. Name a new output"):
        bind(Storage(spark), places, "m")


def test_an_output_is_refused_to_a_second_checkpoint(spark, places):
    bind(Storage(spark), places, "m")
    second = Places(places.source, places.output, f"{places.checkpoint}-2")
    with pytest.raises(OtherQuery, match="is written by the query with the checkpoint"):
        bind(Storage(spark), second, "m")


def test_a_checkpoint_copied_over_another_querys_is_found_out(spark, places):
    bind(Storage(spark), places, "m")
    marker = path_of(places.checkpoint) / MARKER
    marker.with_name(f".{MARKER}.crc").unlink(missing_ok=True)
    marker.write_text(marker.read_text().replace('"id": "', '"id": "0'))
    with pytest.raises(OtherQuery, match="a checkpoint of another query"):
        bind(Storage(spark), places, "m")


@pytest.mark.parametrize("changed", ["source", "output"])
def test_a_checkpoint_is_refused_to_another_source_or_output(spark, places, changed):
    bind(Storage(spark), places, "m")
    other = Places(**{**vars(places), changed: f"{getattr(places, changed)}-2"})
    with pytest.raises(OtherQuery, match=f"its {changed} is"):
        bind(Storage(spark), other, "m")


def test_scores_that_vanished_under_a_checkpoint_are_reported(spark, places):
    bind(Storage(spark), places, "m")
    shutil.rmtree(path_of(places.output))
    (path_of(places.checkpoint) / "commits").mkdir()
    (path_of(places.checkpoint) / "commits" / "0").write_text("v1\n{}")
    with pytest.raises(OtherQuery, match="are gone from"):
        bind(Storage(spark), places, "m")


def test_a_kill_between_the_two_markers_is_mended(spark, places):
    bind(Storage(spark), places, "m")
    shutil.rmtree(path_of(places.output))
    bind(Storage(spark), places, "m")
    assert (path_of(places.output) / MARKER).exists()


def test_an_output_inside_the_source_is_refused(spark, places):
    with pytest.raises(Entangled, match="the output .* lies in the source"):
        bind(Storage(spark), Places(places.source, f"{places.source}/scores", places.checkpoint), "m")


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("30 seconds", 30_000),
        ("500 ms", 500),
        ("250 milliseconds", 250),
        ("1 minute", 60_000),
        ("5s", 5000),
        ("0 s", 0),
    ],
)
def test_a_trigger_is_a_number_and_a_unit(text, milliseconds):
    assert parse_trigger(text) == milliseconds


@pytest.mark.parametrize("text", ["", "soon", "30", "-1 seconds", "1.5 s", "30 seconds ago", "3 fortnights"])
def test_anything_else_is_no_trigger(text):
    with pytest.raises(BadTrigger, match="no length of time"):
        parse_trigger(text)


@pytest.mark.parametrize("text", ["", " , ", "kafka", "console,file"])
def test_a_sink_that_does_not_exist_is_refused(text):
    with pytest.raises(UnknownSink, match="console, parquet"):
        parse_sinks(text)


def test_a_quantile_of_durations_is_one_of_them():
    durations = Durations()
    durations.milliseconds.extend([10, 20, 30, 40])
    assert [durations.quantile(q) for q in (0.25, 0.5, 0.95)] == [10, 20, 40]
