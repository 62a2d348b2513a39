"""The sample generator: the real CSV's shape, numbers that agree with each other, and a profile of counts alone."""

import csv
import hashlib
import json
import re
import time
import uuid
from itertools import pairwise
from pathlib import Path

import pytest

from features.sample import (
    FLOOR,
    HEADER,
    ID,
    INDEXES,
    LABEL,
    NUMBER,
    PAGES,
    SCORES,
    SECONDS,
    VISITS,
    SampleError,
    build_profile,
    load_profile,
    sample_rows,
    save_profile,
    write_sample,
)
from pipelines.sample_profile import read_profile

SHIPPED = Path(__file__).resolve().parents[2] / "conf" / "sample_profile.json"


@pytest.fixture(scope="module")
def profile():
    return load_profile(SHIPPED)


@pytest.fixture(scope="module")
def leads(profile):
    return as_dicts(profile, 9240, seed=7)


@pytest.fixture(scope="module")
def small(profile):
    return as_dicts(profile, 600, seed=3)


def as_dicts(profile, n, seed):
    return [dict(zip(HEADER, row, strict=True)) for row in sample_rows(profile, n, seed)]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def changed(tmp_path, change):
    stored = json.loads(SHIPPED.read_text(encoding="utf-8"))
    change(stored)
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(stored), encoding="utf-8")
    return path


def leaves(node):
    if "yes" in node:
        return leaves(node["yes"]) + leaves(node["no"])
    return [node]


def test_the_header_holds_every_source_column_of_the_contract(contract):
    everything = [contract.id, contract.order, contract.label, *contract.features]
    assert {field.source for field in everything} <= set(HEADER)


def test_the_header_has_37_different_columns():
    assert len(set(HEADER)) == len(HEADER) == 37


def test_the_same_seed_writes_the_same_bytes(profile, tmp_path):
    assert digest(write_sample(tmp_path / "a.csv", profile, 500)) == digest(
        write_sample(tmp_path / "b.csv", profile, 500)
    )


def test_another_seed_writes_other_leads(profile, tmp_path):
    first, second = (write_sample(tmp_path / f"{seed}.csv", profile, 500, seed) for seed in (1, 2))
    assert digest(first) != digest(second)


def test_the_file_has_a_header_and_9240_leads_within_3_seconds(profile, tmp_path):
    began = time.perf_counter()
    path = write_sample(tmp_path / "sample.csv", profile)
    took = time.perf_counter() - began
    with path.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    assert (tuple(header), len(rows), took < 3) == (HEADER, 9240, True)


def test_a_word_with_a_comma_is_read_back_whole(profile, tmp_path, leads):
    path = write_sample(tmp_path / "sample.csv", profile)
    with path.open(encoding="utf-8", newline="") as lines:
        assert list(csv.DictReader(lines)) == leads


def test_lead_numbers_fall_from_row_to_row(leads):
    numbers = [int(lead[NUMBER]) for lead in leads]
    assert all(newer > older for newer, older in pairwise(numbers))


def test_every_prospect_id_is_a_uuid_of_its_own(leads):
    assert len({uuid.UUID(lead[ID]) for lead in leads if uuid.UUID(lead[ID]).version == 4}) == len(leads)


def test_a_lead_without_visits_has_no_seconds_and_no_pages(leads):
    assert {(lead[SECONDS], lead[PAGES]) for lead in leads if lead[VISITS] == "0"} == {("0", "0")}


def test_a_lead_with_visits_has_seconds_and_pages(leads):
    assert all(lead[SECONDS] != "0" and lead[PAGES] != "0" for lead in leads if lead[VISITS] not in ("", "0"))


def test_visits_and_pages_are_missing_together(leads):
    assert {lead[PAGES] for lead in leads if lead[VISITS] == ""} == {""}


def test_pages_per_visit_never_exceed_visits(leads):
    assert all(float(lead[PAGES]) <= int(lead[VISITS]) for lead in leads if lead[VISITS])


def test_numbers_are_written_as_in_the_real_file(leads):
    assert all(re.fullmatch(r"\d*", lead[VISITS]) and re.fullmatch(r"\d+", lead[SECONDS]) for lead in leads)
    assert all(re.fullmatch(r"|\d+(\.\d?[1-9])?", lead[PAGES]) for lead in leads)


@pytest.mark.parametrize(("index", "score"), list(zip(INDEXES, SCORES, strict=True)))
def test_a_score_has_one_index(leads, index, score):
    bands = {}
    for lead in leads:
        bands.setdefault(lead[score], set()).add(lead[index])
    assert bands[""] == {""}
    assert {len(found) for found in bands.values()} == {1}


def test_unanswered_fields_are_written_in_both_ways(leads):
    assert {"", "Select"} <= {lead["City"] for lead in leads}


def test_the_conversion_rate_is_near_that_of_the_real_leads(leads):
    assert sum(lead[LABEL] == "1" for lead in leads) / len(leads) == pytest.approx(0.385, abs=0.02)


def test_about_one_lead_in_eight_repeats_another_in_all_but_its_ids(leads):
    kept = {tuple(word for name, word in lead.items() if name not in (ID, NUMBER)) for lead in leads}
    assert 0.09 < 1 - len(kept) / len(leads) < 0.17


@pytest.mark.parametrize(("n", "seed"), [(0, 1), (5, -1)])
def test_an_impossible_request_is_refused_before_any_row(profile, n, seed):
    with pytest.raises(SampleError, match=f"asked for {n} leads with seed {seed}"):
        sample_rows(profile, n, seed)


def test_a_refused_write_leaves_the_earlier_file_alone(profile, tmp_path):
    path = write_sample(tmp_path / "sample.csv", profile, 10)
    before = digest(path)
    with pytest.raises(SampleError):
        write_sample(path, profile, 0)
    assert ([p.name for p in tmp_path.iterdir()], digest(path)) == (["sample.csv"], before)


def test_a_single_lead_can_be_drawn(profile):
    assert [len(row) for row in sample_rows(profile, 1, seed=0)] == [37]


def test_the_shipped_profile_is_under_200_kb():
    assert SHIPPED.stat().st_size < 200_000


def test_no_count_of_the_shipped_profile_is_under_the_floor():
    columns = json.loads(SHIPPED.read_text(encoding="utf-8"))["columns"]
    nodes = [leaf for column in columns for leaf in leaves(column["tree"])]
    counts = [count for node in nodes for _, count in node["counts"]] + [n["rest"] for n in nodes if "rest" in n]
    counts += [count for column in columns for _, count in column.get("tail", [])]
    assert min(counts) >= FLOOR


def test_the_shipped_profile_holds_no_prospect_id():
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", SHIPPED.read_text(encoding="utf-8"))


def test_a_profile_survives_saving_and_loading(profile, tmp_path):
    assert load_profile(save_profile(tmp_path / "p.json", profile)) == profile


def test_a_missing_profile_says_how_to_rebuild_it(tmp_path):
    with pytest.raises(SampleError, match=r"none\.json cannot be read.*python -m pipelines\.sample_profile --csv PATH"):
        load_profile(tmp_path / "none.json")


def test_a_profile_that_is_not_json_is_refused(tmp_path):
    path = tmp_path / "p.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(SampleError, match=r"p\.json: the file: Invalid JSON"):
        load_profile(path)


def test_a_profile_with_a_count_under_the_floor_is_refused(tmp_path):
    path = changed(tmp_path, lambda stored: leaves(stored["columns"][0]["tree"])[0]["counts"][0].__setitem__(1, 4))
    with pytest.raises(SampleError, match="greater than or equal to 5"):
        load_profile(path)


def test_a_profile_with_an_unknown_key_is_refused(tmp_path):
    with pytest.raises(SampleError, match="rows: Extra inputs are not permitted"):
        load_profile(changed(tmp_path, lambda stored: stored.update(rows=[])))


def test_a_tree_that_asks_for_a_later_column_is_refused(tmp_path):
    path = changed(tmp_path, lambda stored: stored["columns"][1]["tree"].update(column="City", code=0))
    with pytest.raises(SampleError, match="Lead Number asks for 'City' code 0, which is not drawn before it"):
        load_profile(path)


def test_a_code_beyond_the_words_is_refused(tmp_path):
    path = changed(tmp_path, lambda stored: leaves(stored["columns"][0]["tree"])[0]["counts"][0].__setitem__(0, 2))
    with pytest.raises(SampleError, match=r"Converted counts a code outside 0 \.\. 1"):
        load_profile(path)


def test_a_profile_does_not_depend_on_the_order_of_the_rows(small):
    assert build_profile(small) == build_profile(reversed(small))


def test_a_word_of_fewer_leads_than_the_floor_is_left_out(small):
    rows = [lead | {"City": "Atlantis"} if place < FLOOR - 1 else lead for place, lead in enumerate(small)]
    assert "Atlantis" not in build_profile(rows).model_dump_json()


def test_a_word_of_as_many_leads_as_the_floor_is_kept(small):
    rows = [lead | {"City": "Atlantis"} if place < FLOOR else lead for place, lead in enumerate(small)]
    assert "Atlantis" in build_profile(rows).model_dump_json()


def test_a_dependency_on_the_label_is_learnt(small):
    rows = [lead | {"Search": "Yes" if lead[LABEL] == "1" else "No"} for lead in small]
    drawn = as_dicts(build_profile(rows), 300, seed=1)
    assert {(lead[LABEL], lead["Search"]) for lead in drawn} == {("0", "No"), ("1", "Yes")}


def test_the_largest_number_of_a_single_lead_is_not_stored(small):
    rows = [small[0] | {SECONDS: "98765"}, *small[1:]]
    edges = next(c.edges for c in build_profile(rows).columns if c.name == SECONDS)
    assert max(edges) < 3000


def test_rows_without_a_column_are_refused_by_name(small):
    with pytest.raises(SampleError, match="600 rows lack City; "):
        build_profile([{name: word for name, word in lead.items() if name != "City"} for lead in small])


def test_no_rows_are_refused():
    with pytest.raises(SampleError, match="0 rows lack Prospect ID"):
        build_profile([])


def test_a_word_for_a_number_is_refused_by_column(small):
    with pytest.raises(SampleError, match="Page Views Per Visit: could not convert string to float: 'many'"):
        build_profile([small[0] | {PAGES: "many"}, *small[1:]])


def test_a_third_label_is_refused(small):
    with pytest.raises(SampleError, match="Converted holds"):
        build_profile([small[0] | {LABEL: "maybe"}, *small[1:]])


def test_a_csv_that_is_not_there_is_refused_by_path(tmp_path):
    with pytest.raises(SampleError, match=r"none\.csv cannot be read as a CSV of leads"):
        read_profile(tmp_path / "none.csv")
