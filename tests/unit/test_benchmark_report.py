"""benchmarks/report.py, targets.py, summary.py: what a run prints and keeps, targets held, ours beside its peers."""

import json
import math

import pytest

from benchmarks import report, summary
from benchmarks.curves import Curve
from benchmarks.measure import Timed
from benchmarks.report import RESULTS, Spread, Table, cell, publish, render
from benchmarks.summary import COMPARISONS, NAME, Comparison, spread, summarise
from benchmarks.targets import TARGETS, Target, figure, stray, target_rows

PARTS = sorted(path.stem for path in RESULTS.glob("*.json") if path.stem != NAME)
SPEEDS = {"Speed (leads/s)": [{"way": "ours", "rate": 30.0}, {"way": "theirs", "rate": 10.0}]}


def test_a_spread_tells_quantiles_and_how_many():
    assert Spread.of([*range(1, 102)]) == Spread(51.0, 96.0, 100.0, 101.0, 101)


def test_a_spread_of_nothing_is_not_a_number():
    found = Spread.of([])
    assert found.n == 0
    assert math.isnan(found.p50)


def test_a_timing_tells_its_fastest_and_slowest_run_as_shares_of_the_median():
    assert Timed((4.0, 2.0, 1.0)).spread == "0.50-2.00"


@pytest.mark.parametrize(
    ("value", "shown"), [(1234567, "1,234,567"), (1234.5, "1,234"), (0.04311, "0.0431"), (True, "True"), ("", "")]
)
def test_a_cell_shows_three_digits_and_thousands_apart(value, shown):
    assert cell(value) == shown


def test_a_table_is_markdown_with_its_notes_below():
    table = Table("Speed", [{"way": "ours", "ms": 0.5}], ["one run"])
    assert table.markdown() == "### Speed\n\n| way | ms |\n|---|---|\n| ours | 0.5 |\n\n- one run\n"


def test_a_curve_leaves_empty_what_was_not_measured():
    curve = Curve("rows", "Cost", "2 cores", "leads", "µs", {"ours": {10: 1.0, 100: 2.0}, "theirs": {10: 3.0}})
    assert curve.table().rows[1] == {"leads": 100, "ours": 2.0, "theirs": ""}


def test_a_target_is_held_up_to_its_bound():
    assert Target("p50", lambda _: 0.0, most=3).holds(3.0)
    assert not Target("p50", lambda _: 0.0, most=3).holds(3.001)
    assert Target("rate", lambda _: 0.0, least=5).holds(5.0)
    assert not Target("rate", lambda _: 0.0, least=5).holds(4.999)


def test_what_is_not_a_number_holds_no_target():
    assert not Target("p50", lambda _: 0.0, most=3).holds(math.nan)


def test_a_missed_target_is_told_plainly():
    target = Target("ours (leads/s)", figure("Speed", "ours", "rate"), least=600)
    assert target.row(SPEEDS) == {
        "target": "ours (leads/s)",
        "asked": "at least 600",
        "measured": 30.0,
        "held": "**no**",
    }


def test_a_ratio_is_of_two_rows():
    assert figure("Speed", "ours", "rate", "theirs")(SPEEDS) == 3.0


@pytest.mark.parametrize("title", ["Speed of 10", "Speed"])
def test_what_was_not_measured_is_told_as_such(title):
    told = Target("ours", figure(title, "mine", "rate"), least=1).row(SPEEDS)
    assert (told["measured"], told["held"]) == ("not in this run", "")


def test_the_stray_of_a_cost_is_of_the_rows_between_two_sizes():
    costs = {"Cost": [{"leads": n, "ours": cost} for n, cost in ((10, 9.0), (100, 3.0), (1000, 2.0), (10000, 1.5))]}
    assert stray("Cost", "ours", 100, 10000)(costs) == 2.0
    with pytest.raises(KeyError):
        stray("Cost", "ours", 100, 100000)(costs)


@pytest.mark.parametrize("part", TARGETS)
def test_every_target_finds_its_figure_in_the_results_that_are_kept(part):
    kept = json.loads((RESULTS / f"{part}.json").read_text(encoding="utf-8"))
    rows = target_rows(part, {table["title"]: table["rows"] for table in kept["tables"]})
    assert [row["target"] for row in rows if row["held"] == ""] == []


@pytest.mark.parametrize("part", PARTS)
def test_the_markdown_that_is_kept_is_that_of_the_numbers(part, monkeypatch, tmp_path):
    (tmp_path / f"{part}.json").write_bytes((RESULTS / f"{part}.json").read_bytes())
    kept = (RESULTS / f"{part}.md").read_text(encoding="utf-8")
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    assert render(part) == kept


def test_a_part_is_printed_and_kept_with_its_targets(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    publish("log_model", [Table("Our pipeline, logged", [{"way": "log_model", "seconds": 3.5}])], {})
    told = capsys.readouterr().out
    assert "| log_model (s) | at most 3 | 3.5 | **no** |" in told
    assert (tmp_path / "log_model.md").read_text(encoding="utf-8") == told.removesuffix("\n")


@pytest.mark.parametrize(("better", "times"), [("more", 3.0), ("less", 1 / 3)])
def test_a_comparison_tells_how_many_times_better_ours_is(better, times):
    told = Comparison("speed", "part", "Speed", "ours", "theirs", "rate", better).row(SPEEDS)
    assert (told["ours"], told["peer's"], told["times better"]) == (30.0, 10.0, times)


def test_two_columns_of_one_row_can_be_compared():
    costs = {"Cost": [{"trees": 10, "ours": 2.0, "theirs": 8.0}]}
    told = Comparison("cost", "part", "Cost", "10", "10", "ours", "less", "theirs").row(costs)
    assert (told["peer"], told["times better"]) == ("theirs", 4.0)


def test_the_spread_of_latencies_is_their_99th_percentile():
    assert spread({"way": "ours", "p50": 1.0, "p99": 7.99}, "p50") == "p99 7.99"


def test_any_other_spread_is_of_the_runs():
    assert spread({"way": "ours", "p99": 7.99, "ready after (s)": 2.0, "spread": "0.97-1.05"}, "ready after (s)") == (
        "0.97-1.05"
    )


@pytest.mark.parametrize("each", COMPARISONS, ids=lambda c: f"{c.what} beside {c.peers_column or c.peer}")
def test_every_comparison_finds_its_figures_in_the_results_that_are_kept(each):
    kept = json.loads((RESULTS / f"{each.part}.json").read_text(encoding="utf-8"))
    assert each.row({table["title"]: table["rows"] for table in kept["tables"]})["times better"] > 0


@pytest.mark.parametrize("form", ["md", "json"])
def test_the_summary_that_is_kept_is_of_the_parts_that_are_kept(form, monkeypatch, tmp_path):
    for part in PARTS:
        (tmp_path / f"{part}.json").write_bytes((RESULTS / f"{part}.json").read_bytes())
    monkeypatch.setattr(summary, "RESULTS", tmp_path)
    summarise()
    kept = (RESULTS / f"{NAME}.{form}").read_text(encoding="utf-8")
    assert (tmp_path / f"{NAME}.{form}").read_text(encoding="utf-8") == kept
