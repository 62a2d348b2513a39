"""The watched alias: what becomes of a new version, of one that must not serve, and of a registry that is down."""

import threading
import time

import pytest

from serving.errors import Away, ServingError, StopAsked
from serving.registry import NoSuchAlias, ResolvedVersion
from serving.runtime.watch import Served, StillAway, Watch, await_server


def version(number: int) -> ResolvedVersion:
    return ResolvedVersion("m", number, "run", {})


class Alias:
    """A registry of one alias; `named` may be an error."""

    def __init__(self, named: int | Exception) -> None:
        self.named: int | Exception = named
        self.loads: list[int] = []
        self.then: dict[int, int | Exception] = {}  # what it names once a version was made ready
        self.broken: dict[int, Exception] = {}
        self.said: list[tuple[str, dict]] = []

    def resolve(self) -> ResolvedVersion:
        if isinstance(self.named, Exception):
            raise self.named
        return version(self.named)

    def ready(self, wanted: ResolvedVersion) -> Served:
        self.loads.append(wanted.version)
        self.named = self.then.pop(wanted.version, self.named)
        if wanted.version in self.broken:
            raise self.broken[wanted.version]
        return Served(wanted, None)  # type: ignore[arg-type]

    def watch(self, retry_after: float = 60) -> Watch:
        return Watch(
            self.resolve,
            self.ready,
            version(1),
            0.01,
            lambda event, **fields: self.said.append((event, fields)),
            retry_after=retry_after,
        )


def test_the_version_that_serves_is_not_loaded_again():
    alias = Alias(1)
    alias.watch().look()
    assert alias.loads == []


def test_a_new_version_is_loaded_once_and_handed_out_once():
    alias = Alias(2)
    watch = alias.watch()
    watch.look()
    watch.look()
    assert alias.loads == [2]
    assert watch.take().version.version == 2
    assert watch.take() is None
    assert watch.serving.version == 2


def test_a_version_that_is_promoted_away_before_it_served_never_serves():
    alias = Alias(2)
    watch = alias.watch()
    watch.look()
    alias.named = 1
    watch.look()
    assert watch.take() is None


@pytest.mark.parametrize("then", [1, 3, NoSuchAlias("none is in Production")])
def test_a_version_that_is_promoted_away_while_it_is_made_ready_never_serves(then):
    alias = Alias(2)
    alias.then[2] = then
    watch = alias.watch()
    watch.look()
    assert alias.loads == [2]
    assert not watch.found()


def test_a_version_that_is_made_ready_as_the_registry_goes_away_serves():
    alias = Alias(2)
    alias.then[2] = OSError("connection refused")
    watch = alias.watch()
    watch.look()
    assert watch.take().version.version == 2


def test_a_version_that_is_ready_is_let_go_where_the_alias_names_none():
    alias = Alias(2)
    watch = alias.watch()
    watch.look()
    alias.named = NoSuchAlias("none is in Production")
    watch.look()
    assert watch.take() is None


def test_a_store_that_is_away_while_a_version_is_loaded_refuses_nothing():
    alias = Alias(2)
    alias.broken[2] = Away("its artifact store does not answer")
    watch = alias.watch()
    watch.look()
    assert (watch.refused, watch.unreachable) == (None, "its artifact store does not answer")
    watch.look()
    assert [event for event, _ in alias.said] == ["registry"]
    alias.broken.clear()
    watch.look()
    assert (watch.found(), watch.unreachable) == (True, "")
    assert [fields["state"] for _, fields in alias.said] == ["unreachable", "reachable"]


def test_a_version_that_must_not_serve_is_refused_with_its_reason():
    alias = Alias(2)
    alias.broken[2] = ServingError("its scores are all alike\nand more")
    watch = alias.watch()
    watch.look()
    assert (watch.refused.version, watch.refused.reason) == (2, "its scores are all alike")
    assert not watch.found()
    assert alias.said == [("refused", {"version": 2, "reason": "its scores are all alike", "serving": 1})]


def test_a_refused_version_is_not_loaded_at_every_look():
    alias = Alias(2)
    alias.broken[2] = ServingError("broken")
    watch = alias.watch()
    for _ in range(5):
        watch.look()
    assert alias.loads == [2]
    assert len(alias.said) == 1


def test_a_refused_version_is_tried_again_later_and_then_after_twice_as_long():
    alias = Alias(2)
    alias.broken[2] = ServingError("not all there yet")
    watch = alias.watch(retry_after=0.02)
    watch.look()
    time.sleep(0.03)
    watch.look()
    assert alias.loads == [2, 2]
    assert watch.refused.pause == pytest.approx(0.04)
    alias.broken.clear()
    time.sleep(0.05)
    watch.look()
    assert watch.refused is None
    assert watch.found()


@pytest.mark.parametrize("good", [1, 3])
def test_a_good_version_under_the_alias_ends_the_refusal(good):
    alias = Alias(2)
    alias.broken[2] = ServingError("broken")
    watch = alias.watch()
    watch.look()
    alias.named = good
    watch.look()
    assert watch.refused is None


def test_an_alias_that_is_gone_is_a_refusal_and_not_a_dead_registry():
    alias = Alias(NoSuchAlias("no version is in Production"))
    watch = alias.watch()
    watch.look()
    assert watch.refused.reason == "no version is in Production"
    assert watch.unreachable == ""


def test_a_registry_that_goes_down_and_comes_back_is_told_once_each():
    alias = Alias(ConnectionError("refused"))
    watch = alias.watch()
    watch.look()
    watch.look()
    assert watch.unreachable == "refused"
    alias.named = 1
    watch.look()
    assert watch.unreachable == ""
    assert [fields["state"] for _, fields in alias.said] == ["unreachable", "reachable"]


def test_the_watching_thread_finds_what_is_new_and_ends_with_the_block():
    alias = Alias(1)
    with alias.watch() as watch:
        alias.named = 2
        end = time.monotonic() + 10
        while not watch.found():
            assert time.monotonic() < end
            time.sleep(0.005)
    assert not watch._thread.is_alive()


def test_a_start_waits_for_a_registry_that_comes_up(monkeypatch):
    monkeypatch.setattr("serving.runtime.watch.FIRST_WAIT_SECONDS", 0.001)
    answers = [ConnectionError("down"), ConnectionError("down"), 7]
    said = []

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await_server(ask, 60, lambda event, **fields: said.append(fields), threading.Event()) == 7
    assert [fields["state"] for fields in said] == ["unreachable", "unreachable"]


def test_the_waits_double(monkeypatch):
    monkeypatch.setattr("serving.runtime.watch.FIRST_WAIT_SECONDS", 0.001)
    said: list[float] = []

    def down() -> int:
        raise ConnectionError("down")

    with pytest.raises(StillAway, match=r"did not answer within 0\.05 s \(down\)"):
        await_server(down, 0.05, lambda event, **f: said.append(f["next_try_seconds"]), threading.Event())
    assert len(said) <= 8


def test_what_the_registry_answers_is_not_waited_for():
    def gone() -> int:
        raise NoSuchAlias("nothing in Production")

    with pytest.raises(NoSuchAlias):
        await_server(gone, 60, lambda event, **fields: None, threading.Event())


def test_a_store_that_is_away_is_waited_for():
    answers: list[Exception | int] = [Away("no answer"), 7]

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await_server(ask, 60, lambda event, **fields: None, threading.Event(), Away) == 7


def test_what_is_no_silence_is_raised_at_once():
    def broken() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await_server(broken, 60, lambda event, **fields: None, threading.Event(), Away)


def test_a_stop_ends_the_wait_for_a_registry():
    stop = threading.Event()
    stop.set()

    def down() -> int:
        raise ConnectionError("down")

    with pytest.raises(StopAsked):
        await_server(down, 3600, lambda event, **fields: None, stop)
