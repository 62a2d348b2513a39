"""Real services for the whole run: each starts at its first use, or skips the test and says what to install.

And trials of the stream on them (tests/trials.py), each with a topic, a data folder and event ids of its own.
"""

import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import mlflow
import psycopg
import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from pipelines.settings import Settings
from serving.postgres import PostgresOptions, PostgresSink
from serving.postgres_tables import Tables
from serving.retries import Patience
from tests.commands import Workplace
from tests.leads import small_contract
from tests.served import register_small, served, small_model
from tests.service_process import Service, ServiceMissing
from tests.services import KafkaBroker, MlflowServer, PostgresServer
from tests.trials import Trial

AnyService = TypeVar("AnyService", bound=Service)
NUMBERS = itertools.count()
SHORT = Patience(first=0.05, longest=0.2, total=1)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """MLflow's server; its `uri` is a tracking URI."""
    with running(lambda: MlflowServer(tmp_path_factory.mktemp("mlflow-server"))) as server:
        yield server


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A Kafka broker without topics; its `bootstrap` is the value of bootstrap.servers."""
    with running(lambda: KafkaBroker(tmp_path_factory.mktemp("kafka"))) as broker:
        yield broker


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """PostgreSQL; its `dsn` needs the password that this fixture leaves in the environment (PGPASSWORD)."""
    password = os.environ.get("PGPASSWORD") or secrets.token_urlsafe()
    start = running(lambda: PostgresServer(tmp_path_factory.mktemp("postgres"), password))
    with start as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def tables(postgres, request):
    """Tables of the test's own, dropped afterwards."""
    word = f"t{abs(hash(request.node.name)) % 10**9}"
    made = Tables(events=f"{word}_events", scores=f"{word}_scores", ledger=f"{word}_ledger")
    yield made
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"drop table if exists {made.events}, {made.scores}, {made.ledger}")


@pytest.fixture
def open_sink(postgres, tables):
    """Sinks on the test's tables."""
    opened = []

    def make(query="q1", hot=0, patience=SHORT, **waits):
        options = PostgresOptions(dsn=postgres.dsn, tables=tables, hot=hot, patience=patience, **waits)
        opened.append(PostgresSink(options, small_contract(), query))
        opened[-1].prepare()
        return opened[-1]

    yield make
    for sink in opened:
        sink.close()


@pytest.fixture
def ask(postgres):
    """The rows of a statement."""

    def run(statement):
        with psycopg.connect(postgres.dsn) as connection:
            return connection.execute(statement).fetchall()

    return run


@contextmanager
def running(make: Callable[[], AnyService]) -> Iterator[AnyService]:
    """The service, up; the test is skipped where its programs are not on this machine."""
    try:
        service = make()
    except ServiceMissing as missing:
        pytest.skip(str(missing))
    with service:
        yield service


@pytest.fixture(scope="session")
def two_versions(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Settings:
    """A store with two versions of a model that score differently."""
    folder = tmp_path_factory.mktemp("trials")
    with served(spark, folder) as settings:
        register_small(spark, settings, settings.model_name, small_model(spark, trees=5))
    return settings


@pytest.fixture
def promote(two_versions: Settings) -> Callable[[int], None]:
    """Puts a version into Production."""
    return lambda version: MlflowClient().set_registered_model_alias(
        two_versions.model_name, "Production", str(version)
    )


@pytest.fixture
def trial(
    spark: SparkSession,
    two_versions: Settings,
    kafka: KafkaBroker,
    postgres: PostgresServer,
    tmp_path: Path,
) -> Iterator[Trial]:
    """A stream of its own, with version 1 in Production."""
    with on_trial(spark, two_versions, kafka, postgres, tmp_path) as found:
        yield found


@contextmanager
def on_trial(
    spark: SparkSession, two_versions: Settings, kafka: KafkaBroker, postgres: PostgresServer, folder: Path
) -> Iterator[Trial]:
    """A trial on a topic that is new in `kafka`; MLflow points at its store inside the block."""
    place = Workplace.at(Path(two_versions.data).parent)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(place.tracking_uri)
    MlflowClient().set_registered_model_alias(two_versions.model_name, "Production", "1")
    topic = f"trial{next(NUMBERS)}"
    kafka.create_topic(topic)
    settings = two_versions.model_copy(update={"data": str(folder)})
    yield Trial(spark, settings, place, kafka, postgres, topic)
    mlflow.set_tracking_uri(before)
