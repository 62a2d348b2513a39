"""The same leads, model and scores on two executors as in one process."""

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pyarrow.dataset as ds
import pytest
from mlflow import MlflowClient

from pipelines.prepare import run_prepare
from pipelines.score import run_score
from pipelines.settings import ROOT, Settings
from tests.commands import Workplace
from tests.integration.conftest import running
from tests.leads import small_csv
from tests.service_process import HOST
from tests.services import java_options
from tests.spark_cluster import SparkMaster, SparkWorker, spark_home

OURS = """
from functools import partial
from features.storage import join
from pipelines.session import spark_session
from pipelines.settings import Settings
with spark_session(Settings(), "ours") as spark:
    print(spark.sparkContext.parallelize(["a", "b"], 2).map(partial(join, "root")).collect())
"""
COLUMNS = ["LeadId", "score", "probability", "prediction", "model_version"]


def rows(folder: Path) -> list[tuple]:
    """Scores, to nine digits: the compiled model scores batches and Spark's pipeline streams."""
    table = ds.dataset(folder, format="parquet", partitioning=None).to_table(columns=COLUMNS)
    return sorted(tuple(round(v, 9) if isinstance(v, float) else v for v in row.values()) for row in table.to_pylist())


def environment(place: Workplace) -> dict[str, str]:
    """Data and models on their way by file: URI, in a folder that every process sees."""
    shared = {"LEADS_DATA": place.data.as_uri(), "MLFLOW_DFS_TMP": (place.folder / "models").as_uri()}
    spark = {"SPARK_HOME": str(spark_home(place.folder / "spark")), "SPARK_LOCAL_IP": HOST}
    spark |= java_options()
    return place.environment | shared | spark | {"PYSPARK_PYTHON": sys.executable, "LEADS_DRIVER_MEMORY": "1g"}


def run(place: Workplace, command: list[str], **more: str) -> str:
    env = environment(place) | more
    ended = subprocess.run(command, cwd=place.folder, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}: {ended.stderr[-3000:]}"
    return ended.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory, mlflow_server):
    return Workplace.at(tmp_path_factory.mktemp("cluster"), mlflow_server.uri)


@pytest.fixture(scope="module")
def csv(place):
    return small_csv(place.folder / "leads.csv", n=200)


@pytest.fixture(scope="module")
def local_cluster(place, csv):
    """Prepare, train, score and stream on two executor processes; what the driver said of it."""
    driver = [sys.executable, "-m", "tests.integration.cluster_driver", str(csv)]
    master = {"LEADS_MASTER": "local-cluster[2,1,1024]", "LEADS_MODEL_NAME": "cluster"}
    return json.loads(run(place, driver, **master).splitlines()[-1])


@pytest.fixture(scope="module")
def one_process(place, csv, local_cluster, spark):
    """Prepared again, and scored by the cluster's model, in the tests' own session."""
    data = place.folder / "one-process"
    settings = Settings(data=str(data), contract_file=place.folder / "leads.yaml", model_name="cluster")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(place.tracking_uri)
    try:
        manifest = run_prepare(spark, settings, str(csv), stream_files=2).manifest
        run_score(spark, settings)
    finally:
        mlflow.set_tracking_uri(before)
    return manifest, rows(data / "scores" / "batch")


@pytest.fixture(scope="module")
def standalone(place, tmp_path_factory):
    """A master and two workers that know nothing of our code."""
    with (
        running(lambda: SparkMaster(tmp_path_factory.mktemp("master"))) as master,
        running(lambda: SparkWorker(tmp_path_factory.mktemp("worker-1"), master.uri)) as one,
        running(lambda: SparkWorker(tmp_path_factory.mktemp("worker-2"), master.uri)) as two,
    ):
        yield master, one, two


def test_local_cluster_has_two_executors(local_cluster):
    assert local_cluster["executors"] == 2


def test_what_was_trained_on_a_cluster_knows_leads_and_is_compiled(local_cluster):
    assert 0.7 < local_cluster["auc"] <= 1
    assert local_cluster["compiled"] == "ok"


def test_prepare_gives_the_same_leads_on_a_cluster(local_cluster, one_process):
    assert one_process[0]["data_hash"] == local_cluster["data_hash"]


def test_score_and_stream_give_the_same_rows_on_a_cluster(place, local_cluster, one_process):
    scores = place.data / "scores"
    assert rows(scores / "batch") == one_process[1]
    assert rows(scores / "stream") == one_process[1]


def test_executors_run_our_python_though_they_were_given_none(place, standalone):
    master, *_ = standalone
    said = run(place, [sys.executable, "-c", OURS], LEADS_MASTER=master.uri)
    assert said.splitlines()[-1] == "['root/a', 'root/b']"


def test_spark_submit_trains_and_scores_the_same_rows_on_two_workers(
    place, local_cluster, one_process, standalone, tmp_path
):
    master, *workers = standalone
    before = [worker.executors() for worker in workers]
    small = f"--conf spark.executor.memory=512m --conf spark.ui.enabled=false --conf spark.driver.host={HOST}"
    away = {"PYTHONPATH": "", "MASTER": master.uri, "SPARK_OPTIONS": small, "LEADS_MODEL_NAME": "cluster"}
    train = ["train", "--trees", "2", "--depth", "2", "--calibrate", "none", "--explain", "false"]
    run(place, [str(ROOT / "deploy" / "spark-submit.sh"), *train], **away | {"LEADS_MODEL_NAME": "submitted"})
    score = ["score", "--reasons", "true", "--output", (tmp_path / "score").as_uri()]
    stream = ["stream", "--output", (tmp_path / "stream").as_uri(), "--checkpoint", (tmp_path / "checkpoint").as_uri()]
    stream += ["--sink", "parquet", "--available-now", "true", "--max-files-per-trigger", "1"]
    for words in (score, stream):
        run(place, [str(ROOT / "deploy" / "spark-submit.sh"), *words], **away)
    assert rows(tmp_path / "score") == one_process[1]
    assert any(ds.dataset(tmp_path / "score", exclude_invalid_files=True).to_table()["reasons"].to_pylist())
    assert rows(tmp_path / "stream") == one_process[1]
    assert [worker.executors() for worker in workers] == [started + 3 for started in before]
    client = MlflowClient(place.tracking_uri)
    (trained,) = client.search_model_versions("name = 'submitted'")
    assert client.get_run(trained.run_id).info.status == "FINISHED"
    experiments = [found.experiment_id for found in client.search_experiments()]
    newest, *_ = client.search_runs(experiments, "tags.entry_point = 'score'", order_by=["start_time DESC"])
    assert newest.data.tags["engine"] == "compiled"
    assert [path for path in (place.folder / "models").iterdir() if path.is_dir()] == []
