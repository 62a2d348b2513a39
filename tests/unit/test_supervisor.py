"""When a stream ends: a stop waits for the batch in hand, for as long as `drain` says, and a second signal does not."""

import signal
import threading
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import OperationalError

from pipelines import stream
from pipelines.stream import stop_on_signals
from serving.registry import ResolvedVersion
from serving.runtime.journal import Journal, LogTo
from serving.runtime.lease import LeaseLost
from serving.runtime.status import Metrics, Status
from serving.runtime.supervisor import Supervisor
from serving.runtime.watch import Served

NEVER = 10**9


class Query:
    """A query within a batch that ends after some looks at it, once it was asked to."""

    writer, asked = None, False

    def __init__(self, looks: int) -> None:
        self.looks, self.cut_off = looks, False
        self.query = SimpleNamespace(
            isActive=True, status={"isTriggerActive": True}, _jsq=SimpleNamespace(recentProgress=list)
        )

    def ended(self, seconds: float) -> bool:
        """Look once."""
        self.looks -= self.asked
        return self.looks <= 0 or self.cut_off

    def ask_to_end(self) -> None:
        """Note that it was asked."""
        self.asked = True

    def end_now(self) -> None:
        """Cut the batch off, where it has not ended."""
        self.cut_off = self.looks > 0


FIRST = Served(ResolvedVersion("m", 1, "r", {}), None)


def supervisor(start, **changed) -> Supervisor:
    """One that nobody has asked to stop, with a lease that holds."""
    status = Status(stuck_after=60)
    made = {"stop": threading.Event(), "lease": SimpleNamespace(check=lambda: None), "watch": None, **changed}
    return Supervisor(
        start=start, journal=Journal.to(LogTo.OFF), status=status, metrics=Metrics(status), **{"drain": NEVER, **made}
    )


def stopped(query: Query, drain: float) -> Query:
    """The query after a stream that serves it was stopped."""
    stop = threading.Event()
    stop.set()
    supervisor(lambda served: query, stop=stop, drain=drain).run(FIRST)
    return query


def test_a_lost_lease_cuts_the_query_off():
    def lost() -> None:
        raise LeaseLost("moved")

    query = Query(looks=NEVER)
    with pytest.raises(LeaseLost):
        supervisor(lambda served: query, lease=SimpleNamespace(check=lost)).run(FIRST)
    assert query.cut_off


def test_where_the_alias_went_back_before_the_swap_the_version_goes_on():
    served, stop = [], threading.Event()

    def start(ready: Served) -> Query:
        served.append(ready)
        if len(served) == 2:
            stop.set()
        return Query(looks=1)

    gone = SimpleNamespace(found=lambda: True, take=lambda: None, refused=None, unreachable="")
    supervisor(start, stop=stop, watch=gone).run(FIRST)
    assert served == [FIRST, FIRST]


@pytest.mark.parametrize(("in_batch", "is_busy"), [(True, True), (False, False)])
def test_a_batch_in_hand_is_timed_and_a_wait_for_leads_is_not(in_batch, is_busy):
    query = Query(looks=1)
    query.query.status["isTriggerActive"] = in_batch
    seen, stop = [], threading.Event()
    made = supervisor(lambda served: query, stop=stop)

    def ended(seconds: float) -> bool:
        seen.append(made.status.busy_since is not None)
        stop.set()
        return len(seen) > 1

    query.ended = ended
    made.run(FIRST)
    assert seen[1] is is_busy


def test_a_stop_waits_for_the_batch_in_hand():
    query = stopped(Query(looks=5), drain=NEVER)
    assert (query.asked, query.cut_off) == (True, False)


def test_a_batch_that_outlasts_drain_is_cut_off():
    assert stopped(Query(looks=NEVER), drain=0.0).cut_off


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop_and_a_second_one_does_what_it_did_before(number, capfd):
    came = []
    before = signal.signal(number, lambda *_: came.append(number))
    try:
        with stop_on_signals() as stop:
            signal.raise_signal(number)
            assert (stop.is_set(), came) == (True, [])
            signal.raise_signal(number)
            assert came == [number]
    finally:
        signal.signal(number, before)
    assert "stopping at the end of this batch or epoch" in capfd.readouterr().err


def test_drain_begins_with_the_stop_and_not_with_a_version_that_waits():
    stop, query = threading.Event(), Query(looks=3)
    query.asked = True  # for another version, long ago
    stop.set()
    supervisor(lambda served: query, stop=stop, drain=60).run(FIRST)
    assert not query.cut_off


def test_a_store_that_is_away_while_java_starts_ends_nothing(monkeypatch):
    asked = []

    def connect(settings):
        asked.append(settings)
        raise OperationalError("select 1", {}, OSError("connection refused"))  # what a database as store raises

    monkeypatch.setattr(stream, "connect", connect)
    stream._open_store("settings")
    assert asked == ["settings"]
