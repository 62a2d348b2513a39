"""Real services for the whole run: each starts at its first use, or skips the test and says what to install."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from tests.service_process import Service, ServiceMissing
from tests.services import KafkaBroker, MlflowServer, PostgresServer

AnyService = TypeVar("AnyService", bound=Service)


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


@contextmanager
def running(make: Callable[[], AnyService]) -> Iterator[AnyService]:
    """The service, up; the test is skipped where its programs are not on this machine."""
    try:
        service = make()
    except ServiceMissing as missing:
        pytest.skip(str(missing))
    with service:
        yield service
