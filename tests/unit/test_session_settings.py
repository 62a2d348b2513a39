"""The settings of a session: what suits one machine, and what a cluster is left to choose."""

from types import SimpleNamespace

import pytest

from pipelines import session
from pipelines.settings import Settings


class Built(Exception):
    """The settings that a session would be built with."""


@pytest.fixture
def settings_of(monkeypatch, tmp_path):
    """The settings that `build_session` gives to Spark, where spark-submit was given some (None: it was not used)."""

    def ask(submitted: dict[str, str] | None) -> dict[str, str]:
        found: dict[str, str] = {}

        def refuse() -> None:
            raise Built

        builder = SimpleNamespace(getOrCreate=refuse)
        builder.appName = lambda name: builder
        builder.config = lambda key, value: found.update({key: value}) or builder
        monkeypatch.setattr(session.SparkSession, "builder", builder)
        monkeypatch.setattr(session, "check_java", lambda: "")
        monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        for name in ("SPARK_ENV_LOADED", "PYSPARK_GATEWAY_PORT"):
            monkeypatch.delenv(name, raising=False)
        if submitted is not None:
            monkeypatch.setenv("SPARK_ENV_LOADED", "1")
            monkeypatch.setattr(session, "_submitted_settings", lambda: submitted)
        with pytest.raises(Built):
            session.build_session(Settings(data=str(tmp_path)))
        return found

    return ask


def test_one_machine_has_few_partitions_no_user_interface_and_listens_to_itself(settings_of):
    found = settings_of(None)
    assert int(found["spark.sql.shuffle.partitions"]) < 200
    assert found["spark.ui.enabled"] == "false"
    assert found["spark.driver.bindAddress"] == "127.0.0.1"


def test_a_cluster_has_many_partitions_and_keeps_its_addresses_and_checkpoints(settings_of):
    found = settings_of({"spark.master": "spark://master:7077"})
    assert int(found["spark.sql.shuffle.partitions"]) >= 200
    assert not {"spark.ui.enabled", "spark.driver.bindAddress", "spark.sql.streaming.checkpointFileManagerClass"} & set(
        found
    )


@pytest.mark.parametrize("master", ["local[2]", "spark://master:7077"])
def test_what_was_submitted_wins(settings_of, master):
    found = settings_of({"spark.master": master, "spark.sql.shuffle.partitions": "7"})
    assert "spark.sql.shuffle.partitions" not in found
    assert found["spark.sql.codegen.hugeMethodLimit"] == "8000"
