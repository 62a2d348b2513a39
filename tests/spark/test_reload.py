"""Another version under a running stream: when it takes over, and when it is refused."""

import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.feature import SQLTransformer
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.contract import Kind
from features.stages import GRADE, ForestParams, encoder_stages, forest
from pipelines.settings import Settings
from pipelines.stream import run_stream
from pipelines.stream_options import StreamOptions
from serving.errors import UnfitVersion
from serving.lake import LakeSink
from serving.queries import Running
from serving.registry import ResolvedVersion
from serving.runtime.lease import LOCK, LeaseLost
from serving.runtime.probe import probe, refuse_scores
from serving.runtime.watch import Watch
from tests.endpoints import ask
from tests.leads import small_contract, small_leads
from tests.served import register_small, served, small_model, tear, write_files
from tests.service_process import free_ports

FILES, PER_FILE, WAIT_SECONDS = 3, 10, 120
GOOD, CONSTANT, TORN, OTHER_COLUMNS, NO_NUMBERS, NO_GRADES, WORDS = range(2, 9)
VERSION = ResolvedVersion("m", 1, "run", {})


def constant_model(spark: SparkSession) -> PipelineModel:
    """A forest of bare roots: one score for all."""
    fields = small_contract().feature_set("available")
    roots = RandomForestClassifier(featuresCol="features", labelCol="Bought", numTrees=1, maxDepth=0, seed=1)
    return Pipeline(stages=[*encoder_stages(fields), roots]).fit(small_leads(spark))


def model_of_other_columns(spark: SparkSession) -> PipelineModel:
    """A forest of Visits2, Seconds2 and City2, which no contract knows."""
    fields = small_contract().feature_set("available")
    other = [f.model_copy(update={"name": f"{f.name}2"}) for f in fields]
    leads = small_leads(spark).withColumnsRenamed({f.name: f"{f.name}2" for f in fields})
    return Pipeline(stages=[*encoder_stages(other), forest(ForestParams(trees=2, depth=2), "Bought")]).fit(leads)


def model_of_words(spark: SparkSession) -> PipelineModel:
    """A forest for which Visits are words."""
    as_word = {"kind": Kind.CATEGORY, "limits": None, "buckets": None}
    fields = [
        f.model_copy(update=as_word) if f.name == "Visits" else f for f in small_contract().feature_set("available")
    ]
    leads = small_leads(spark).withColumn("Visits", F.col("Visits").cast("int").cast("string"))
    return Pipeline(stages=[*encoder_stages(fields), forest(ForestParams(trees=2, depth=2), "Bought")]).fit(leads)


@pytest.fixture(scope="module")
def model(spark: SparkSession) -> PipelineModel:
    return small_model(spark)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession, model: PipelineModel) -> Iterator[Settings]:
    """Three files of leads and eight versions: two good ones, and one for each way to be of no use."""
    folder = tmp_path_factory.mktemp("reload")
    no_numbers = SQLTransformer(statement="SELECT *, double('NaN') AS calibrated FROM __THIS__")
    failing = SQLTransformer(statement=f"SELECT *, string(raise_error('no cut')) AS {GRADE} FROM __THIS__")
    broken = [PipelineModel([*model.stages, stage]) for stage in (no_numbers, failing)]
    with served(spark, folder, model) as settings:
        bad = (constant_model(spark), model, model_of_other_columns(spark), *broken, model_of_words(spark))
        for other in (model, *bad):
            register_small(spark, settings, settings.model_name, other)
        tear(settings, TORN)
        write_files(small_leads(spark, FILES * PER_FILE), Path(settings.stream), FILES)
        yield settings


@pytest.fixture
def settings(store: Settings, tmp_path: Path) -> Settings:
    """Version 1 in Production, and a fresh data folder with the three files."""
    promote(store, 1)
    shutil.copytree(store.stream, tmp_path / "stream")
    return store.model_copy(update={"data": str(tmp_path)})


def promote(settings: Settings, version: int) -> None:
    MlflowClient().set_registered_model_alias(settings.model_name, "Production", str(version))


def run_with(
    spark,
    settings,
    monkeypatch,
    during_second_batch: Callable[[], None],
    after_third: Callable[[], None] = lambda: None,
    **options,
) -> None:
    """Stream the three files, one a batch; do something while the second is being written, and end after the last."""
    write, stop = LakeSink.write, threading.Event()

    def slow(sink: LakeSink, batch, number: int) -> int:
        if number == 1:
            during_second_batch()
        return write(sink, batch, number)

    monkeypatch.setattr(LakeSink, "write", slow)

    def ended(batch) -> None:
        if batch.number == FILES - 1:
            after_third()
            stop.set()

    asked = StreamOptions(sink="parquet", trigger="0 seconds", poll="50 ms", **options)
    run_stream(spark, settings, asked, stop, report=ended)


def versions_by_batch(spark, settings) -> dict[int, set[int]]:
    rows = spark.read.parquet(f"{settings.data}/scores/stream").select("batch", "model_version").distinct().collect()
    found: dict[int, set[int]] = {}
    for row in rows:
        found.setdefault(int(row.batch), set()).add(row.model_version)
    return found


def wait_for(event: threading.Event) -> None:
    assert event.wait(WAIT_SECONDS), "waited too long"


def called(monkeypatch, owner: type, name: str) -> threading.Event:
    """An event that is set after a method has been called."""
    method, event = getattr(owner, name), threading.Event()

    def wrapped(*args, **kwargs):
        try:
            return method(*args, **kwargs)
        finally:
            event.set()

    monkeypatch.setattr(owner, name, wrapped)
    return event


def test_a_promotion_in_the_middle_of_a_batch_takes_effect_with_the_next(spark, settings, monkeypatch):
    asked = called(monkeypatch, Running, "ask_to_end")

    def promotion() -> None:
        promote(settings, GOOD)
        wait_for(asked)

    run_with(spark, settings, monkeypatch, promotion)
    assert versions_by_batch(spark, settings) == {0: {1}, 1: {1}, 2: {GOOD}}
    ids = [r.LeadId for r in spark.read.parquet(f"{settings.data}/scores/stream").collect()]
    assert Counter(ids) == Counter(f"lead-{i:05d}" for i in range(FILES * PER_FILE))


def ready(port: int) -> tuple[int, dict]:
    code, body = ask(port, "/readyz")
    return code, json.loads(body)


def ready_once(port: int, holds: Callable[[int, dict], bool]) -> None:
    """Wait until /readyz answers what is asked for; the supervisor notes what the watch has seen a moment later."""
    end = time.monotonic() + WAIT_SECONDS
    while not holds(*ready(port)):
        assert time.monotonic() < end, ready(port)
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (CONSTANT, "different leads the probability"),
        (TORN, "cannot be loaded"),
        (OTHER_COLUMNS, "takes Visits2, Seconds2, City2"),
        (NO_NUMBERS, "gives nan as a probability"),
        (NO_GRADES, "fails on a lead: [USER_RAISED_EXCEPTION] no cut"),
        (WORDS, "takes Visits as words, which the contract 'small-leads' has as numbers"),
    ],
)
def test_a_version_that_must_not_serve_is_refused_and_shown_and_the_last_one_goes_on(
    spark, settings, monkeypatch, bad, why
):
    (port,) = free_ports(1)

    def promotion() -> None:
        promote(settings, bad)
        ready_once(port, lambda code, body: code == 503 and why in body["problems"][0])
        assert "lead_scoring_refused_versions_total 1.0" in ask(port, "/metrics")[1]

    run_with(spark, settings, monkeypatch, promotion, health_port=port)
    assert versions_by_batch(spark, settings) == {0: {1}, 1: {1}, 2: {1}}


def test_a_good_version_after_a_bad_one_serves_and_ends_the_warning(spark, settings, monkeypatch):
    (port,) = free_ports(1)
    asked, refused = called(monkeypatch, Running, "ask_to_end"), called(monkeypatch, Watch, "_refuse")

    def promotions() -> None:
        promote(settings, CONSTANT)
        wait_for(refused)
        promote(settings, GOOD)
        wait_for(asked)
        ready_once(port, lambda code, body: code == 200)

    metrics: list[str] = []
    run_with(
        spark, settings, monkeypatch, promotions, lambda: metrics.append(ask(port, "/metrics")[1]), health_port=port
    )
    assert versions_by_batch(spark, settings)[2] == {GOOD}
    assert 'lead_scoring_events_total{outcome="scored"} 20.0' in metrics[0]
    assert "lead_scoring_reloads_total 1.0" in metrics[0]


def test_a_registry_that_goes_down_leaves_the_stream_serving_and_is_told(spark, settings, monkeypatch):
    (port,) = free_ports(1)

    def down(*_: object) -> None:
        raise ConnectionError("the registry is gone")

    def outage() -> None:
        monkeypatch.setattr("pipelines.stream.resolve", down)
        ready_once(port, lambda code, body: code == 200 and "is gone" in body["registry"])

    run_with(spark, settings, monkeypatch, outage, health_port=port)
    assert versions_by_batch(spark, settings) == {0: {1}, 1: {1}, 2: {1}}


def test_a_scorer_that_lost_its_checkpoint_writes_no_further_batch(spark, settings, monkeypatch):
    lock = Path(settings.data, "checkpoints", "stream", LOCK)
    with pytest.raises(LeaseLost, match="moved or deleted"):
        run_with(spark, settings, monkeypatch, lock.unlink)
    assert set(versions_by_batch(spark, settings)) <= {0, 1}


def test_a_start_with_a_version_that_must_not_serve_is_refused_before_anything_is_written(spark, settings):
    promote(settings, CONSTANT)
    with pytest.raises(UnfitVersion):
        run_stream(spark, settings, StreamOptions(sink="parquet", available_now=True))
    assert os.listdir(settings.data) == ["stream"]


def test_a_model_of_the_contracts_leads_may_serve(spark, model):
    assert probe(spark, model, VERSION, small_contract()) is None  # it raises where a model must not serve


def test_a_model_of_other_columns_is_refused_by_their_names(spark):
    with pytest.raises(UnfitVersion, match="takes Visits2, Seconds2, City2"):
        probe(spark, model_of_other_columns(spark), VERSION, small_contract())


@pytest.mark.parametrize("wrong", [None, float("nan"), float("inf"), 1.5, -0.1])
def test_a_score_that_is_no_probability_is_refused(wrong):
    with pytest.raises(UnfitVersion, match="as a probability"):
        refuse_scores([0.2, wrong, 0.4], VERSION)
