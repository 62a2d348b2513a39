"""The report of a look at leads, from findings made up by hand."""

import json

import numpy as np
import pytest
from matplotlib.colors import to_hex

from evaluation import explore_plots
from evaluation.exploration import (
    Association,
    Categories,
    Exploration,
    FieldProfile,
    Numbers,
    Period,
    Rate,
    Repeats,
    Written,
)
from evaluation.explore_association import cramers_v
from evaluation.explore_page import page
from evaluation.look import VERMILLION

EVIL = "<script>alert(1)</script>"
SUBJECT = "small-leads; train leads"


def profile(name, kind="category", late=False, distinct=2, quantiles=()):
    moment = "contact" if late else "capture"
    return FieldProfile(name, name, kind, moment, "", late, Rate(20, 5), Rate(80, 35), distinct, quantiles)


@pytest.fixture(scope="module")
def found():
    return Exploration(
        label="Bought",
        order="Number",
        score_at="browsing",
        all=Rate(100, 40),
        profiles=(
            profile("City"),
            profile("Tag", late=True),
            profile("Visits", "numeric", quantiles=(0, 1, 2, 3, 9, 9)),
        ),
        categories=(
            Categories("City", (("Mumbai", Rate(50, 30)), (EVIL, Rate(20, 5))), Rate(10, 0), Rate(20, 5)),
            Categories("Tag", (("won", Rate(40, 40)), ("open", Rate(40, 0))), Rate(0, 0), Rate(20, 0)),
        ),
        numbers=(Numbers("Visits", "", (0.0, 5.0), (Rate(60, 30), Rate(20, 5)), Rate(20, 5)),),
        periods=(Period(1, 50, Rate(50, 25)), Period(51, 100, Rate(50, 15))),
        repeats=Repeats(7, 3, 1, 4),
        association=Association(("Bought", "City", "Tag"), ((1, 0.2, 0.9), (0.2, 1, 0.1), (0.9, 0.1, 1)), 100),
        written=(Written("Magazine", False, 100, 0, 0, "No"), Written("City", True, 100, 10, 10, None)),
    )


@pytest.fixture(scope="module")
def figures(found):
    return explore_plots.pictures(found, SUBJECT)


@pytest.fixture(scope="module")
def report(found, figures):
    return page(found, figures, SUBJECT)


def test_a_category_named_like_a_script_stays_text(report):
    assert "<script" not in report
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in report


def test_the_page_holds_every_picture(report, figures):
    assert report.count("<img ") == len(figures) == 7


def test_a_late_field_that_goes_with_the_label_is_warned_of(report):
    assert "Tag (V 0.90): these go closely with Bought but are known only after browsing" in report


def test_constant_columns_are_named(report):
    assert "nothing to learn from: Magazine." in report


def test_repeated_leads_are_counted(report):
    assert "7 leads repeat another one" in report


def test_a_late_field_is_vermillion_among_the_missing_shares(found):
    bars = explore_plots.missing(found, SUBJECT).axes[0].patches
    late = [to_hex(bar.get_facecolor()).upper() for bar in bars]
    assert late.count(VERMILLION) == 1


def test_no_text_of_any_picture_is_cut_off(figures):
    for figure in figures.values():
        figure.canvas.draw()
        drawn, sheet = figure.get_tightbbox(), figure.bbox_inches
        assert min(drawn.xmin, drawn.ymin, sheet.xmax - drawn.xmax, sheet.ymax - drawn.ymax) >= 0


def test_the_numbers_are_json_and_carry_intervals(found):
    told = json.loads(json.dumps(found.as_dict()))
    assert told["all"] == {
        "leads": 100,
        "converted": 40,
        "rate": 0.4,
        "interval_95": pytest.approx([0.3094, 0.4980], abs=1e-4),
    }


def test_equal_codes_are_fully_associated():
    codes = np.array([0, 1] * 500)
    assert cramers_v(codes, codes) == pytest.approx(1)


def test_crossed_codes_are_not_associated():
    assert cramers_v(np.array([0, 1] * 500), np.array([0, 0, 1, 1] * 250)) == 0
