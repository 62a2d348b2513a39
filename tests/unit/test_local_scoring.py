"""Scoring Parquet files without Spark: files of several threads, what is left after an error, memory."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.compiled import local
from serving.compiled.errors import BadLead
from serving.compiled.local import marker, score_dataset, scored_batch
from serving.compiled.places import BadDataset, Place
from serving.compiled.scorer import CompiledScorer
from serving.ownership import lies_in
from serving.registry import ResolvedVersion
from tests.leads import small_contract
from tests.trees import by_hand

VERSION = ResolvedVersion("lead-scoring", 3, "", {})


def write_leads(folder: Path, *sizes: int) -> None:
    """A file of leads for each size, with ids of their own."""
    folder.mkdir(exist_ok=True)
    for number, size in enumerate(sizes):
        ids = pa.array([f"lead-{number}-{i}" for i in range(size)], pa.string())
        seconds = pa.array(np.arange(size) % 3 * 0.1, pa.float64())
        leads = pa.table({"LeadId": ids, "Seconds": seconds, "City": pa.array(["Mumbai"] * size, pa.string())})
        pq.write_table(leads, folder / f"{number}.parquet")


def write_file(folder: Path, name: str, **columns: pa.Array) -> None:
    """A file of one lead of the score 40, with some columns of other types."""
    folder.mkdir(exist_ok=True)
    lead = {"LeadId": pa.array(["a"]), "Seconds": pa.array([3.0]), "City": pa.array(["Mumbai"])}
    pq.write_table(pa.table({**lead, "Bought": pa.array([1], pa.int32()), **columns}), folder / name)


@pytest.fixture
def score(tmp_path):
    def score(threads: int = 2, batch_rows: int = 4) -> int:
        scorer, contract = CompiledScorer(by_hand()), small_contract()
        source, target = str(tmp_path / "leads"), str(tmp_path / "scores")
        return score_dataset(
            source, target, scorer, VERSION, contract, kind="scores", threads=threads, batch_rows=batch_rows
        )

    return score


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_every_lead_of_every_file_is_scored_once(score, tmp_path, threads):
    write_leads(tmp_path / "leads", 23, 0, 1, 40)
    assert score(threads) == 64
    written = pa.concat_tables([pq.read_table(part) for part in parts(tmp_path / "scores")])
    assert len(written) == len(set(written["LeadId"].to_pylist())) == 64
    assert set(written["probability"].to_pylist()) == {0.2, 0.4}


def test_no_file_holds_many_more_leads_than_it_may(score, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "ROWS_PER_FILE", 8)
    write_leads(tmp_path / "leads", 30)
    assert score(threads=1) == 30
    assert [part.name for part in parts(tmp_path / "scores")] == [f"part-0000{n}.snappy.parquet" for n in range(4)]
    assert [pq.read_metadata(part).num_rows for part in parts(tmp_path / "scores")] == [8, 8, 8, 6]


def test_files_without_leads_give_a_file_without_scores(score, tmp_path):
    write_leads(tmp_path / "leads", 0, 0)
    assert score() == 0
    (part,) = parts(tmp_path / "scores")
    assert pq.read_schema(part).names[:3] == ["LeadId", "score", "probability"]
    assert json.loads((tmp_path / "scores" / local.MARKER).read_text())["version"] == "3"


@pytest.mark.parametrize(
    "column",
    [
        {"City": pa.nulls(1)},
        {"Seconds": pa.nulls(1)},
        {"Bought": pa.nulls(1)},
        {"Seconds": pa.array([3], pa.int64())},
        {"Seconds": pa.array([Decimal("3.00")])},
        {"City": pa.array(["Mumbai"]).dictionary_encode()},
        {"LeadId": pa.array([7])},
    ],
)
@pytest.mark.parametrize("names", ["01", "10"])
def test_files_may_differ_in_the_types_of_their_columns(score, tmp_path, column, names):
    write_file(tmp_path / "leads", f"{names[0]}.parquet")
    write_file(tmp_path / "leads", f"{names[1]}.parquet", **column)
    assert score() == 2
    written = pa.concat_tables([pq.read_table(part) for part in parts(tmp_path / "scores")])
    assert written["score"].to_pylist() == [40.0, 40.0]
    assert written.schema.field("LeadId").type == pa.string()
    assert written.schema.field("Bought").type == pa.int32()


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"Seconds": pa.array(["3"])}, "Seconds is string, expected a number"),
        ({"City": pa.array([True])}, "City is bool, expected a string"),
        ({"LeadId": pa.array([1e7])}, "LeadId is double, expected a string"),
    ],
)
@pytest.mark.parametrize("name", ["0", "2"])
def test_a_file_with_a_column_of_a_wrong_type_is_named(score, tmp_path, column, said, name):
    write_file(tmp_path / "leads", "1.parquet")
    write_file(tmp_path / "leads", f"{name}.parquet", **column)
    with pytest.raises(BadLead, match=f"leads/{name}.parquet: .*{said}"):
        score()


def test_a_file_whose_label_cannot_be_read_as_that_of_the_others_is_named(score, tmp_path):
    write_file(tmp_path / "leads", "0.parquet")
    write_file(tmp_path / "leads", "1.parquet", Bought=pa.array(["won"]))
    with pytest.raises(BadDataset, match=r"leads/1\.parquet cannot be read"):
        score()


def test_an_error_in_one_thread_ends_all_and_leaves_nothing(score, tmp_path, monkeypatch):
    def failing(batch, *rest):
        if "lead-1-39" in batch["LeadId"].to_pylist():
            raise ZeroDivisionError("the last batch")
        return scored_batch(batch, *rest)

    monkeypatch.setattr(local, "scored_batch", failing)
    write_leads(tmp_path / "leads", 400, 40)
    with pytest.raises(ZeroDivisionError, match="the last batch"):
        score()
    assert [path.name for path in tmp_path.iterdir()] == ["leads"]


def test_scores_that_were_there_are_replaced(score, tmp_path):
    write_leads(tmp_path / "leads", 3)
    assert score() == 3
    write_leads(tmp_path / "leads", 5)
    assert score() == 5
    assert sum(pq.read_metadata(part).num_rows for part in parts(tmp_path / "scores")) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leads", "scores"]


@pytest.mark.parametrize("uri", ["gs://bucket/scores", "abfss://box@account.dfs.core.windows.net/scores"])
def test_an_output_where_no_folder_can_be_renamed_is_refused_before_anything_is_read(tmp_path, uri):
    with pytest.raises(BadDataset, match="engine=compiled"):
        marker(uri, "scores")
    with pytest.raises(BadDataset, match="engine=compiled"):
        score_dataset(str(tmp_path / "none"), uri, CompiledScorer(by_hand()), VERSION, small_contract(), kind="scores")


@pytest.mark.parametrize(
    "spelling", ["{}/in/scores", "file:{}/in/scores", "file://{}/in", "{}/out/../in", "{}/link/scores"]
)
def test_a_folder_within_another_is_known_however_it_is_spelt(tmp_path, spelling):
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    leads, inner = Place.of(str(tmp_path / "in")), Place.of(spelling.format(tmp_path))
    assert inner.lies_in(leads)
    assert not Place.of(str(tmp_path / "in-other")).lies_in(leads)


@pytest.mark.parametrize(
    ("inner", "outer", "nested"),
    [
        ("s3a://b/leads/scores", "s3://b/leads", True),
        ("s3://b/leads", "s3n://b/leads", True),
        ("s3a://b/leads-2", "s3a://b/leads", False),
        ("s3a://b/leads", "file:/b/leads", False),
    ],
)
def test_one_object_store_has_several_schemes(inner, outer, nested):
    assert lies_in(inner, outer) is nested


def test_a_large_file_is_never_held_whole(score, tmp_path, monkeypatch):
    rows, held = 400_000, []
    (tmp_path / "leads").mkdir()
    drawn = np.random.default_rng(7)
    ids = pa.array([f"{number:032x}" for number in drawn.integers(0, 1 << 62, rows)])
    leads = pa.table({"LeadId": ids, "Seconds": drawn.random(rows), "City": pa.nulls(rows, pa.string())})
    pq.write_table(leads, tmp_path / "leads" / "0.parquet", row_group_size=20_000)
    del ids, leads
    before = pa.total_allocated_bytes()

    def watched(batch, *rest):
        held.append(pa.total_allocated_bytes() - before)
        return scored_batch(batch, *rest)

    monkeypatch.setattr(local, "scored_batch", watched)
    assert score(threads=1, batch_rows=5_000) == rows
    assert max(held) < (tmp_path / "leads" / "0.parquet").stat().st_size / 3
