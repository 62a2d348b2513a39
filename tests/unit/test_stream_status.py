"""What the endpoints of a stream say, and what its log lines hold."""

import json
import socket
import time

import pytest

from serving.runtime.endpoints import Endpoints, PortTaken
from serving.runtime.journal import Journal, LogTo
from serving.runtime.progress import finished
from serving.runtime.source_watch import SourceWatch
from serving.runtime.status import Metrics, Status
from tests.endpoints import ask

REPORT = {
    "batchId": 4,
    "durationMs": {"addBatch": 80, "triggerExecution": 120},
    "observedMetrics": {
        "lead_scoring": {"rows": 10, "scored": 8, "unknown_categories": 3, "quantiles": [5, 7, 9], "max": 12}
    },
    "sources": [{"endOffset": {"leads": {"0": 5, "1": 5}}, "metrics": {"avgOffsetsBehindLatest": "1.5"}}],
}


@pytest.fixture
def status() -> Status:
    return Status(stuck_after=60, version=3, serving=True)


@pytest.fixture
def metrics(status) -> Metrics:
    return Metrics(status)


@pytest.fixture
def port(status, metrics):
    metrics.batch(finished(REPORT))
    with Endpoints(status, metrics, 0) as endpoints:
        yield endpoints.port


def test_the_endpoints_are_for_this_machine_s_own_address_alone(port):
    with pytest.raises(ConnectionRefusedError):  # another of the loopback's addresses, which all interfaces include
        socket.create_connection(("127.0.0.2", port), 10)


def test_the_endpoints_listen_where_they_are_told_to(status):
    address = "127.0.0.2"
    with Endpoints(status, Metrics(status), 0, address) as endpoints:
        connection = socket.create_connection((address, endpoints.port), 10)
        assert connection.getpeername() == (address, endpoints.port)
        connection.close()


def test_a_stream_that_serves_is_healthy_and_ready(port):
    assert ask(port, "/healthz")[0] == 200
    assert ask(port, "/readyz")[0] == 200


def test_a_stream_that_still_awaits_its_registry_is_healthy_and_not_ready(port, status):
    status.serving = False
    assert ask(port, "/healthz")[0] == 200
    code, body = ask(port, "/readyz")
    assert (code, json.loads(body)["problems"]) == (503, ["no version serves yet"])


def test_a_refused_version_makes_a_stream_unready_but_not_unhealthy(port, status):
    status.refused = "version 4 is constant"
    assert ask(port, "/healthz")[0] == 200
    code, body = ask(port, "/readyz")
    assert code == 503
    assert json.loads(body)["problems"] == ["degraded: version 3 keeps serving, because version 4 is constant"]


def test_a_registry_that_is_down_is_told_and_leaves_the_stream_ready(port, status):
    status.registry = "connection refused"
    code, body = ask(port, "/readyz")
    assert (code, json.loads(body)["registry"]) == (200, "connection refused")


def test_a_batch_that_takes_too_long_is_stuck(port, status):
    status.busy_since = time.monotonic() - 61
    code, body = ask(port, "/readyz")
    assert code == 503
    assert "stuck" in body


def test_a_stream_that_waits_for_leads_is_not_stuck(port, status):
    status.busy_since = None
    assert ask(port, "/readyz")[0] == 200


def test_a_source_that_is_gone_makes_a_stream_unready_but_not_unhealthy(port, status):
    status.source = "the source file:/in is gone"
    assert ask(port, "/healthz")[0] == 200
    code, body = ask(port, "/readyz")
    assert (code, json.loads(body)["problems"]) == (503, ["the source file:/in is gone"])


def test_a_query_that_has_ended_is_unhealthy(port, status):
    status.ended = True
    assert ask(port, "/healthz")[0] == 503


def test_a_supervisor_that_is_asleep_is_unhealthy(port, status):
    status.looked_at = time.monotonic() - 61
    assert ask(port, "/healthz")[0] == 503


def test_metrics_are_prometheus_text(port):
    text = ask(port, "/metrics")[1]
    assert 'lead_scoring_events_total{outcome="scored"} 8.0' in text
    assert 'lead_scoring_events_total{outcome="quarantined"} 2.0' in text
    assert 'lead_scoring_event_latency_seconds{quantile="p99"} 0.009' in text
    assert "lead_scoring_model_version 3.0" in text
    assert "lead_scoring_lag_events 3.0" in text


def test_versions_taken_and_refused_and_leads_not_delivered_are_counted(port, metrics):
    metrics.undelivered(3)
    metrics.reloaded()
    metrics.refused()
    metrics.refused()
    text = ask(port, "/metrics")[1]
    assert "lead_scoring_reloads_total 1.0" in text
    assert "lead_scoring_undelivered_leads_total 3.0" in text
    assert "lead_scoring_refused_versions_total 2.0" in text


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({}, {"degraded": 0, "registry_up": 1, "ready": 1}),
        ({"refused": "version 4 is constant"}, {"degraded": 1, "registry_up": 1, "ready": 0}),
        ({"registry": "connection refused"}, {"degraded": 0, "registry_up": 0, "ready": 1}),
    ],
    ids=["well", "degraded", "registry-down"],
)
def test_the_metrics_show_how_the_stream_is_at_the_moment(port, status, changed, shown):
    for name, value in changed.items():
        setattr(status, name, value)
    text = ask(port, "/metrics")[1]
    assert all(f"lead_scoring_{name} {value:.1f}\n" in text for name, value in shown.items())


def test_any_other_path_is_not_found(port):
    assert ask(port, "/")[0] == 404


def test_a_port_that_is_taken_is_named(status):
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PortTaken, match="name another health_port"):
        Endpoints(status, Metrics(status), other.getsockname()[1])


def test_the_line_of_a_batch_is_one_json_object():
    lines = []
    Journal(lines.append, {"query": "q1"}).batch(finished(REPORT), version=3)
    (line,) = lines
    found = json.loads(line)
    assert "\n" not in line
    del found["time"]
    assert found == {
        "event": "batch",
        "query": "q1",
        "version": 3,
        "batch": 4,
        "rows_in": 10,
        "scored": 8,
        "quarantined": 2,
        "unknown_categories": 3,
        "latency_ms": {"p50": 5, "p95": 7, "p99": 9, "max": 12},
        "durations": {"addBatch": 80, "triggerExecution": 120},
        "batch_ms": 120,
        "lag": 3,
    }


def test_a_batch_of_no_rows_has_no_latency_and_files_have_no_lag():
    done = finished({"batchId": 0, "durationMs": {"addBatch": 1}, "sources": [{"endOffset": {"logOffset": 0}}]})
    assert done.latency_ms == {"p50": None, "p95": None, "p99": None, "max": None}
    assert (done.rows_in, done.lag) == (0, None)


def test_lines_go_where_they_are_asked_to(capsys):
    for place in LogTo:
        Journal.to(place).say(f"to-{place}")
    out, err = capsys.readouterr()
    assert ("to-stdout" in out, "to-stderr" in err, "to-off" in out + err) == (True, True, False)


def test_a_line_that_finds_no_room_ends_nothing():
    def full(line: str) -> None:
        raise OSError(28, "No space left on device")

    assert Journal(full).say("started") is None


def test_a_source_that_goes_and_comes_back_is_told_once_each(status):
    answers = iter(["", "it is gone", "it is gone", OSError("no answer"), ""])
    lines: list[str] = []

    def missing() -> str:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    watch = SourceWatch(missing, Journal(lines.append), status)
    seen = []
    for _ in range(5):
        watch.look()
        seen.append(status.source)
    told = [(line["event"], line["state"], line["reason"]) for line in map(json.loads, lines)]
    assert told == [("source", "missing", "it is gone"), ("source", "there", "")]
    assert seen == ["", "it is gone", "it is gone", "it is gone", ""]


def test_a_source_is_looked_for_again_and_again(status):
    with SourceWatch(lambda: "it is gone", Journal(lambda line: None), status, every=0.01):
        end = time.monotonic() + 30
        while not status.source and time.monotonic() < end:
            time.sleep(0.01)
    assert status.source == "it is gone"
