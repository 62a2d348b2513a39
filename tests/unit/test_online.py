"""Single leads by the compiled scorer: answers, refusals, and a version that takes over between two requests."""

import asyncio
import json
from dataclasses import replace

import pytest
from prometheus_client import generate_latest

from features.contract import Kind
from serving import online as module
from serving.compiled.scorer import CompiledScorer
from serving.errors import UnfitVersion
from serving.online import MOST_LEADS, Online, OtherFields, app, ready
from serving.registry import ResolvedVersion
from serving.runtime.watch import Served, Watch
from tests.forests import a_stump

ID = "ProspectID"


def version(number: int) -> ResolvedVersion:
    return ResolvedVersion("m", number, "run", {})


@pytest.fixture(scope="module")
def fields(contract):
    return contract.feature_set("available")


@pytest.fixture
def lead(fields):
    return {f.name: 1.0 if f.kind is Kind.NUMERIC else "No" for f in fields} | {"TotalBrowsingTime": 1200}


@pytest.fixture
def online(fields, contract):
    return Online(Served(version(3), a_stump(fields)), contract)


def asked(online, body, **options):
    code, answer = online.answer(body if isinstance(body, bytes) else json.dumps(body).encode(), **options)
    return code, json.loads(answer)


def test_a_lead_is_answered_with_its_score_id_and_version(online, lead):
    assert asked(online, lead | {ID: "a1"}) == (
        200,
        {ID: "a1", "score": 75.0, "probability": 0.75, "prediction": 1, "grade": None, "model_version": 3},
    )


def test_a_list_is_answered_in_its_order(online, lead):
    code, answers = asked(online, [lead, lead | {"TotalBrowsingTime": 5}])
    assert (code, [a["score"] for a in answers]) == (200, [75.0, 25.0])


def test_reasons_are_told_when_asked_for(online, lead):
    code, answer = asked(online, lead | dict.fromkeys(("City", "Country")), reasons=True)
    assert (code, [r["field"] for r in answer["reasons"]]) == (200, ["TotalBrowsingTime"])


def test_a_number_beyond_64_bits_has_its_reasons_too(fields, contract, lead):
    compiled = a_stump(fields).compiled
    free = [i.model_copy(update={"maximum": float("inf")}) for i in compiled.description.inputs]
    description = compiled.description.model_copy(update={"inputs": tuple(free)})
    online = Online(Served(version(3), CompiledScorer(replace(compiled, description=description))), contract)
    code, answer = asked(online, lead | {"TotalBrowsingTime": 10**30}, reasons=True)
    assert (code, [r["field"] for r in answer["reasons"]]) == (200, ["TotalBrowsingTime"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"City": 5}, "City is 5 (int), expected text or null"),
        ({"TotalVisits": -1}, "TotalVisits is -1, expected 0 to 100000 or null"),
        ({"TotalVisits": 10**400}, "TotalVisits is inf, expected 0 to 100000 or null"),
        ({"Citty": "x"}, "Citty is no field of the model"),
    ],
)
def test_a_lead_that_the_contract_refuses_is_named_and_answered_with_400(online, lead, change, said):
    code, answer = asked(online, lead | change)
    assert (code, said in answer["error"]) == (400, True), answer


@pytest.mark.parametrize("city", [None, "", "Select", " Select\u00a0"])
def test_a_lead_without_any_answer_is_refused_as_in_the_stream(online, fields, city):
    code, answer = asked(online, dict.fromkeys((f.name for f in fields), None) | {"City": city, ID: "a1"})
    assert (code, answer["error"][:23]) == (400, "no feature was answered")


def test_the_refused_lead_of_a_list_is_named_by_its_place(online, lead):
    code, answer = asked(online, [lead, lead | {"City": 5}])
    assert (code, answer["error"][:8]) == (400, "lead 1: ")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"3", b'"a"', b"null", b"[1]", b'{"TotalVisits": NaN}'])
def test_a_body_that_is_no_lead_is_answered_with_400(online, body):
    code, answer = asked(online, body)
    assert code == 400
    assert answer["error"]


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"City":' * 500 + b"1" + b"}" * 500])
def test_a_body_that_is_nested_deeply_is_answered_with_400(online, body):
    assert asked(online, body)[0] == 400


@pytest.mark.parametrize("reasons", [False, True])
def test_half_a_character_is_no_text(online, lead, reasons):
    code, answer = asked(online, lead | {"City": "\ud800"}, reasons=reasons)
    assert (code, "City is '\\ud800' (str), expected text" in answer["error"]) == (400, True), answer


def test_a_fault_of_ours_is_answered_with_500_counted_and_told_in_one_line(fields, lead, contract, monkeypatch):
    said = []
    online = Online(
        Served(version(3), a_stump(fields)), contract, say=lambda event, **told: said.append((event, told["error"]))
    )
    monkeypatch.setattr("tests.forests.CompiledScorer.score_one", lambda self, lead: 1 / 0)
    code, answer = asked(online, lead)
    assert (code, "the log" in answer["error"]) == (500, True)
    assert said == [("failed", "ZeroDivisionError: division by zero")]
    assert 'answers_total{code="500"} 1.0' in generate_latest(online.registry).decode()


def sent(online, *messages) -> list[dict]:
    """What the app sends to a request of which these messages arrive, and then nothing more."""
    arriving, found = list(messages), []

    async def receive() -> dict:
        return arriving.pop(0) if arriving else await asyncio.Event().wait()

    async def send(message: dict) -> None:
        found.append(message)

    scope = {"type": "http", "method": "POST", "path": "/score", "query_string": b"", "headers": []}
    asyncio.run(app(online)(scope, receive, send))
    return found


def test_a_body_that_does_not_arrive_is_answered_with_408(online, monkeypatch):
    monkeypatch.setattr(module, "BODY_S", 0.01)
    answer = sent(online, {"type": "http.request", "body": b"{", "more_body": True})
    assert answer[0]["status"] == 408
    assert b"did not arrive" in answer[1]["body"]
    assert 'answers_total{code="408"} 1.0' in generate_latest(online.registry).decode()


def test_a_client_that_goes_away_leaves_no_trace(online):
    sent(online, {"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"})
    assert "answers_total{" not in generate_latest(online.registry).decode()


def test_too_many_leads_at_once_are_answered_with_413(online):
    assert asked(online, [{}] * (MOST_LEADS + 1))[0] == 413


def test_answers_are_counted_by_status(online, lead):
    asked(online, lead)
    asked(online, b"{")
    said = generate_latest(online.registry).decode()
    assert 'answers_total{code="200"} 1.0' in said
    assert 'answers_total{code="400"} 1.0' in said


def test_a_promoted_version_answers_the_next_request(fields, lead, contract):
    def new(named):
        return Served(named, a_stump(fields, high=0.5))

    watch = Watch(lambda: version(4), new, version(3), 1, lambda *a, **k: None)
    online = Online(Served(version(3), a_stump(fields)), contract, watch)
    assert asked(online, lead)[1]["model_version"] == 3
    watch.look()
    assert asked(online, lead)[1]["model_version"] == 4
    assert asked(online, lead)[1]["probability"] == 0.5


def test_a_refused_version_is_visible_and_the_last_one_answers(fields, lead, contract):
    def broken(named):
        raise UnfitVersion("gives nan")

    watch = Watch(lambda: version(4), broken, version(3), 1, lambda *a, **k: None)
    online = Online(Served(version(3), a_stump(fields)), contract, watch)
    watch.look()
    assert asked(online, lead)[1]["model_version"] == 3
    assert online.status()["refused"] == {"version": 4, "reason": "gives nan"}


def test_a_version_that_gives_no_probability_is_not_ready(fields, monkeypatch):
    monkeypatch.setattr(module, "load_compiled", lambda v: a_stump(fields))
    monkeypatch.setattr("tests.forests.CompiledScorer.score_one", lambda self, lead: {"probability": float("nan")})
    with pytest.raises(UnfitVersion, match="version 4 gives nan"):
        ready(version(4))


def test_a_version_of_other_fields_is_not_ready_and_they_are_named(fields, monkeypatch):
    monkeypatch.setattr(module, "load_compiled", lambda v: a_stump([f for f in fields if f.name != "City"]))
    with pytest.raises(OtherFields, match=r"\(City\)"):
        ready(version(4), a_stump(fields))
