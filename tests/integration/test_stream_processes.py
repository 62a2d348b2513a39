"""The stream beside others: two scorers on one checkpoint, and secrets that stay in the environment."""

import os
import secrets
from pathlib import Path


def test_a_second_process_is_refused_the_checkpoint_of_a_living_one(trial):
    trial.send(40)
    with trial.streaming() as first:
        first.until(lambda: first.batches() >= 1)
        with trial.streaming() as second:
            assert second.ended() == 2, second.said()[-3000:]
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
        assert stream.ended() == 2, stream.said()[-3000:]
    assert "password authentication failed" in stream.said()
    assert "Traceback" not in stream.said()
    assert trial.holding(wrong) == []


def test_a_right_password_stands_in_no_log_no_run_and_no_file(trial):
    trial.send(40)
    with trial.streaming(available_now="true") as stream:
        assert stream.ended() == 0, stream.said()[-3000:]
    trial.assert_every_event_once()
    assert trial.holding(os.environ["PGPASSWORD"]) == []
    assert Path(trial.checkpoint, "offsets", "0").exists()
