"""Single leads over HTTP by the compiled scorer: FastAPI without pandas, and a promotion without a restart."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import ClientDisconnect

from features.blanks import BLANKS
from features.contract import Contract
from serving.compiled.artifact import load_compiled
from serving.compiled.description import CategoryInput, Description
from serving.compiled.errors import BadLead
from serving.compiled.paths import refuse_unexplainable
from serving.compiled.reasons import COLUMN
from serving.compiled.scorer import CompiledScorer
from serving.errors import UNANSWERED, ServingError, UnfitVersion, one_line
from serving.registry import ResolvedVersion
from serving.runtime.watch import Served, Watch

MOST_LEADS, MOST_BYTES = 1000, 4 * 2**20
BODY_S = 5.0  # how long a body may take to arrive
BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 1.0)


class OtherFields(ServingError):
    """A version asks for other fields than clients were told to send."""


class BadRequest(BadLead):
    """A request that is no lead and no list of leads; `code` is the HTTP status."""

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


def ready(version: ResolvedVersion, serving: CompiledScorer | None = None) -> Served[CompiledScorer]:
    """Load the compiled scorer of a version and try it on a lead without answers.

    NotCompiled, CompiledUnreadable or UnfitVersion where it must not serve, OtherFields where its fields are not those
    of the one that is `serving`.
    """
    scorer = load_compiled(version)
    probability = scorer.score_one(dict.fromkeys(scorer.description.fields))["probability"]
    if not 0 <= probability <= 1:  # NaN is not either
        raise UnfitVersion(f"{version.name} version {version.version} gives {probability} as a probability.")
    if serving is not None and scorer.description.field_set != serving.description.field_set:
        other = sorted(scorer.description.field_set ^ serving.description.field_set)
        raise OtherFields(
            f"{version.name} version {version.version} takes other fields ({', '.join(other)}) than its clients send; "
            "change them, then start the server again."
        )
    return Served(version, scorer)


class Online:
    """Answers requests by one version, and by the next one as soon as `watch` has it; `say` hears of faults."""

    def __init__(
        self,
        first: Served[CompiledScorer],
        contract: Contract,
        watch: Watch[CompiledScorer] | None = None,
        say: Callable[..., None] = lambda event, **fields: None,
    ) -> None:
        self._served, self._id, self._watch, self._say = first, contract.id.name, watch, say
        self._nulls = frozenset(word.strip() for word in contract.nulls)
        self.registry = CollectorRegistry()
        self._answers = Counter("answers", "Answers by HTTP status", ["code"], registry=self.registry)
        self._leads = Counter("leads", "Leads scored", registry=self.registry)
        self._seconds = Histogram("answer_seconds", "From body to answer", buckets=BUCKETS_S, registry=self.registry)
        version = Gauge("model_version", "Version that serves", registry=self.registry)
        version.set_function(lambda: self.served.version.version)

    @property
    def served(self) -> Served[CompiledScorer]:
        """What answers now; a new version that is ready takes over here, between two requests."""
        if self._watch is not None and self._watch.found() and (found := self._watch.take()) is not None:
            self._watch.say("reloaded", version=found.version.version, replaced=self._served.version.version)
            self._served = found
        return self._served

    def answer(self, body: bytes, reasons: bool = False) -> tuple[int, bytes]:
        """HTTP status and JSON for the body of a request: a lead, or a list of at most 1,000."""
        start = time.perf_counter()
        code, said = self._answered(body, reasons)
        self._answers.labels(code).inc()
        self._seconds.observe(time.perf_counter() - start)
        return code, said

    def refuse(self, refusal: BadRequest) -> tuple[int, bytes]:
        """The same for a request whose body did not arrive as it should."""
        self._answers.labels(refusal.code).inc()
        return _refusal(refusal.code, str(refusal))

    def status(self) -> dict[str, Any]:
        """Which version serves, which one was refused and why, and whether the registry answers."""
        served, watch = self.served, self._watch
        refused = watch.refused if watch else None
        return {
            "model": served.version.name,
            "version": served.version.version,
            "fields": list(served.work.description.fields),
            "refused": {"version": refused.version, "reason": refused.reason} if refused else None,
            "registry": watch.unreachable if watch else "",
        }

    def _answered(self, body: bytes, reasons: bool) -> tuple[int, bytes]:
        try:
            asked = _parsed(body)
            leads = asked if isinstance(asked, list) else [asked]
            found = self._scored(leads, reasons)
            said = json.dumps(found if isinstance(asked, list) else found[0]).encode()
            self._leads.inc(len(leads))
            return 200, said
        except RecursionError:
            return _refusal(400, "the body is nested too deeply; a lead is an object of numbers and texts.")
        except ServingError as error:
            return _refusal(error.code if isinstance(error, BadRequest) else 400, str(error))
        except Exception as error:  # a fault of ours ends no server
            self._say("failed", error=f"{type(error).__name__}: {one_line(error)}")
            return _refusal(500, "the leads could not be scored; the log of the server says why.")

    def _is_answer(self, value: Any) -> bool:
        """Whether a value is one that the stream would not take for null."""
        return value is not None and not (isinstance(value, str) and value.strip(BLANKS) in self._nulls)

    def _scored(self, leads: list[Any], reasons: bool) -> list[dict[str, Any]]:
        served = self.served
        scorer, version = served.work, served.version.version
        found, answers = [], []
        for number, lead in enumerate(leads):
            if not isinstance(lead, Mapping):
                raise BadRequest(f"{_place(number, leads)}a lead is an object of fields, not {type(lead).__name__}.")
            answered = {name: value for name, value in lead.items() if name != self._id}
            try:
                scored = scorer.score_one(answered)
            except BadLead as error:
                raise BadRequest(f"{_place(number, leads)}{error}") from None
            if not any(self._is_answer(value) for value in answered.values()):
                raise BadRequest(f"{_place(number, leads)}{UNANSWERED}; the stream refuses such a lead as well.")
            known = {self._id: lead[self._id]} if self._id in lead else {}
            found.append({**known, **scored, "model_version": version})
            answers.append(answered)
        if reasons and leads:
            refuse_unexplainable(scorer.description)
            told_of_all = scorer.reasons(_table(answers, scorer.description)).to_pylist()
            for one, told in zip(found, told_of_all, strict=True):
                one[COLUMN] = told
        return found


def _table(leads: list[dict[str, Any]], description: Description) -> pa.Table:
    """Checked leads as columns; a number is a double, as it is for the score."""
    columns: dict[str, pa.Array] = {}
    for source in description.inputs:
        values = [lead[source.name] for lead in leads]
        if isinstance(source, CategoryInput):
            columns[source.name] = pa.array(values, pa.string())
        else:
            columns[source.name] = pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.table(columns)


def app(online: Online) -> FastAPI:
    """The routes: POST /score; GET /healthz, /readyz and /metrics."""
    made = FastAPI(title="Lead scoring", docs_url=None, redoc_url=None, openapi_url=None)

    @made.post("/score")
    async def score(request: Request) -> Response:
        asked = request.query_params.get("reasons", "false").lower() == "true"
        try:
            body = await _body(request)
        except BadRequest as refusal:
            return _json(*online.refuse(refusal))
        except ClientDisconnect:
            return Response()  # nobody is there to read it
        return _json(*online.answer(body, asked))

    @made.get("/healthz")
    async def healthz() -> Response:
        return _json(200, json.dumps(online.status()).encode())

    @made.get("/readyz")
    async def readyz() -> Response:
        said = online.status()
        return _json(503 if said["refused"] else 200, json.dumps(said).encode())

    @made.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(online.registry), media_type=CONTENT_TYPE_LATEST)

    return made


async def _body(request: Request) -> bytes:
    """A body; BadRequest where it is too large or takes too long to arrive."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BYTES:
                    said = f"the body is larger than {MOST_BYTES // 2**20} MiB; send fewer leads at a time."
                    raise BadRequest(said, 413)
    except TimeoutError:
        raise BadRequest(f"the body did not arrive within {BODY_S:g} s; send the request again.", 408) from None
    return bytes(body)


def _refusal(code: int, said: str) -> tuple[int, bytes]:
    return code, json.dumps({"error": said}).encode()


def _json(code: int, body: bytes) -> Response:
    return Response(body, code, media_type="application/json")


def _parsed(body: bytes) -> Any:
    try:
        asked = json.loads(body, parse_constant=_no_number)
    except ValueError as error:  # also where the bytes are no UTF-8
        raise BadRequest(f"the body is no JSON ({error}); send a lead as an object, or a list of them.") from None
    if not isinstance(asked, Mapping | list):
        raise BadRequest(f"the body is {type(asked).__name__}; send a lead as an object, or a list of them.")
    if isinstance(asked, list) and len(asked) > MOST_LEADS:
        raise BadRequest(f"{len(asked):,} leads at once; send at most {MOST_LEADS:,}, or use `score`.", 413)
    return asked


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number in JSON")


def _place(number: int, leads: list[Any]) -> str:
    return f"lead {number}: " if len(leads) > 1 else ""
