"""What the gate must refuse, each by scores of leads: the candidate is made worse in one way at a time."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation.gate import judge
from evaluation.gate_conditions import GateConditions
from evaluation.gate_evidence import LeakFindings
from evaluation.gate_measures import CANDIDATE, NEWEST, PRODUCTION, NotScores, measure
from evaluation.gate_report import attempted
from evaluation.scored_sample import ScoredSample
from tests.unit.test_gate import GOOD

CONDITIONS = GateConditions(min_auc=0.75)
LEADS = 2400
RNG = np.random.default_rng(7)
TRUTH = RNG.beta(0.8, 1.2, LEADS)
LABELS = (RNG.random(LEADS) < TRUTH).astype(np.int8)
CITY = np.array(["Pune" if i % 10 == 0 else "Mumbai" for i in range(LEADS)], object)
PUNE = CITY == "Pune"


def noisy(size, seed=1):
    """The true rate seen through noise: the larger, the worse the model."""
    away = np.random.default_rng(seed).normal(0, size, LEADS)
    return np.clip(TRUTH + away, 0, 1)


CHAMPION = noisy(0.03)


def sample(candidate, production=CHAMPION):
    scores = {CANDIDATE: candidate} | ({PRODUCTION: production} if production is not None else {})
    words = {NEWEST: np.arange(LEADS) >= LEADS // 2, "City": CITY}
    return ScoredSample(LABELS, np.arange(LEADS), scores, words, LEADS)


def refused(candidate, **changes):
    """Names of the checks that fail for a candidate with these scores."""
    evidence = replace(GOOD, measured=measure(sample(candidate), CONDITIONS), **changes)
    return [c.name for c in judge(CONDITIONS, evidence).failures()]


def test_an_equal_model_passes():
    assert refused(CHAMPION) == []


def test_an_equally_good_other_model_passes():
    assert refused(noisy(0.03, seed=2)) == []


def test_a_better_model_passes():
    assert refused(TRUTH) == []


def test_a_first_good_model_passes():
    first = replace(
        GOOD, has_production=False, production_schema=None, measured=measure(sample(TRUTH, None), CONDITIONS)
    )
    assert judge(CONDITIONS, first).passed


def test_a_worse_auc_is_refused():
    assert "AUC against Production" in refused(noisy(0.25))


def test_a_good_auc_with_broken_calibration_is_refused():
    found = refused(TRUTH**3)
    assert "calibration" in found
    assert not {"AUC", "AUC against Production"} & set(found)


def test_a_leaking_field_is_refused():
    assert refused(TRUTH, leaks=LeakFindings(GOOD.features, (("City", "City knows the outcome."),))) == ["leak report"]


def test_a_slice_that_collapses_is_refused_though_the_whole_is_better():
    candidate = np.where(PUNE, np.random.default_rng(3).permutation(TRUTH), np.where(LABELS == 1, TRUTH + 1, TRUTH) / 2)
    assert "slices" in refused(candidate)
    assert "AUC against Production" not in refused(candidate)


def test_a_slice_of_a_first_version_that_collapses_is_refused():
    candidate = np.where(PUNE, 1 - TRUTH, TRUTH)
    first = replace(GOOD, has_production=False, production_schema=None)
    first = replace(first, measured=measure(sample(candidate, None), CONDITIONS))
    assert "slices" in {c.name for c in judge(CONDITIONS, first).failures()}


def test_a_slice_of_many_leads_in_few_groups_is_not_judged():
    """The 240 leads of Pune repeat ten; the candidate has them the wrong way round, and promises what they keep not."""
    leads = sample(np.where(PUNE, 1 - TRUTH, TRUTH))
    few = replace(leads, groups=np.where(PUNE, np.arange(LEADS) // 10 % 10, 100 + np.arange(LEADS)))
    judged, left = (measure(found, CONDITIONS).slices for found in (leads, few))
    assert ([s.value for s in judged], [s.value for s in left]) == (["Mumbai", "Pune"], ["Mumbai"])


def test_a_slice_with_few_groups_of_a_class_has_no_area():
    """All converted leads of Pune repeat one of ten."""
    groups = np.where(PUNE & (LABELS == 1), np.arange(LEADS) // 10 % 10, 100 + np.arange(LEADS))
    found = measure(replace(sample(TRUTH), groups=groups), CONDITIONS).slices
    assert [(s.value, s.auc_change is None) for s in found] == [("Mumbai", False), ("Pune", True)]


@pytest.mark.parametrize("score", [np.nan, np.inf, -0.1, 1.5])
def test_scores_that_are_no_probabilities_are_measured_by_nobody(score):
    with pytest.raises(NotScores, match="1 of 2,400 scores of the candidate"):
        measure(sample(np.where(np.arange(LEADS) == 5, score, TRUTH)), CONDITIONS)


def test_nan_scores_are_refused():
    broken = np.where(np.arange(LEADS) == 5, np.nan, TRUTH)
    measured, check = attempted("measured", lambda: measure(sample(broken), CONDITIONS), "measures", "train")
    report = judge(CONDITIONS, replace(GOOD, measured=measured), check)
    assert {"measured", "AUC", "AUC against Production", "calibration"} <= {c.name for c in report.failures()}


def test_a_schema_change_is_refused():
    assert refused(TRUTH, schema={"Visits": "double"}) == ["schema"]


def test_an_evaluator_that_raises_is_refused():
    measured, check = attempted("measured", lambda: measure(None, CONDITIONS), "measures", "train")
    report = judge(CONDITIONS, replace(GOOD, measured=measured), check)
    assert "measured" in {c.name for c in report.failures()}


def test_few_leads_that_prove_nothing_are_refused():
    """An equally good model on 120 leads: the interval is wider than the margin."""
    few = sample(noisy(0.06, seed=2), noisy(0.06)).only(np.arange(LEADS) % 20 == 0)
    report = judge(CONDITIONS, replace(GOOD, measured=measure(few, replace_share(1.0))))
    assert "AUC against Production" in {c.name for c in report.failures()}


def replace_share(share):
    return CONDITIONS.model_copy(update={"newest_share": share})
