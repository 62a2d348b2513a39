"""Files as a stream: good ones are scored once, unreadable ones named as dead letters, and none ends the query."""

import gzip
import json
import random
import re
import shutil
from pathlib import Path

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.ml import PipelineModel

from features.storage import Storage
from serving.csv_source import MOST_CSV_BYTES, UnfitCsv
from serving.dead_letters import DeadLetterFolder, DeadLetterSink
from serving.events import events
from serving.file_account import FileAccount
from serving.lake import LakeSink
from serving.registry import ResolvedVersion
from serving.scoring import scored_events
from serving.sources import FileFormat, FileOptions, arrivals, file_arrivals
from tests.leads import small_contract, small_leads
from tests.served import small_model, write_files


@pytest.fixture(scope="module")
def model(spark) -> PipelineModel:
    return small_model(spark)


@pytest.fixture
def run(spark, model, tmp_path):
    """Everything that a folder holds through the lake and the dead letters, as a stream of its own."""

    def to_end(kind: str, max_files: int = 20, meanwhile=lambda: None):
        source, contract = FileOptions(folder=str(tmp_path / "in"), format=kind, max_files=max_files), small_contract()
        checkpoint, storage = str(tmp_path / "checkpoint"), Storage(spark)
        account = FileAccount(spark, source, contract, checkpoint)
        lake = LakeSink(storage, str(tmp_path / "lake"), "q")
        dead = DeadLetterSink(DeadLetterFolder(storage, str(tmp_path / "dead"), "q"), "q", account)

        def write(batch, number):
            kept = batch.persist()
            lake.write(kept, number)
            meanwhile()
            dead.write(kept, number)
            kept.unpersist()

        plan = scored_events(
            events(arrivals(spark, source, contract), contract), model, ResolvedVersion("m", 1, "r", {}), contract
        )
        stream = plan.writeStream.foreachBatch(write).option("checkpointLocation", checkpoint)
        stream.trigger(availableNow=True).start().awaitTermination()

    return to_end


def scores(spark, tmp_path):
    return spark.read.parquet(str(tmp_path / "lake")).collect() if (tmp_path / "lake").exists() else []


def letters(spark, tmp_path):
    found = spark.read.parquet(str(tmp_path / "dead")).collect()
    return {Path(r.origin).name if r.kind == "files" else r.raw: r.reason for r in found}


def fill(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_poison_among_parquet_files_is_named_and_the_others_are_scored(spark, run, tmp_path):
    source = tmp_path / "in"
    write_files(small_leads(spark, 30), source, 3)
    good = next(source.glob("*.parquet")).read_bytes()
    fill(
        source,
        {"zero.parquet": b"", "cut.parquet": good[: len(good) // 2], "words.txt": b"hello", "odd b%20+.parquet": good},
    )
    spark.sql("select 'x' LeadId, 'many' Visits").coalesce(1).write.parquet(str(tmp_path / "wrong"))
    shutil.move(next((tmp_path / "wrong").glob("*.parquet")), source / "wrong-type.parquet")
    small_leads(spark, 1).where("false").coalesce(1).write.parquet(str(tmp_path / "none"))
    shutil.move(next((tmp_path / "none").glob("*.parquet")), source / "no-rows.parquet")
    run("parquet", max_files=3)
    assert len(scores(spark, tmp_path)) == 40
    named = letters(spark, tmp_path)
    assert set(named) == {"zero.parquet", "cut.parquet", "words.txt", "wrong-type.parquet"}
    assert named["cut.parquet"].startswith("the file is no Parquet")
    assert named["wrong-type.parquet"].startswith("only 0 of 1 rows can be read")


def test_an_event_of_a_file_is_named_by_file_lead_and_content(spark, run, tmp_path):
    write_files(small_leads(spark, 3), tmp_path / "in", 1)
    run("parquet")
    ids = [r.event_id.rsplit("/", 1)[0] for r in scores(spark, tmp_path)]
    assert sorted(ids) == [f"part-000.parquet/lead-{i:05d}" for i in range(3)]


def test_an_empty_folder_is_watched(spark, run, tmp_path):
    (tmp_path / "in").mkdir()
    run("parquet")
    write_files(small_leads(spark, 3), tmp_path / "in", 1)
    run("parquet")
    assert len(scores(spark, tmp_path)) == 3


def test_a_line_of_json_is_told_by_its_number(spark, run, tmp_path):
    line = json.dumps({"LeadId": "a", "Visits": 3}).encode()
    fill(tmp_path / "in", {"a.json": b"\n".join([line, b"", b"nonsense", line])})
    run("json")
    assert [r.position for r in spark.read.parquet(str(tmp_path / "dead")).collect()] == [2]
    assert sorted(r.position for r in scores(spark, tmp_path)) == [0, 3]


def test_lines_of_a_file_in_several_parts_keep_their_order(spark, tmp_path):
    lines = [json.dumps({"LeadId": f"{n:05d}", "Visits": 3}).encode() for n in range(60_000)]
    fill(tmp_path / "in", {"a.json": b"\n".join(lines), "b.json": b"{}"})
    spark.conf.set("spark.sql.files.maxPartitionBytes", 2**20)
    try:
        files = FileOptions(folder=str(tmp_path / "in"), format="json")
        rows = file_arrivals(spark.read, files, small_contract()).where("file = 'a.json'")
        assert rows.rdd.getNumPartitions() > 1
        ids = [json.loads(r.value)["LeadId"] for r in rows.orderBy("position").select("value").collect()]
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
    assert ids == sorted(ids)


def test_json_lines_are_events_and_dirt_is_told_by_line(spark, run, tmp_path):
    good = json.dumps({"LeadId": "a", "Visits": 3}).encode()
    cut = gzip.compress(b"\n".join([good] * 2000))[:-30]
    fill(
        tmp_path / "in",
        {"a.json": good + b"\n\nnonsense\n" + good.replace(b'a"', b'b\xff"', 1), "zero.json": b"", "cut.json.gz": cut},
    )
    run("json")
    assert "a" in {r.LeadId for r in scores(spark, tmp_path)}
    named = letters(spark, tmp_path)
    assert named["zero.json"] == "the file holds no event"
    assert named["nonsense"].startswith("the event is not JSON")
    assert named["cut.json.gz"].startswith("the file can")
    assert "the event is not UTF-8" in named.values()


def test_csv_columns_are_found_by_header_in_each_file(spark, run, tmp_path):
    first = '\ufeffLead Id,Visits,Else,City\r\n"a, b",3,x,"Pu""ne"\r\n\r\nc,4\r\nd,5,y,"open\r\n'
    fill(tmp_path / "in", {"a.csv": first.encode(), "b.csv": b"City,LeadId\nMumbai,e\n", "zero.csv": b""})
    run("csv")
    assert sorted(r.LeadId for r in scores(spark, tmp_path)) == ["a, b", "e"]
    named = letters(spark, tmp_path)
    assert named["c,4"].startswith("too few values: 2 under 4 headers")
    assert named['d,5,y,"open'].startswith("a quote is not closed")
    assert named["zero.csv"] == "the file holds no event"


LINES = b'{"LeadId": "a", "Visits": 3}\n{"LeadId": "b", "Visits": 4}\n'
ZIPPED = gzip.compress(LINES * 3000)
UNSTEADY = {
    "a line more": ("json", "a.json", LINES[:29], LINES),
    "no byte yet": ("json", "a.json", b"", LINES),
    "half a compressed file": ("json", "a.json.gz", ZIPPED[: len(ZIPPED) // 2], ZIPPED),
    "a row of CSV more": ("csv", "a.csv", b"LeadId,Visits\na,3\n", b"LeadId,Visits\na,3\nb,4\n"),
}


@pytest.mark.parametrize("case", UNSTEADY)
def test_a_file_that_holds_more_once_its_batch_was_read_ends_the_batch(run, tmp_path, case):
    kind, name, early, whole = UNSTEADY[case]
    fill(tmp_path / "in", {name: early, "b.json": LINES} if kind == "json" else {name: early})
    with pytest.raises(StreamingQueryException, match="SourceUnsteady"):
        run(kind, meanwhile=lambda: fill(tmp_path / "in", {name: whole}))


def test_a_csv_file_beyond_the_limit_is_named_and_not_read(spark, run, tmp_path):
    fill(tmp_path / "in", {"long.csv": b"LeadId\nb" + b"\n" * MOST_CSV_BYTES, "a.csv": b"LeadId,Visits\na,3\n"})
    run("csv")
    assert [r.LeadId for r in scores(spark, tmp_path)] == ["a"]
    assert letters(spark, tmp_path)["long.csv"].startswith("the file has 33,554,440 bytes; a CSV file")


LEAD = json.dumps({"LeadId": "a", "Visits": 3}).encode()
BEYOND = {
    "long.json": (LEAD + b" " * 1000 + b"x", "a JSON file of a stream may have 1,000"),
    "long.json.gz": (
        gzip.compress(random.Random(0).randbytes(600), 0),
        "a compressed JSON file of a stream may have 500",
    ),
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_json_file_beyond_the_limit_is_named_and_not_read(spark, run, tmp_path, monkeypatch, name):
    for room in ("sources", "file_account"):
        monkeypatch.setattr(f"serving.{room}.MOST_JSON_BYTES", 1000)
        monkeypatch.setattr(f"serving.{room}.MOST_PACKED_BYTES", 500)
    long, said = BEYOND[name]
    fill(tmp_path / "in", {name: long, "a.json": LEAD, "b.json.gz": gzip.compress(LEAD)})
    run("json")
    assert len(scores(spark, tmp_path)) == 2
    # Were it read, its one line would be an event that is refused.
    assert letters(spark, tmp_path) == {name: f"the file has {len(long):,} bytes; {said}. Split it, or write Parquet"}


def test_a_line_of_json_beyond_the_limit_is_named_and_not_parsed(spark, run, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.sources.MOST_EVENT_BYTES", 1000)
    long = json.dumps({"LeadId": "long", "City": "x" * 2000}).encode()
    fill(tmp_path / "in", {"a.json": b"\n".join([LEAD, b"", long, LEAD])})
    run("json")
    assert len(scores(spark, tmp_path)) == 2
    (letter,) = spark.read.parquet(str(tmp_path / "dead")).collect()
    assert (letter.kind, letter.raw, letter.position) == ("refused", None, 2)
    assert letter.reason == f"the event is too long: {len(long):,} bytes, at most 1,000"


def test_a_line_of_csv_is_parsed_once_and_carries_no_other_line(spark, tmp_path):
    fill(tmp_path / "in", {"a.csv": b"LeadId,Visits\na,3\n"})
    source = FileOptions(folder=str(tmp_path / "in"), format=FileFormat.CSV)
    plan = str(file_arrivals(spark.read, source, small_contract())._jdf.queryExecution().executedPlan())
    assert plan.count("from_csv(") == len(["the header", "a line"])
    assert re.search(r"Generate posexplode\(lines#\d+\), \[about#\d+, places#\d+, headers#\d+\]", plan)


def test_csv_over_several_lines_is_refused_at_the_start(spark, tmp_path):
    contract = small_contract()
    wide = contract.model_copy(update={"csv": contract.csv.model_copy(update={"multiline": True})})
    (tmp_path / "in").mkdir()
    with pytest.raises(UnfitCsv, match="JSON lines"):
        arrivals(spark, FileOptions(folder=str(tmp_path / "in"), format=FileFormat.CSV), wide)


def test_a_row_of_parquet_beyond_the_limit_is_named_and_not_parsed(spark, run, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.sources.MOST_EVENT_BYTES", 1000)
    rows = [("a", "Pune"), ("long", "x" * 2000), ("b", "Pune")]
    spark.createDataFrame(rows, "LeadId string, City string").coalesce(1).write.parquet(str(tmp_path / "in"))
    run("parquet")
    assert {row.LeadId for row in scores(spark, tmp_path)} == {"a", "b"}
    (letter,) = spark.read.parquet(str(tmp_path / "dead")).collect()
    assert (letter.kind, letter.raw, letter.position) == ("refused", None, 1)
    assert letter.reason == "the event is too long: 2,004 bytes, at most 1,000"
