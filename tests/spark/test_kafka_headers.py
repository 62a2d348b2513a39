"""What an event's record says of it in its headers."""

import pytest

from serving.kafka import header

HEADERS = "headers array<struct<key:string,value:binary>>"
CASES = {
    "named": ([("event_id", b"a"), ("other", b"b")], "a"),
    "named twice: the last holds": ([("event_id", b"a"), ("other", b"b"), ("event_id", b"c")], "c"),
    "not named": ([("other", b"b")], None),
    "none": ([], None),
    "not read": (None, None),
    "no UTF-8": ([("event_id", b"\xff")], None),
    "without a value": ([("event_id", None)], None),
}


@pytest.fixture(scope="module")
def found(spark):
    rows = spark.createDataFrame([(headers,) for headers, _ in CASES.values()], HEADERS)
    return dict(zip(CASES, (row[0] for row in rows.select(header("event_id")).collect()), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_an_event_id_is_read_from_the_headers(found, case):
    assert found[case] == CASES[case][1]
