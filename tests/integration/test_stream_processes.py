"""The stream beside others: two scorers on one checkpoint, and secrets that stay in the environment."""

import os
import secrets
from pathlib import Path

from tests.crm import receiving


def test_a_second_process_is_refused_the_checkpoint_of_a_living_one(trial):
    trial.send(40)
    with trial.streaming() as first:
        first.until(lambda: first.batches() >= 1)
        with trial.streaming() as second:
            assert second.ended() == 2, second.last_words()
        (told,) = [line for line in second.said().splitlines() if line.startswith("error: ")]
        assert f"in use by process {first.process.pid} on " in told
        trial.send(40)
        first.until(lambda: len(trial.events()) == len(trial.good))
        first.process.terminate()
        assert first.ended() == 0
    trial.assert_every_event_once()


def test_a_wrong_password_costs_one_line_that_does_not_show_it(trial, monkeypatch):
    wrong = secrets.token_hex(16)
    monkeypatch.setenv("PGPASSWORD", wrong)
    with trial.streaming() as stream:
        assert stream.ended() == 2, stream.last_words()
    assert "password authentication failed" in stream.said()
    assert "Traceback" not in stream.said()
    assert trial.holding(wrong) == []


def test_passwords_and_tokens_that_work_stand_in_no_log_no_run_and_no_file(trial):
    token = trial.token = secrets.token_hex(16)
    trial.send(40)
    with receiving() as crm:
        trial.webhook = crm.url
        sinks = {"sink": "parquet,postgres,webhook", "checkpoint": trial.checkpoint}
        with trial.streaming(available_now="true", **sinks) as stream:
            assert stream.ended() == 0, stream.last_words()
    trial.assert_every_event_once()
    assert {headers["Authorization"] for _, headers, _ in crm.seen} == {f"Bearer {token}"}
    assert trial.holding(os.environ["PGPASSWORD"]) == []
    assert trial.holding(token) == []
    assert Path(trial.checkpoint, "offsets", "0").exists()
