"""Events: ids, times, origins, and for every kind of dirt the reason why it is not scored."""

import json

import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.feature import SQLTransformer, StringIndexer, VectorAssembler
from pyspark.sql import Row, SparkSession

from features.contract import Contract
from features.contract_file import parse_yaml
from features.ingest import read_leads
from serving.errors import UNANSWERED
from serving.events import all_null, event_schema, events
from serving.registry import ResolvedVersion
from serving.scoring import NO_SCORE, SCORED_COLUMNS, scored_events
from serving.sources import no_events
from tests.arrivals import ARRIVED, at, small_arrivals
from tests.leads import SMALL, small_contract, small_leads
from tests.served import small_model

VERSION = ResolvedVersion("small", 7, "run", {})
GOOD = {"LeadId": "a", "Visits": 3, "Seconds": 10.5, "City": "Pune", "Bought": 1}


def with_visits(text: str) -> str:
    return f'{{"LeadId": "a", "Visits": {text}}}'


DIRTY = {
    "nothing": (None, "the event is empty"),
    "spaces": ("  ", "the event is empty"),
    "cut short": ('{"LeadId": "a"', "the event is not JSON"),
    "words": ("nonsense", "the event is not JSON"),
    "five thousand brackets": ("[" * 5000, "the event is not JSON"),
    "five thousand objects": ('{"a":' * 5000, "the event is not JSON"),
    "a list": ("[1]", "the event is no JSON object"),
    "a list of leads": (f"[{json.dumps(GOOD)}]", "the event is no JSON object"),
    "null": ("null", "the event is no JSON object"),
    "a number": ("5", "the event is no JSON object"),
    "two leads": (json.dumps(GOOD) * 2, "the event goes on after its JSON object"),
    "two leads and a comma": (f"{json.dumps(GOOD)},{json.dumps(GOOD)}", "the event is more than one JSON value"),
    "no id": ('{"Visits": 3}', "LeadId is missing"),
    "an id of spaces": ('{"LeadId": "  ", "Visits": 3}', "LeadId is missing"),
    "a long id": (json.dumps({**GOOD, "LeadId": "x" * 257}), "LeadId is longer than 256 characters"),
    "a long category": (json.dumps({**GOOD, "City": "x" * 257}), "City is longer than 256 characters"),
    "a NUL": (json.dumps({**GOOD, "LeadId": "a\0b"}), "LeadId holds a NUL character"),
    "text for a number": (with_visits('"many"'), "Visits is not a number"),
    "an object for a number": (with_visits('{"x": 1}'), "Visits is not a number"),
    "true for a number": (with_visits("true"), "Visits is not a number"),
    "a number with separators": (with_visits('"1,000"'), "Visits is written with separators"),
    "ten thousand separated digits": (with_visits(f'"1{",222" * 10_000}x"'), "Visits is not a number"),
    "NaN": (with_visits("NaN"), "Visits is not finite"),
    "-Infinity": (with_visits("-Infinity"), "Visits is not finite"),
    "too large for a double": (with_visits("1e400"), "Visits is not finite"),
    "out of range": (with_visits("1001"), "Visits is outside its limits -inf to 1000"),
    "two thousand digits": (with_visits("9" * 2000), "the event is not JSON"),
    "an object for a category": ('{"LeadId": "a", "City": {"x": 1}}', "City is an object or a list"),
    "a list for an id": ('{"LeadId": ["a"], "City": "Pune"}', "LeadId is an object or a list"),
    "no answers": ('{"LeadId": "a"}', UNANSWERED),
    "null answers": ('{"LeadId": "a", "Visits": null, "City": "Select", "Seconds": " "}', UNANSWERED),
    "a future time": (json.dumps({**GOOD, "event_time": "9999-01-01"}), "event_time is no ISO timestamp"),
    "no time": (json.dumps({**GOOD, "event_time": "soon"}), "event_time is no ISO timestamp"),
    "a long event id": (json.dumps({**GOOD, "event_id": "x" * 257}), "event_id is of no use"),
}
CLEAN = {
    "plain": json.dumps(GOOD),
    "source headers": '{"Lead Id": "b", "Visits": "3", "City": " Mumbai ", "Else": 1}',
    "own id and time": json.dumps({**GOOD, "event_id": "E1", "event_time": "2024-01-02T03:04:05+01:00"}),
    "milliseconds": json.dumps({**GOOD, "event_time": 1704164645006}),
    "a bracket": '{"LeadId": "a", "City": "[new] town"}',
    "an unknown label": json.dumps({**GOOD, "Bought": "perhaps"}),
    "a script": json.dumps({**GOOD, "LeadId": "<script>alert(1)</script>"}),
    "a statement": json.dumps({**GOOD, "LeadId": "'); DROP TABLE leads;--"}),
    "an unknown city": json.dumps({**GOOD, "City": "Atlantis"}),
}
CASES = [*((name, value) for name, (value, _) in DIRTY.items()), *CLEAN.items()]


@pytest.fixture(scope="module")
def small() -> Contract:
    return small_contract()


@pytest.fixture(scope="module")
def model(spark: SparkSession) -> PipelineModel:
    return small_model(spark)


@pytest.fixture(scope="module")
def scored(spark: SparkSession, small: Contract, model: PipelineModel) -> dict[str, Row]:
    """Every case through the whole plan, in one batch."""
    arrivals = small_arrivals(spark, [value for _, value in CASES])
    rows = scored_events(events(arrivals, small), model, VERSION, small).collect()
    return {CASES[row.position][0]: row for row in rows}


@pytest.fixture(scope="module")
def judged(spark: SparkSession, small: Contract) -> dict[str, Row]:
    """The clean cases as events."""
    rows = events(small_arrivals(spark, list(CLEAN.values())), small).collect()
    return {list(CLEAN)[row.position]: row for row in rows}


def test_no_arrival_is_lost(scored):
    assert len(scored) == len(CASES)


@pytest.mark.parametrize("case", DIRTY)
def test_a_dirty_event_has_its_reason_its_text_and_no_score(scored, case):
    value, reason = DIRTY[case]
    assert scored[case].reason.startswith(reason)
    assert (scored[case].raw, scored[case].score, scored[case].prediction) == (value, None, None)


@pytest.mark.parametrize("case", CLEAN)
def test_a_clean_event_has_a_score_and_keeps_no_text(scored, case):
    assert (scored[case].reason, scored[case].raw) == (None, None)
    assert 0 <= scored[case].score <= 100


def test_a_scored_event_has_these_columns(spark, small, scored):
    names = [*scored["plain"].asDict()]
    assert [n for n in names if n not in ("LeadId", "Bought")] == list(SCORED_COLUMNS)


def test_keys_may_be_names_or_source_headers(judged):
    row = judged["source headers"]
    assert (row.LeadId, row.Visits, row.City) == ("b", 3.0, "Mumbai")


def test_an_event_without_an_id_of_its_own_is_named_by_its_place_and_time(judged):
    assert judged["plain"].event_id == "leads-0-0-1772600767000"


def test_an_event_brings_its_own_id_and_time(judged):
    row = judged["own id and time"]
    assert (row.event_id, row.event_time) == ("E1", at("2024-01-02 02:04:05"))


def test_a_time_may_be_milliseconds(judged):
    assert judged["milliseconds"].event_time == at("2024-01-02 03:04:05.006")


def test_an_event_without_a_time_has_that_of_its_arrival(judged):
    assert judged["plain"].event_time == at(ARRIVED)


def test_a_label_is_carried_and_an_unknown_word_is_none(judged):
    assert (judged["plain"].Bought, judged["an unknown label"].Bought) == (1, None)


def test_names_that_look_like_code_stay_text(judged):
    assert judged["a script"].LeadId == "<script>alert(1)</script>"
    assert judged["a statement"].LeadId == "'); DROP TABLE leads;--"


def test_an_unknown_category_is_scored_and_counted(scored):
    assert (scored["an unknown city"].unknown_categories, scored["plain"].unknown_categories) == (1, 0)


def test_an_unknown_category_is_counted_by_an_indexer_of_one_column(spark, small):
    indexer = StringIndexer(inputCol="City", outputCol="place", handleInvalid="keep")
    assembler = VectorAssembler(inputCols=["place", "Visits"], outputCol="features", handleInvalid="keep")
    forest = RandomForestClassifier(labelCol="Bought", numTrees=1, maxDepth=1)
    model = Pipeline(stages=[indexer, assembler, forest]).fit(small_leads(spark))
    arrivals = small_arrivals(spark, [CLEAN["an unknown city"]])
    assert scored_events(events(arrivals, small), model, VERSION, small).first().unknown_categories == 1


def test_every_row_has_a_time_of_its_own(spark, small, model):
    arrivals = small_arrivals(spark, [json.dumps(GOOD)] * 3000).coalesce(1)
    times = [r.scored_at for r in scored_events(events(arrivals, small), model, VERSION, small).collect()]
    assert len(set(times)) > 1


def test_a_lead_without_an_answer_that_the_model_asks_for_is_refused(spark, small, model):
    only_tag = small_arrivals(spark, ['{"LeadId": "a", "Tag": "won"}'])
    row = scored_events(events(only_tag, small), model, VERSION, small).first()
    assert row.reason == UNANSWERED


def test_the_plan_needs_no_python(spark, small, model):
    plan = scored_events(events(small_arrivals(spark, ["{}"]), small), model, VERSION, small)
    assert "Python" not in plan._jdf.queryExecution().executedPlan().toString()


def test_the_json_is_parsed_once(spark, small, model):
    plan = scored_events(events(small_arrivals(spark, ["{}"]), small), model, VERSION, small)
    assert plan._jdf.queryExecution().optimizedPlan().toString().count("from_json") == 1


def test_keys_that_differ_in_case_alone_are_told_apart(spark):
    contract = parse_yaml(SMALL.replace("source: City", "source: city"), Contract, "small.yaml")
    rows = events(small_arrivals(spark, ['{"LeadId": "a", "city": "x"}', '{"LeadId": "a", "City": "y"}']), contract)
    assert sorted(r.City for r in rows.collect()) == ["x", "y"]


def test_the_same_words_are_judged_alike_in_a_csv_and_in_an_event(spark, small, tmp_path):
    words = ["3", "1e3", "1001", "many", "NaN", " 4 ", "Infinity", "1,000"]
    quoted = [f'id-{i},{i},1,"{w}",1,Pune,' for i, w in enumerate(words)]
    (tmp_path / "leads.csv").write_text("\n".join(["Lead Id,Number,Bought,Visits,Seconds,City,Tag", *quoted]))
    by_csv = {r.raw.split(",")[0]: r.reason for r in read_leads(spark, str(tmp_path), small).quarantined.collect()}
    values = [json.dumps({"LeadId": f"id-{i}", "Visits": w, "City": "Pune"}) for i, w in enumerate(words)]
    by_event = {r.LeadId: r.reason for r in events(small_arrivals(spark, values), small).collect() if r.reason}
    assert by_event == by_csv


def test_parquet_files_of_events_may_leave_out_any_field(small):
    assert all(field.nullable for field in event_schema(small).fields)
    assert event_schema(small).fieldNames() == [*(f.name for f in small.kept), "event_id", "event_time"]


def test_none_of_no_columns_is_answered(spark):
    assert spark.range(1).select(all_null([]).alias("x")).first().x


def test_a_score_that_is_no_number_is_refused(spark, small, model):
    broken = SQLTransformer(statement="SELECT *, double('NaN') AS calibrated FROM __THIS__")
    arrivals = small_arrivals(spark, [json.dumps(GOOD)])
    row = scored_events(events(arrivals, small), PipelineModel([*model.stages, broken]), VERSION, small).first()
    assert (row.reason, row.score) == (NO_SCORE, None)


def test_what_warms_up_a_stream_is_no_event(spark, small):
    assert [r.reason for r in events(no_events(spark), small).collect()] == ["the event is not JSON: 'no event 0'"]
