"""The stream killed at every phase of a batch, and at random moments: every event is stored exactly once."""

import os
import random
import signal
import subprocess
import time
from collections import Counter

import pytest

from tests.crm import receiving
from tests.killed_stream import PHASES
from tests.trials import Stream, Trial

DEADLY = 1  # the batch that is not survived
KILLS, EVENTS = int(os.environ.get("SOAK_KILLS", 5)), int(os.environ.get("SOAK_EVENTS", 1000))
SEED = 20261125
VICTIMS = ("java", "python", "both")


def kill_in(trial: Trial, phase: str, **changed: object) -> None:
    """Run the stream until it has been killed in a phase of its second batch."""
    with trial.streaming(phase, str(DEADLY), module="tests.killed_stream", **changed) as stream:
        assert stream.ended() == -signal.SIGKILL, stream.last_words()
    assert trial.committed() == set(range(DEADLY))


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "after-kafka"])
def test_a_stream_killed_in_a_phase_of_a_batch_stores_every_event_once(trial, phase):
    trial.send(3 * trial.per_batch)
    kill_in(trial, phase)
    is_written = phase in ("after-postgres", "before-commit")
    assert (DEADLY in trial.ledger()) is is_written
    assert (DEADLY in {row["batch"] for row in trial.scores()}) is (phase != "before-lake")
    trial.run()
    trial.assert_every_event_once()
    assert trial.committed() == set(trial.ledger()) == {0, 1, 2}


def test_a_batch_that_kafka_took_before_the_kill_is_sent_again_under_the_same_event_ids(trial):
    out = f"{trial.topic}-scores"
    trial.kafka.create_topic(out)
    trial.send(3 * trial.per_batch)
    to_kafka = {"sink": "parquet,kafka", "topic": out}
    kill_in(trial, "after-kafka", **to_kafka)
    trial.run(**to_kafka)
    repeated = trial.good_of(DEADLY, trial.per_batch)
    assert trial.events_in(out) == Counter(trial.good) + Counter(repeated)


def test_a_batch_repeated_after_a_promotion_stands_once_and_as_it_was_in_postgresql(trial, promote):
    trial.send(2 * trial.per_batch)
    kill_in(trial, "before-commit")
    before = sorted(trial.events("event_id, score, model_version"))
    promote(2)
    trial.run()
    trial.assert_every_event_once()
    assert sorted(trial.events("event_id, score, model_version")) == before
    assert {version for _, _, version in before} == {1}
    # The lake holds the repeat, by the version that made it, with that version's own scores.
    rows = trial.scores()
    assert {row["batch"]: row["model_version"] for row in rows} == {0: 1, DEADLY: 2}
    first = {event: score for event, score, _ in before}
    assert any(row["score"] != first[row["event_id"]] for row in rows if row["model_version"] == 2)


def end_violently(stream: Stream, victim: str) -> None:
    """Kill the stream's own process, its Java, or both; without its Java it has to end by itself."""
    java = subprocess.run(["pgrep", "-P", str(stream.process.pid), "java"], capture_output=True, text=True, check=True)
    if victim in ("java", "both"):
        os.kill(int(java.stdout.split()[0]), signal.SIGKILL)
    if victim in ("python", "both"):
        stream.process.kill()
    assert stream.ended() != 0


def test_a_stream_whose_java_is_killed_says_so_in_its_last_line(trial):
    trial.send(trial.per_batch)
    with trial.streaming() as stream:
        stream.until(lambda: stream.batches() >= 1)
        end_violently(stream, "java")
    assert stream.ended() == 1
    assert stream.said().splitlines()[-1].startswith("error: the Java process"), stream.last_words()


def test_a_stream_killed_at_random_moments_stores_every_event_once_and_posts_each(trial, capsys):
    trial.per_batch = max(1, EVENTS // (6 * KILLS))
    rng, deaths = random.Random(SEED), []
    trial.send(EVENTS)
    with receiving() as crm:
        trial.webhook, sinks = crm.url, "parquet,postgres,webhook"
        for number in range(KILLS):
            victim, batches, seconds = VICTIMS[number % len(VICTIMS)], rng.randint(0, 4), rng.uniform(0, 0.6)
            with trial.streaming(sink=sinks) as stream:
                stream.until(lambda wanted=batches: '"started"' in stream.said() and stream.batches() >= wanted)
                time.sleep(seconds)
                end_violently(stream, victim)
                deaths.append(f"{victim} after {stream.batches()} batches")
        before = len(trial.scores())
        assert 0 < before < len(trial.good), "the kills came before or after the work"
        trial.run(sink=sinks)
    posted = crm.keys()
    with capsys.disabled():
        print(f"\n{EVENTS:,} events, {KILLS} kills (seed {SEED}): {', '.join(deaths)}; {before:,} stored by then")
        print(f"the webhook was given {posted.total() - len(posted):,} of them again, under the same keys")
    trial.assert_every_event_once()
    assert set(posted) == trial.good
