"""What the stream stands on goes away under it: broker, registry, checkpoint, room on the disk."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from pipelines.stream import MLFLOW_PATIENCE
from serving.kafka import EventsGone, KafkaRefused
from serving.ownership import OlderCheckpoint, OtherQuery
from tests.endpoints import ask
from tests.service_process import free_ports
from tests.services import MlflowServer
from tests.trials import WAIT_SECONDS, Trial

DISK = "128k"  # room for a few batches of five events


@contextmanager
def in_background(trial: Trial, **changed: object) -> Iterator[threading.Thread]:
    """The stream on a thread of this process, stopped at the end of the block; what it fails with is raised there."""
    stop, failed = threading.Event(), []

    def stream() -> None:
        try:
            trial.run(stop, **changed)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(WAIT_SECONDS)
    assert not failed, failed
    assert not thread.is_alive()


def until(holds: Callable[[], bool], thread: threading.Thread) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert thread.is_alive(), "the stream ended before its time"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def stores_all(trial: Trial) -> Callable[[], bool]:
    return lambda: len(trial.scores()) >= len(trial.good)


def test_a_stream_goes_on_when_its_broker_was_restarted(trial, kafka):
    trial.send(100)
    with in_background(trial, max_offsets_per_trigger=20) as thread:
        until(lambda: len(trial.committed()) >= 2, thread)
        kafka.kill()
        time.sleep(1)  # it asks in vain
        kafka.start()
        trial.send(60)
        until(stores_all(trial), thread)
    trial.assert_every_event_once()


def test_a_stream_goes_on_when_postgresql_was_stopped_under_it_and_started(trial, postgres):
    trial.send(100)
    with in_background(trial, max_offsets_per_trigger=20) as thread:
        until(lambda: len(trial.committed()) >= 2, thread)
        postgres.kill()
        trial.send(60)
        time.sleep(2)  # a batch is tried in vain
        postgres.start()
        until(stores_all(trial), thread)
    trial.assert_every_event_once()


def test_after_the_checkpoint_was_lost_a_new_one_doubles_nothing_in_postgresql(trial):
    trial.send(80)
    trial.run()
    before = sorted(trial.events("event_id, score, scored_at, query_id, batch_id"))
    shutil.rmtree(trial.checkpoint)
    with pytest.raises(OtherQuery):
        trial.run()
    trial.send(40)
    trial.output = str(trial.folder / "scores" / "again")
    trial.run(checkpoint=str(trial.folder / "checkpoints" / "again"))
    after = sorted(trial.events("event_id, score, scored_at, query_id, batch_id"))
    assert {event for event, *_ in after} == trial.good
    assert len(after) == len(trial.good)
    assert set(before) <= set(after)
    assert trial.ledger() == {0: 0, 1: 0, 2: len(after) - len(before)}
    assert len(trial.ask(f"select 1 from lead_scores where event_id like '{trial.topic}-%'")) == len(trial.good)


def test_an_older_checkpoint_is_refused_and_a_new_one_loses_and_doubles_nothing_in_postgresql(trial):
    trial.send(trial.per_batch)
    trial.run()
    backup = trial.folder / "backup"
    shutil.copytree(trial.checkpoint, backup)
    trial.send(trial.per_batch)
    trial.run()
    shutil.rmtree(trial.checkpoint)
    shutil.copytree(backup, trial.checkpoint)
    trial.send(trial.per_batch)
    with pytest.raises(OlderCheckpoint, match="ends with batch 0, and batch 1 of its query is in "):
        trial.run()
    trial.output = str(trial.folder / "scores" / "again")
    trial.run(checkpoint=str(trial.folder / "checkpoints" / "again"))
    assert Counter(event for (event,) in trial.events()) == Counter(trial.good)


def test_an_older_checkpoint_is_found_out_by_postgresql_s_ledger_alone(trial):
    trial.send(trial.per_batch)
    trial.run(sink="postgres")
    (offsets,) = trial.folder.glob("checkpoints/stream-postgres/offsets/0")
    for path in (offsets, offsets.with_name(".0.crc"), *trial.folder.glob("checkpoints/stream-postgres/commits/*0*")):
        path.unlink(missing_ok=True)
    with pytest.raises(OlderCheckpoint, match="is in PostgreSQL already"):
        trial.run(sink="postgres")


def test_events_that_kafka_deleted_unread_end_the_stream_until_it_is_told_to_go_on(trial):
    size = trial.per_batch
    trial.send(size)
    trial.run()
    trial.send(size)
    admin = AdminClient(trial.kafka.client)  # a name of its own: its futures die with it
    deleted = admin.delete_records([TopicPartition(trial.topic, 0, 2 * size)])
    assert [future.result(WAIT_SECONDS).low_watermark for future in deleted.values()] == [2 * size]
    trial.send(size)
    with pytest.raises(EventsGone, match="fail_on_data_loss=false"):
        trial.run()
    trial.run(fail_on_data_loss=False)
    assert {event for (event,) in trial.events()} == trial.good_of(0, size) | trial.good_of(2, size)


@pytest.mark.parametrize("asked", [{"source": "kafka:no-such-topic"}, {"dead_letters": "kafka:no-such-topic"}])
def test_a_topic_that_is_not_there_is_told_at_the_start(trial, asked):
    trial.send(trial.per_batch)
    with pytest.raises(KafkaRefused, match="Kafka has no topic no-such-topic; make it"):
        trial.run(sink="parquet", **asked)
    assert trial.scores() == []


def test_an_address_that_is_none_is_told_in_one_line(trial):
    nowhere = Trial(**{**vars(trial), "kafka": SimpleNamespace(bootstrap="no-such-host.invalid:9092")})
    with pytest.raises(KafkaRefused, match="LEADS_KAFKA"):
        nowhere.run(sink="parquet")


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow asks its server as patiently as in the command `stream`."""
    for name, value in MLFLOW_PATIENCE.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def registry(trial: Trial, patience: None) -> Iterator[MlflowServer]:
    """MLflow's server on the trial's own store, running."""
    before = mlflow.get_tracking_uri()
    with MlflowServer(trial.place.folder) as server:
        mlflow.set_tracking_uri(server.uri)
        yield server
    mlflow.set_tracking_uri(before)


def test_a_stream_serves_on_while_the_registry_is_down_and_takes_a_promotion_once_it_is_back(
    trial, registry, promote, capsys
):
    said = []

    def told(words: str) -> Callable[[], bool]:
        def found() -> bool:
            said.append(capsys.readouterr().out)
            return words in "".join(said)

        return found

    trial.send(40)
    with in_background(trial, poll="100 ms", quiet=False) as thread:
        until(stores_all(trial), thread)
        registry.kill()
        until(told('"state": "unreachable"'), thread)
        trial.send(40)
        until(stores_all(trial), thread)
        registry.start()
        until(told('"state": "reachable"'), thread)
        promote(2)
        until(told('"event": "reloaded"'), thread)
        trial.send(40)
        until(stores_all(trial), thread)
    trial.assert_every_event_once()
    versions = {row["event_id"]: row["model_version"] for row in trial.scores()}
    assert [versions[f"{trial.topic}-{number}"] for number in (0, 40, 80)] == [1, 1, 2]


def test_a_stream_that_starts_before_its_registry_waits_for_it(trial, registry):
    (port,) = free_ports(1)

    def told() -> bool:
        code, body = ask(port, "/readyz")
        return code == 503 and json.loads(body)["registry"] != "reachable"

    trial.send(40)
    registry.kill()
    with in_background(trial, registry_wait="4 minutes", health_port=port) as thread:
        until(told, thread)
        assert ask(port, "/healthz")[0] == 200
        registry.start()
        until(stores_all(trial), thread)
    trial.assert_every_event_once()


def test_a_stream_that_starts_before_its_broker_waits_for_it(trial, kafka):
    (port,) = free_ports(1)
    trial.send(40)
    kafka.kill()
    with in_background(trial, registry_wait="4 minutes", health_port=port) as thread:
        until(lambda: "no broker answers" in ask(port, "/readyz")[1], thread)
        assert ask(port, "/healthz")[0] == 200
        kafka.start()
        until(stores_all(trial), thread)
        assert ask(port, "/readyz")[0] == 200
    trial.assert_every_event_once()


@pytest.fixture
def stored_apart(trial: Trial, patience: None) -> Iterator[MlflowServer]:
    """A server that holds the files of the version in Production, and nothing else; it does not run yet."""
    store, client, name = MlflowServer(trial.folder / "store"), mlflow.MlflowClient(), trial.settings.model_name
    files = Path(store.folder, "artifacts", "model")
    files.mkdir(parents=True)
    mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(files))
    address = f"{store.uri}/api/2.0/mlflow-artifacts/artifacts/model"
    made = client.create_model_version(name, address, tags=client.get_model_version(name, "1").tags).version
    client.set_registered_model_alias(name, "Production", made)
    yield store
    store.stop()
    client.set_registered_model_alias(name, "Production", "1")
    client.delete_model_version(name, made)


def test_a_stream_that_starts_before_its_artifact_store_waits_for_it(trial, stored_apart, capsys):
    trial.send(40)
    with in_background(trial, registry_wait="4 minutes", quiet=False) as thread:
        until(lambda: "its artifact store does not answer" in capsys.readouterr().out, thread)
        stored_apart.start()
        until(stores_all(trial), thread)
    trial.assert_every_event_once()


@pytest.fixture
def small_disk(trial: Trial) -> Iterator[Path]:
    """A file system with very little room."""
    disk = trial.folder / "disk"
    disk.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)], capture_output=True, check=False
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("a full disk needs a small one to be mounted: run as root, with the right to mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_under_the_lake_is_told_and_costs_nothing_but_a_restart(trial, small_disk):
    trial.output, per_batch = str(small_disk / "scores"), 5
    trial.send(120)
    with trial.streaming(max_offsets_per_trigger=per_batch) as stream:
        assert stream.ended() == 2, stream.last_words()
    (told,) = [line for line in stream.said().splitlines() if line.startswith("error: ")]
    assert f"could not be written to file:{trial.output}: No space left on device. Make room there" in told
    assert "Traceback" not in stream.said()
    # What a reader sees are whole batches, and PostgreSQL has none that the lake lacks.
    rows = trial.scores()
    whole = {number: len(trial.good_of(number, per_batch)) for number in {row["batch"] for row in rows}}
    assert {n: sum(row["batch"] == n for row in rows) for n in whole} == whole
    assert {event for (event,) in trial.events()} <= {row["event_id"] for row in rows} != trial.good
    assert list(Path(trial.output, "_staging").glob("*")) == []
    assert 0 < len(whole) < 120 / per_batch
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    trial.run()
    trial.assert_every_event_once()


@pytest.mark.parametrize(
    ("parameter", "told"),
    [
        ("dead_letters", r"error: the refused letters of batch \d+ could not be written to file:.*: No space left"),
        ("checkpoint", r"error: Spark could not write what it keeps of the stream \(checkpoint\): No space left"),
    ],
)
def test_a_full_disk_under_letters_or_checkpoint_is_told_and_costs_nothing_but_a_restart(
    trial, small_disk, parameter, told
):
    place = {parameter: str(small_disk / parameter)}
    trial.send(300)
    with trial.streaming(max_offsets_per_trigger=10, **place) as stream:
        assert stream.ended() == 2, stream.last_words()
    (said,) = [line for line in stream.said().splitlines() if line.startswith("error: ")]
    assert re.match(told, said)
    assert "Make room there" in said
    assert "Traceback" not in stream.said()
    stored = {row["event_id"] for row in trial.scores()}
    assert set() < stored < trial.good
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    trial.run(**place)
    for rows in (trial.events(), [(row["event_id"],) for row in trial.scores()]):
        assert Counter(event for (event,) in rows) == Counter(trial.good)
