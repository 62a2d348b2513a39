"""The webhook: every hot lead is posted under its key, refusals become dead letters, and nobody waits for ever."""

import json
import threading
from collections.abc import Iterator

import pytest
from pyspark.sql import functions as F

from features.storage import Storage
from serving import redeliver as redeliver_module
from serving.dead_letters import UNDELIVERED, DeadLetterFolder
from serving.errors import StopAsked
from serving.redeliver import redeliver
from serving.redrive import letters_of
from serving.webhook import TOKEN_VARIABLE, WebhookOptions, WebhookSink
from tests.crm import Crm, receiving
from tests.scored import scored_rows


@pytest.fixture
def crm() -> Iterator[Crm]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def open_sink(spark, tmp_path):
    def make(url: str, stop: threading.Event | None = None, **options) -> WebhookSink:
        short = {"attempts": 3, "first_wait": 0.01, "longest_wait": 0.02, **options}
        dead = DeadLetterFolder(Storage(spark), str(tmp_path / "dead"), "q")
        return WebhookSink(WebhookOptions(url=url, **short), dead, "q", stop or threading.Event())

    return make


class Waits(threading.Event):
    """A stop that never comes and notes how long it was waited for, without waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0)
        return False


def undelivered(spark, tmp_path):
    return {r.event_id: r for r in spark.read.parquet(str(tmp_path / "dead")).collect()}


def test_hot_leads_are_posted_once_with_their_key_and_scores(spark, crm, open_sink, tmp_path):
    batch = scored_rows(spark, {"LeadId": "<script>"}, {"score": 69.9}, {"reason": "bad", "raw": "x"}, {"score": 70.0})
    assert open_sink(crm.url).write(batch, 0) == 2
    assert crm.keys() == {"e-0": 1, "e-3": 1}
    _, headers, body = min(crm.seen, key=lambda seen: seen[0])
    assert (body["LeadId"], body["score"], body["model_version"], body["event_id"]) == ("<script>", 90.0, 1, "e-0")
    assert headers["Content-Type"] == "application/json"
    assert not (tmp_path / "dead").exists()


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_what_is_not_taken_now_is_posted_again_under_the_same_key(spark, crm, open_sink, code):
    crm.answers = {"e-0": [code, 200]}
    assert open_sink(crm.url).write(scored_rows(spark, {}), 0) == 1
    assert crm.keys() == {"e-0": 2}


def test_the_bound_of_a_wait_doubles_up_to_the_longest(spark, crm, open_sink):
    crm.answers, waits = {"e-0": [500]}, Waits()
    open_sink(crm.url, waits, attempts=20, first_wait=0.1, longest_wait=1).write(scored_rows(spark, {}), 0)
    assert len(waits.seconds) == 19
    assert all(s <= min(0.1 * 2**n, 1) for n, s in enumerate(waits.seconds))
    assert max(waits.seconds) > 0.5


@pytest.mark.parametrize("ahead", ["7", "3600", "Fri, 01 Jan 2100 00:00:00 +0000"])
def test_a_receiver_is_given_the_time_it_asks_for_up_to_the_longest(spark, crm, open_sink, ahead):
    crm.answers, crm.retry_after, waits = {"e-0": [503, 200]}, ahead, Waits()
    assert open_sink(crm.url, waits, longest_wait=20).write(scored_rows(spark, {}), 0) == 1
    assert waits.seconds == [7 if ahead == "7" else 20]


@pytest.mark.parametrize("code", [400, 404, 422, 302])
def test_what_is_refused_is_a_dead_letter_at_once_and_holds_up_nobody(spark, crm, open_sink, tmp_path, code):
    crm.answers = {"e-0": [code]}
    assert open_sink(crm.url).write(scored_rows(spark, {}, {}), 4) == 1
    assert crm.keys() == {"e-0": 1, "e-1": 1}
    letter = undelivered(spark, tmp_path)["e-0"]
    assert (letter.reason, letter.kind) == (f"not delivered: HTTP {code}", "undelivered")
    assert json.loads(letter.raw)["LeadId"] == "lead-0"


def test_leads_that_are_not_taken_are_told_by_batch_with_one_s_reason(spark, crm, open_sink):
    crm.answers, told = {"e-0": [422], "e-2": [422]}, []
    sink = open_sink(crm.url)
    sink.tell = lambda *said: told.append(said)
    sink.write(scored_rows(spark, {}, {}, {}), 4)
    sink.write(scored_rows(spark, {"event_id": "taken"}), 5)
    assert told == [(4, 2, "not delivered: HTTP 422")]


def test_what_is_never_taken_is_a_dead_letter_after_the_last_attempt(spark, crm, open_sink, tmp_path):
    crm.answers = {"e-0": [500]}
    assert open_sink(crm.url).write(scored_rows(spark, {}), 0) == 0
    assert crm.keys() == {"e-0": 3}
    assert undelivered(spark, tmp_path)["e-0"].reason == "not delivered: HTTP 500 after 3 attempts"


def test_a_receiver_that_is_not_there_costs_dead_letters_and_no_error(spark, open_sink, tmp_path):
    assert open_sink("http://127.0.0.1:9/leads").write(scored_rows(spark, {}, {}), 0) == 0
    assert set(undelivered(spark, tmp_path)) == {"e-0", "e-1"}


def test_a_repeat_that_is_taken_removes_the_dead_letters_of_the_first_try(spark, crm, open_sink, tmp_path):
    batch = scored_rows(spark, {})
    open_sink("http://127.0.0.1:9/leads").write(batch, 0)
    open_sink(crm.url).write(batch, 0)
    assert list(tmp_path.glob("dead/kind=undelivered/query=q/*")) == []


def test_a_lead_is_not_tried_again_past_the_time_of_its_batch(spark, crm, open_sink):
    crm.answers, crm.retry_after = {f"e-{i}": [500] for i in range(5)}, "9"
    open_sink(crm.url, batch_seconds=5, longest_wait=20).write(scored_rows(spark, *({} for _ in range(5))), 0)
    assert crm.keys() == {f"e-{i}": 1 for i in range(5)}


def test_long_past_the_time_of_its_batch_a_lead_is_not_tried_at_all(spark, crm, open_sink, tmp_path):
    open_sink(crm.url, batch_seconds=0.000001).write(scored_rows(spark, {}), 0)
    assert crm.keys() == {}
    assert undelivered(spark, tmp_path)["e-0"].reason == "not delivered: no time was left in this batch"


def test_a_stop_while_the_receiver_is_away_leaves_the_batch_to_be_repeated(spark, open_sink, tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(StopAsked, match="repeated at the next start"):
        open_sink("http://127.0.0.1:9/leads", stop).write(scored_rows(spark, {}, {}), 0)
    assert not (tmp_path / "dead").exists()


def test_the_token_goes_with_the_request_and_nowhere_else(spark, crm, open_sink, tmp_path, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "secret-token")
    crm.answers = {"e-0": [403]}
    sink = open_sink(crm.url)
    sink.write(scored_rows(spark, {}), 0)
    assert crm.seen[0][1]["Authorization"] == "Bearer secret-token"
    assert "secret-token" not in f"{sink}{undelivered(spark, tmp_path)}"


def test_an_id_with_line_breaks_cannot_add_a_header(spark, crm, open_sink):
    open_sink(crm.url).write(scored_rows(spark, {"event_id": "a\r\nX-Admin: 1"}), 0)
    assert crm.keys() == {"a\\r\\nX-Admin: 1": 1}
    assert "X-Admin" not in crm.seen[0][1]


@pytest.fixture
def missed(spark, crm, open_sink, tmp_path):
    """Three hot leads whom the receiver did not take; the letters about them."""
    crm.answers = {f"e-{i}": [503] for i in range(3)}
    rows = scored_rows(spark, *({"score": 80.0 + i} for i in range(3)))
    assert open_sink(crm.url, attempts=1).write(rows, 0) == 0
    crm.seen.clear()
    return lambda: letters_of(spark.read.parquet(str(tmp_path / "dead")), UNDELIVERED)


@pytest.fixture
def again(spark, crm, tmp_path, missed):
    options = WebhookOptions(url=crm.url, attempts=1)
    return lambda **how: redeliver(missed(), options, Storage(spark), str(tmp_path / "ledger"), **how)


def test_undelivered_leads_are_posted_again_as_they_were(crm, again):
    crm.answers = {}
    assert (again().replayed, crm.keys()) == (3, {"e-0": 1, "e-1": 1, "e-2": 1})
    assert sorted(body["score"] for _, _, body in crm.seen) == [80.0, 81.0, 82.0]


def test_a_lead_that_was_taken_is_not_posted_by_a_later_redrive(crm, again):
    crm.answers = {"e-1": [503, 200]}
    first, second = again(), again()
    assert (first.replayed, first.refused) == (2, {"not delivered: HTTP 503 after 1 attempts": 1})
    assert (second.found, second.replayed, second.before) == (3, 1, 2)
    assert crm.keys() == {"e-0": 1, "e-1": 2, "e-2": 1}


def test_a_lead_with_two_letters_is_posted_once(spark, crm, again, open_sink):
    open_sink(crm.url, attempts=1).write(scored_rows(spark, {"score": 95.0}), 1)
    crm.answers = {}
    crm.seen.clear()
    assert again().found == 3
    assert [body["score"] for key, _, body in crm.seen if key == "e-0"] == [95.0]


def test_a_lead_that_two_streams_could_not_deliver_is_posted_for_both(spark, crm, tmp_path, missed):
    options, storage, crm.answers = WebhookOptions(url=crm.url, attempts=1), Storage(spark), {}
    ledger, mine = str(tmp_path / "ledger"), missed()
    other = mine.withColumn("query", F.lit("q-other"))
    assert redeliver(mine, options, storage, ledger).replayed == 3
    assert redeliver(other, options, storage, ledger).replayed == 3
    assert redeliver(mine.union(other), options, storage, ledger).replayed == 0


def test_a_lead_with_letters_of_two_streams_is_posted_once_for_both_where_both_are_named(spark, crm, tmp_path, missed):
    options, storage, crm.answers = WebhookOptions(url=crm.url, attempts=1), Storage(spark), {}
    ledger, mine = str(tmp_path / "ledger"), missed()
    other = mine.withColumn("query", F.lit("q-other"))
    assert redeliver(mine.union(other), options, storage, ledger).replayed == 3
    assert crm.keys() == {f"e-{i}": 1 for i in range(3)}
    assert redeliver(other, options, storage, ledger).replayed == 0


def test_what_an_earlier_release_noted_as_delivered_is_not_posted_again(spark, crm, again, tmp_path):
    crm.answers = {}
    spark.createDataFrame([("e-0",)], "event_id string").coalesce(1).write.parquet(
        str(tmp_path / "ledger" / "delivered-before")
    )
    assert (again().replayed, crm.keys()) == (2, {"e-1": 1, "e-2": 1})


def test_a_receiver_that_takes_nothing_is_not_asked_about_the_rest(crm, again, monkeypatch):
    monkeypatch.setattr(redeliver_module, "CHUNK", 2)
    found = again()
    assert len(crm.seen) == 2
    assert found.refused["not tried, as the receiver took none before"] == 1


def test_a_dry_run_posts_nothing(crm, again, tmp_path):
    assert again(dry_run=True).replayed == 3
    assert (crm.seen, (tmp_path / "ledger").exists()) == ([], False)


@pytest.mark.parametrize("said", [b"", b"taken"])
def test_a_connection_serves_more_than_one_event(spark, crm, open_sink, said):
    crm.said = said
    assert open_sink(crm.url, parallel=1).write(scored_rows(spark, *[{}] * 5), 0) == 5
    assert crm.connections == 1


def test_an_answer_without_end_is_left(spark, crm, open_sink):
    crm.said = b"x" * 10_000_000
    assert open_sink(crm.url, parallel=1).write(scored_rows(spark, *[{}] * 2), 0) == 2
    assert crm.connections == 2


@pytest.mark.parametrize(
    "wait", ["Wed, 21 Oct 99999999999 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 +99999999999", "x"]
)
def test_a_wait_that_nobody_understands_is_none(spark, crm, open_sink, wait):
    crm.retry_after, crm.answers = wait, {"e-0": [503, 200]}
    assert open_sink(crm.url).write(scored_rows(spark, {}), 0) == 1
