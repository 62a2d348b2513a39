"""One lead at a time: the compiled model in this process and behind MLflow's server, beside the Spark pyfunc."""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import closing
from functools import partial
from typing import Any

import requests

from benchmarks.report import Spread, Table
from benchmarks.workplace import Workplace
from serving.compiled.description import CategoryInput
from serving.compiled.scorer import CompiledScorer

CALLS = {"serve": 1000, "compiled": 1000, "Spark": 100}
READY_SECONDS = 240
STARTS = 3


def online_table(
    place: Workplace, uris: Mapping[str, str], scorer: CompiledScorer, leads: Sequence[dict[str, Any]]
) -> Table:
    """Latency of single leads and seconds until the first answer (median of STARTS); `uris` by the names of CALLS."""
    words = {i.name for i in scorer.description.inputs if isinstance(i, CategoryInput)}
    rows = [_in_process(scorer, leads), _over_http(place, "serve", "", leads)]
    for name, uri in uris.items():
        rows.append(
            _over_http(place, name, uri, [_answered(lead, words) for lead in leads] if name == "Spark" else leads)
        )
    mine, fastest, slowest = (row["ready after (s)"] for row in rows[1:])
    said = f"ready {slowest / mine:.1f} times (serve) and {slowest / fastest:.1f} times (mlflow) as fast as Spark"
    filled = (
        "MLflow's pyfunc of a Spark model fails on a lead with an unanswered word; it is asked about filled-in leads"
    )
    starts = f"ready after: median of {STARTS} starts"
    return Table("One lead at a time (ms)", rows, [said, starts, filled])


def _answered(lead: dict[str, Any], words: Set[str]) -> dict[str, Any]:
    """The lead with an unknown word or a zero for each missing value: MLflow makes NullType of a lone null."""
    return {k: ("unanswered" if k in words else 0.0) if v is None else v for k, v in lead.items()}


def _in_process(scorer: CompiledScorer, leads: Sequence[dict[str, Any]]) -> dict[str, Any]:
    took = []
    for number in range(5000):
        lead = leads[number % len(leads)]
        start = time.perf_counter()
        scorer.score_one(lead)
        took.append((time.perf_counter() - start) * 1e3)
    return _row("compiled, in this process", Spread.of(took[500:]), 0.0)


def _over_http(place: Workplace, name: str, uri: str, leads: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One server after another; latencies are the last one's, which Python's files and the disk have got used to."""
    starts = [_served(place, name, uri, leads, calls) for calls in [1] * (STARTS - 1) + [CALLS[name]]]
    way = f"{name}, mlflow models serve" if uri else "compiled, serve"
    took = starts[-1][1]
    return _row(way, Spread.of(took[len(took) // 10 :]), statistics.median(ready for ready, _ in starts))


def _served(
    place: Workplace, name: str, uri: str, leads: Sequence[dict[str, Any]], calls: int
) -> tuple[float, list[float]]:
    """Start a server, ask it `calls` times and end it: seconds until its first answer, milliseconds of each call."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["pipelines.serve", "--port", str(port)]
    if uri:
        words = ["mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    environment = place.environment | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    start = time.perf_counter()
    with (place.folder / f"serve-{name}.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *words], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        route, wrapped = ("invocations", True) if uri else ("score", False)
        ask = partial(_ask, requests.Session(), f"http://127.0.0.1:{port}/{route}", wrapped)
        ready = _first_answer(ask, leads[0], start)
        took = []
        for number in range(calls):
            begin = time.perf_counter()
            ask(leads[number % len(leads)])
            took.append((time.perf_counter() - begin) * 1e3)
        return ready, took
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def _ask(session: requests.Session, url: str, wrapped: bool, lead: dict[str, Any]) -> Any:
    reply = session.post(url, json={"dataframe_records": [lead]} if wrapped else lead, timeout=60)
    reply.raise_for_status()
    return reply.json()


def _first_answer(ask: Any, lead: dict[str, Any], start: float) -> float:
    said: Exception | None = None
    while time.perf_counter() - start < READY_SECONDS:
        try:
            ask(lead)
            return time.perf_counter() - start
        except requests.HTTPError as error:
            raise RuntimeError(f"the server answered {error}: {error.response.text[:500]}") from None
        except requests.RequestException as error:
            said = error
            time.sleep(0.05)
    raise TimeoutError(f"no answer within {READY_SECONDS} s: {said}")


def _row(name: str, spread: Spread, ready: float) -> dict[str, Any]:
    return {"way": name, "p50": spread.p50, "p95": spread.p95, "p99": spread.p99, "ready after (s)": ready}
