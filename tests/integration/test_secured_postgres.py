"""PostgreSQL by TLS: what the address asks for (sslmode, sslrootcert) is what libpq does."""

import secrets

import pytest

from serving.postgres import DatabaseRefused, PostgresOptions, PostgresSink
from serving.retries import Patience
from tests.integration.conftest import running
from tests.leads import small_contract
from tests.scored import scored_rows
from tests.secured_services import SecuredPostgres, make_certificate

LONG = Patience(total=600)  # a refusal that is tried again would outlast the test


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A server with a certificate of its own."""
    with running(lambda: SecuredPostgres(tmp_path_factory.mktemp("tls"), secrets.token_urlsafe())) as server:
        yield server


@pytest.fixture
def sink_at(monkeypatch, secured):
    """Makes a sink on an address."""
    for name, value in secured.environment.items():
        monkeypatch.setenv(name, value)
    return lambda dsn: PostgresSink(PostgresOptions(dsn=dsn, patience=LONG), small_contract(), "q")


def test_scores_go_by_tls_to_a_server_whose_certificate_is_known(spark, secured, sink_at):
    sink = sink_at(f"{secured.dsn}?sslmode=verify-full&sslrootcert={secured.certificate}")
    sink.prepare()
    assert sink.write(scored_rows(spark, {}), 0) == 1
    by_tls = sink._open().execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchone()
    sink.close()
    assert by_tls == (True,)


def test_a_server_with_an_unknown_certificate_is_refused_at_once(secured, sink_at, tmp_path):
    make_certificate(tmp_path / "other.key", tmp_path / "other.pem")
    with pytest.raises(DatabaseRefused, match="certificate"):
        sink_at(f"{secured.dsn}?sslmode=verify-full&sslrootcert={tmp_path}/other.pem").prepare()


def test_a_server_without_tls_is_refused_at_once_where_tls_is_asked_for(postgres, sink_at):
    with pytest.raises(DatabaseRefused, match="does not support SSL"):
        sink_at(f"{postgres.dsn}?sslmode=require").prepare()
