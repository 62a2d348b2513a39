"""Bad input to the entry points: one clear line on stderr, exit code 2, nothing half-written."""

import pytest

from tests.commands import Workplace
from tests.leads import small_csv


@pytest.fixture
def place(tmp_path):
    return Workplace.at(tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A place with prepared leads and no model."""
    place = Workplace.at(tmp_path_factory.mktemp("prepared"))
    place.must("prepare", "--csv", str(small_csv(place.folder / "leads.csv")), "--stream-files", "5")
    return place


def refused(ended):
    """The single line that a refused command says."""
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert (ended.returncode, len(lines)) == (2, 1), ended.stderr[-3000:]
    assert "Traceback" not in ended.stderr
    return lines[0]


def test_a_missing_csv_is_named_and_nothing_is_written(place):
    said = refused(place.run("prepare", "--csv", "no-such.csv"))
    assert "no-such.csv" in said
    assert not place.data.exists()


def test_a_refused_csv_leaves_the_prepared_data_in_place(prepared):
    before = sorted(p.relative_to(prepared.data) for p in prepared.data.rglob("*.parquet"))
    (prepared.folder / "broken.csv").write_text("Lead Id,Number\n1,2\n", encoding="utf-8")
    said = refused(prepared.run("prepare", "--csv", str(prepared.folder / "broken.csv")))
    assert "Bought" in said
    assert before
    assert sorted(p.relative_to(prepared.data) for p in prepared.data.rglob("*.parquet")) == before


def test_an_unknown_feature_set_is_answered_with_those_that_exist(place):
    assert "available, leaky" in refused(place.run("train", "--features", "everything"))


def test_a_tracking_server_that_does_not_answer_is_named(place):
    said = refused(place.run("train", MLFLOW_TRACKING_URI="http://127.0.0.1:9"))
    assert "http://127.0.0.1:9" in said


@pytest.mark.parametrize("entry", ["stream", "score"])
def test_without_a_production_version_the_way_to_one_is_named(prepared, entry):
    said = refused(prepared.run(entry))
    assert "mlflow run . -e" in said


def test_a_missing_java_is_said_before_spark_starts(place):
    assert "Java 17" in refused(place.run("prepare", JAVA_HOME="/nonexistent"))


def test_a_parameter_out_of_range_exits_2_and_is_named(place):
    ended = place.run("train", "--depth", "31")
    assert ended.returncode == 2
    assert "--depth" in ended.stderr


def test_a_broken_contract_is_answered_with_its_line(place):
    contract = place.folder / "leads.yaml"
    contract.write_text(contract.read_text(encoding="utf-8").replace("kind: order", "kind: odrer"), encoding="utf-8")
    assert "leads.yaml line 8" in refused(place.run("train"))


@pytest.mark.parametrize(
    ("sink", "address"),
    [
        ("postgres", {"LEADS_POSTGRES_DSN": "postgresql://sales:s3cret-word@127.0.0.1:9/leads"}),
        ("webhook", {"LEADS_WEBHOOK_URL": "http://sales:s3cret-word@crm.example.com/leads"}),
    ],
)
def test_an_address_with_a_password_is_refused_without_showing_it(place, sink, address):
    ended = place.run("stream", "--sink", sink, **address)
    assert "error: " in refused(ended)
    assert "s3cret-word" not in ended.stdout + ended.stderr


def test_a_tracking_address_is_named_without_its_password(place):
    ended = place.run("train", MLFLOW_TRACKING_URI="http://sales:s3cret-word@127.0.0.1:9")
    assert "http://127.0.0.1:9" in refused(ended)
    assert "s3cret-word" not in ended.stdout + ended.stderr
