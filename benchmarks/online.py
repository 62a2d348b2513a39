"""One lead at a time: the compiled model in this process and behind MLflow's server, beside the Spark pyfunc."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import requests
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

from benchmarks.answers import check_scores
from benchmarks.measure import Timed
from benchmarks.report import Spread, Table
from benchmarks.workplace import Workplace, session
from features.stages import served_probability
from serving.compiled.description import CategoryInput
from serving.compiled.scorer import CompiledScorer

CALLS = {"serve": 1000, "compiled": 1000, "Spark": 100}
READY_SECONDS = 240
STARTS = 3


@dataclass(frozen=True)
class Asked:
    """Leads to ask about one by one, and what Spark's pipeline says of each: probability, or prediction."""

    leads: Sequence[dict[str, Any]]
    wanted: Sequence[float]

    def check(self, way: str, answers: Sequence[float]) -> None:
        """Raise WrongAnswers unless the answers, which go through the leads in turns, are Spark's."""
        check_scores(way, answers, [self.wanted[number % len(self.wanted)] for number in range(len(answers))])


def online_table(
    place: Workplace,
    uris: Mapping[str, str],
    scorer: CompiledScorer,
    leads: pa.Table,
    model: Callable[[SparkSession], PipelineModel],
) -> Table:
    """Latency of single leads and seconds until the first answer (median of STARTS); `uris` by the names of CALLS.

    `model` loads the Spark pipeline into a session of its own, which scores the same leads beforehand: WrongAnswers
    where any answer is another.
    """
    raw, filled = _asked(place, scorer, leads, model)
    rows = [_in_process(scorer, raw), _over_http(place, "serve", "", raw)]
    rows += [_over_http(place, name, uri, filled if name == "Spark" else raw) for name, uri in uris.items()]
    mine, fastest, slowest = (row["ready after (s)"] for row in rows[1:])
    said = f"ready {slowest / mine:.1f} times (serve) and {slowest / fastest:.1f} times (mlflow) as fast as Spark"
    notes = [
        f"ready after: median of {STARTS} starts; spread: fastest to slowest of these",
        "MLflow's pyfunc of a Spark model fails on a lead with an unanswered word; it is asked about filled-in leads",
        "every answer is the pipeline's in Spark: its probability to 1e-6; the pyfunc's, which gives no probability, "
        "its prediction",
    ]
    return Table("One lead at a time (ms)", rows, [said, *notes])


def _asked(
    place: Workplace, scorer: CompiledScorer, leads: pa.Table, model: Callable[[SparkSession], PipelineModel]
) -> tuple[Asked, Asked]:
    """The leads as they are, with Spark's probabilities, and filled in, with Spark's predictions."""
    words = {i.name for i in scorer.description.inputs if isinstance(i, CategoryInput)}
    raw = leads.to_pylist()
    filled = [_answered(lead, words) for lead in raw]
    with session(place.settings, "bench-online") as spark:
        loaded = model(spark)
        served = loaded.transform(spark.createDataFrame(leads))
        probabilities = [row[0] for row in served.select(served_probability(served.columns)).collect()]
        again = loaded.transform(spark.createDataFrame(pa.Table.from_pylist(filled, leads.schema)))
        predictions = [row[0] for row in again.select("prediction").collect()]
    return Asked(raw, probabilities), Asked(filled, predictions)


def _answered(lead: dict[str, Any], words: Set[str]) -> dict[str, Any]:
    """The lead with an unknown word or a zero for each missing value: MLflow makes NullType of a lone null."""
    return {k: ("unanswered" if k in words else 0.0) if v is None else v for k, v in lead.items()}


def _in_process(scorer: CompiledScorer, asked: Asked) -> dict[str, Any]:
    way, took, answers = "compiled, in this process", [], []
    for number in range(5000):
        lead = asked.leads[number % len(asked.leads)]
        start = time.perf_counter()
        found = scorer.score_one(lead)
        took.append((time.perf_counter() - start) * 1e3)
        answers.append(found["probability"])
    asked.check(way, answers)
    return _row(way, Spread.of(took[500:]))


def _over_http(place: Workplace, name: str, uri: str, asked: Asked) -> dict[str, Any]:
    """One server after another; latencies are the last one's, which Python's files and the disk have got used to."""
    way = f"{name}, mlflow models serve" if uri else "compiled, serve"
    starts = []
    for calls in [1] * (STARTS - 1) + [CALLS[name]]:
        ready, took, answers = _served(place, name, uri, asked.leads, calls)
        asked.check(way, answers)
        starts.append(ready)
    return _row(way, Spread.of(took[len(took) // 10 :]), Timed(tuple(starts)))


def _served(
    place: Workplace, name: str, uri: str, leads: Sequence[dict[str, Any]], calls: int
) -> tuple[float, list[float], list[float]]:
    """Start a server, ask it `calls` times and end it: seconds until its first answer, ms and answer of each call."""
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
        took, answers = [], []
        for number in range(calls):
            begin = time.perf_counter()
            reply = ask(leads[number % len(leads)])
            took.append((time.perf_counter() - begin) * 1e3)
            answers.append(answer_of(reply))
        return ready, took, answers
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def answer_of(reply: dict[str, Any]) -> float:
    """The probability that a server's reply to one lead holds; the prediction where it holds nothing else."""
    found = reply["predictions"][0] if "predictions" in reply else reply
    return float(found["probability"] if isinstance(found, dict) else found)


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


def _row(name: str, latency: Spread, starts: Timed | None = None) -> dict[str, Any]:
    ready, spread = (starts.median, starts.spread) if starts else ("", "")
    row = {"way": name, "p50": latency.p50, "p95": latency.p95, "p99": latency.p99}
    return row | {"ready after (s)": ready, "spread": spread}
