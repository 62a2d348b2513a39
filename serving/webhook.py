"""Hot leads to a CRM: an HTTP POST per event, at least once, and a dead letter for what was not taken."""

import contextlib
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import requests
import urllib3
from pydantic import BaseModel, Field, model_validator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    wait_random_exponential,
)

from serving.dead_letters import UNDELIVERED, DeadLetters, Letter, letter_rows
from serving.errors import ServingError, StopAsked

TOKEN_VARIABLE = "LEADS_WEBHOOK_TOKEN"
CA_VARIABLE = "REQUESTS_CA_BUNDLE"
_MOST_ANSWER = 65_536
IDEMPOTENCY_HEADER = "Idempotency-Key"
Tell = Callable[[int, int, str], None]


class WebhookOptions(BaseModel, frozen=True, extra="forbid"):
    """Where hot leads are posted to. A bearer token is read from LEADS_WEBHOOK_TOKEN and never held here."""

    url: str = Field(min_length=1, description="https address, or http on this machine")
    hot: float = Field(70, ge=0, le=100, description="smallest score of a lead that is handed on")
    timeout: float = Field(5, gt=0, description="most seconds of a request, for the connection and for the answer each")
    attempts: int = Field(5, ge=1, le=20, description="most requests for one event")
    first_wait: float = Field(0.2, gt=0, description="bound of the first wait in seconds; it doubles each time")
    longest_wait: float = Field(10, gt=0, description="longest wait in seconds, that of Retry-After included")
    batch_seconds: float = Field(
        60, gt=0, description="then the rest of a batch is tried once, after twice as long not"
    )
    parallel: int = Field(8, ge=1, le=64, description="requests at a time")

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise ValueError("url must be https://host/path, without user and password")
        if parts.scheme == "http" and not _is_here(parts.hostname):
            raise ValueError("url must be https: leads and the token would go in plain text")
        return self


class _NotNow(Exception):
    """The receiver did not take an event, and may later; `after` is what it asked to wait, in seconds."""

    def __init__(self, said: str, after: float = 0) -> None:
        super().__init__(said)
        self.after = after


class UnfitToken(ServingError):
    """The token for the webhook cannot stand in a header."""


def token(environment: Mapping[str, str]) -> str:
    """The bearer token without blanks around it, empty where there is none; UnfitToken, which does not show it."""
    found = environment.get(TOKEN_VARIABLE, "").strip()
    if not (found.isascii() and found.isprintable()):
        raise UnfitToken(f"{TOKEN_VARIABLE} holds characters that a header cannot; set it to the token alone.")
    return found


@dataclass
class WebhookSink:
    """POSTs every scored event at or above the threshold as JSON, with the header Idempotency-Key = event id.

    5xx, 408, 425, 429 and broken connections are tried again; another 4xx, a redirect or the last attempt makes a
    dead letter whose `raw` is what was to be posted. A repeated batch is posted again under the same keys.
    """

    options: WebhookOptions
    undelivered: DeadLetters
    query: str
    stop: threading.Event = field(default_factory=threading.Event)
    tell: Tell = lambda number, leads, reason: None  # of a batch that has undelivered leads, with one's reason
    observes: ClassVar[bool] = False  # as in PostgresSink
    cached: ClassVar[bool] = True

    def write(self, batch: DataFrame, number: int) -> int:
        """Hand on the hot leads of batch `number`; how many were taken. StopAsked as in Courier."""
        hot = (
            batch.where("reason is null").where(F.col("score") >= self.options.hot).drop("batch_date", "reason", "raw")
        )
        body = F.to_json(F.struct(*hot.columns)).alias("body")
        time_text = F.date_format("event_time", "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX").alias("event_time")
        rows = hot.select("event_id", time_text, "origin", body).toLocalIterator()
        letters, taken = [], 0
        for letter in Courier(self.options, self.stop).deliver(rows):
            if letter is None:
                taken += 1
            else:
                letters.append(letter)
        if letters:
            self.undelivered.put(letter_rows(batch.sparkSession, letters, self.query), number, UNDELIVERED)
            self.tell(number, len(letters), letters[0].reason)
        else:
            self.undelivered.clear(number, UNDELIVERED)
        return taken


@dataclass(frozen=True)
class Courier:
    """Posts events side by side, tries again, and gives up in bounded time.

    StopAsked where one is not taken now and `stop` is set: the batch will be repeated, under the same keys.
    """

    options: WebhookOptions
    stop: threading.Event

    def deliver(self, rows: Iterable[Any]) -> Iterator[Letter | None]:
        """A letter per event that was not taken, None per event that was, in their order.

        Rows have `event_id`, `event_time` (ISO text), `origin` and `body` (JSON); a bounded number is in the air.
        """
        deadline, rows = time.monotonic() + self.options.batch_seconds, iter(rows)
        with ThreadPoolExecutor(self.options.parallel) as pool, _session(self.options) as session:
            while chunk := list(itertools.islice(rows, 16 * self.options.parallel)):
                yield from pool.map(lambda row: self._post_one(session, row, deadline), chunk)

    def _post_one(self, session: requests.Session, row: Any, deadline: float) -> Letter | None:
        attempts, refusal = self._attempts(deadline), "no time was left in this batch"
        if time.monotonic() > deadline + self.options.batch_seconds:
            return Letter(row.event_id, row.origin, f"not delivered: {refusal}", row.body, row.event_time)
        try:
            for attempt in attempts:
                with attempt:
                    refusal = post(session, self.options, row.event_id, row.body)
        except _NotNow as error:
            if self.stop.is_set():
                raise StopAsked(
                    f"asked to stop while the webhook takes nothing ({error}); the batch is repeated at the next start."
                ) from None
            refusal = f"{error} after {attempts.statistics['attempt_number']} attempts"
        if not refusal:
            return None
        return Letter(row.event_id, row.origin, f"not delivered: {refusal}", row.body, row.event_time)

    def _attempts(self, deadline: float) -> Retrying:
        backoff = wait_random_exponential(multiplier=self.options.first_wait, max=self.options.longest_wait)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.after if isinstance(error, _NotNow) else 0.0
            return min(max(backoff(state), asked), self.options.longest_wait)

        def is_over(state: RetryCallState) -> bool:
            return self.stop.is_set() or time.monotonic() + state.upcoming_sleep > deadline

        def sleep(seconds: float) -> None:
            self.stop.wait(seconds)

        return Retrying(
            retry=retry_if_exception_type(_NotNow),
            wait=wait,
            stop=lambda state: state.attempt_number >= self.options.attempts or is_over(state),
            sleep=sleep,
            reraise=True,
        )


def post(session: requests.Session, options: WebhookOptions, event_id: str, body: str) -> str:
    """Post one event: empty where it was taken, else why it never will be; _NotNow where it may be later."""
    # A header holds no line breaks and only Latin-1; JSON's escapes keep any id apart from any other.
    key = json.dumps(event_id)[1:-1]
    headers = {"Content-Type": "application/json", IDEMPOTENCY_HEADER: key}
    try:
        answer = session.post(
            options.url,
            data=body.encode("utf-8"),
            headers=headers,
            timeout=options.timeout,
            allow_redirects=False,
            stream=True,
        )
    except requests.RequestException as error:
        raise _NotNow(f"{type(error).__name__} at the webhook") from None
    _finish(answer, options.timeout)
    if answer.ok and answer.status_code < 300:
        return ""
    said = f"HTTP {answer.status_code}"
    if answer.status_code >= 500 or answer.status_code in (408, 425, 429):
        raise _NotNow(said, _retry_after(answer.headers.get("Retry-After", "")))
    return said


def _finish(answer: requests.Response, seconds: float) -> None:
    """Read a short answer to its end, so that its connection serves the next event; leave one that is long or slow."""
    deadline, left = time.monotonic() + seconds, _MOST_ANSWER
    with contextlib.suppress(urllib3.exceptions.HTTPError, OSError, ValueError):
        while left > 0 and time.monotonic() < deadline and (part := answer.raw.read1(left)):
            left -= len(part)
    answer.close()


def _session(options: WebhookOptions) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no credentials from ~/.netrc, no proxy that would see the leads
    session.verify = os.environ.get(CA_VARIABLE) or True
    session.mount("http", requests.adapters.HTTPAdapter(pool_maxsize=options.parallel))
    if bearer := token(os.environ):
        session.headers["Authorization"] = f"Bearer {bearer}"
    return session


def _retry_after(text: str) -> float:
    """Seconds of a Retry-After header, which is a number or a date; 0 where it is neither."""
    try:
        return float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return 0


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
