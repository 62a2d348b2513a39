"""The gate's rules on how good a version is: by itself, against Production, on slices and by grade."""

import itertools
import math
from collections.abc import Callable, Mapping

from evaluation.bootstrap import Interval
from evaluation.gate_conditions import GateConditions
from evaluation.gate_evidence import Evidence
from evaluation.gate_fitness import NOTHING_YET
from evaluation.gate_measures import SliceMeasure
from evaluation.gate_report import Check

# Differences of areas are sums of rounded decimals: 0.90 - 0.89 is a little more than 0.01.
ROUNDING = 1e-9
SHOWN_SLICES = 5
KEEP = (
    "Keep the version in Production, or search for a better one; with few test leads the interval is wide: prepare "
    "more, or raise newest_share in conf/gate.yaml. Where Production itself can no longer be scored, restore its "
    "artifact or remove its alias."
)


def test_leads(conditions: GateConditions, evidence: Evidence) -> Check:
    """Enough of the newest test leads were scored."""
    found = evidence.measured.leads if evidence.measured else None
    return Check(
        "test leads",
        found is not None and math.isfinite(found) and found >= conditions.min_test_leads,
        "no number" if found is None else f"{found:,.0f}",
        f"at least {conditions.min_test_leads:,} of the newest",
        "Prepare more leads, or a larger test_share (`mlflow run . -e prepare`), or raise newest_share in "
        "conf/gate.yaml.",
    )


def auc_floor(conditions: GateConditions, evidence: Evidence) -> Check:
    """The area is large enough by itself."""
    found = evidence.measured.auc if evidence.measured else None
    return Check(
        "AUC",
        found is not None and _is_share(found.value) and found.value >= conditions.min_auc - ROUNDING,
        "no number" if found is None else str(found),
        f"at least {conditions.min_auc:g}",
        "Search for a better model (`mlflow run . -e sweep_hyperopt`), or lower min_auc in conf/gate.yaml.",
    )


def auc_difference(conditions: GateConditions, evidence: Evidence) -> Check:
    """The area is at most a little smaller than Production's, and this is sure: the interval's lower end says it."""
    measured, margin = evidence.measured, conditions.max_auc_drop
    change = measured.auc_difference if measured else None
    wanted = f"surely at most {margin:g} lower than Production's"
    return _difference("AUC against Production", evidence, change, wanted, lambda c: c.low >= -margin - ROUNDING)


def brier_difference(conditions: GateConditions, evidence: Evidence) -> Check:
    """The Brier score is at most a little larger than Production's, and this is sure: the upper end says it."""
    measured, margin = evidence.measured, conditions.max_brier_rise
    change = measured.brier_difference if measured else None
    wanted = f"surely at most {margin:g} higher than Production's"
    return _difference("Brier against Production", evidence, change, wanted, lambda c: c.high <= margin + ROUNDING)


def calibration(conditions: GateConditions, evidence: Evidence) -> Check:
    """Scores mean what they say: the error is small, and not much larger than Production's."""
    name = "calibration"
    wanted = f"an error of at most {conditions.max_ece:g}, and {conditions.max_ece_rise:g} more than Production's"
    remedy = "Train it with calibrate=isotonic, or on more leads; or raise max_ece in conf/gate.yaml."
    measured = evidence.measured
    if measured is None or not _is_share(measured.ece):
        return Check(name, False, "no number", wanted, remedy)
    good = measured.ece <= conditions.max_ece + ROUNDING
    if not evidence.has_production and measured.production_ece is None:
        return Check(name, good, f"{measured.ece:.4f}, {NOTHING_YET}", wanted, remedy)
    theirs = measured.production_ece
    if theirs is None or not _is_share(theirs):
        return Check(name, False, f"{measured.ece:.4f} against no number", wanted, KEEP)
    good = good and measured.ece - theirs <= conditions.max_ece_rise + ROUNDING
    return Check(name, good, f"{measured.ece:.4f} against {theirs:.4f}", wanted, remedy)


def slices(conditions: GateConditions, evidence: Evidence) -> Check:
    """On no slice that is large enough the model has surely collapsed: in order, or in what it promises."""
    measured = evidence.measured
    wanted = f"no slice of {conditions.min_slice_leads:,} different leads or more that collapses"
    if measured is None or (evidence.has_production and measured.auc_difference is None):
        return Check("slices", False, "no slices", wanted, KEEP)
    fallen = list(collapsed(conditions, evidence).values())
    more = f" and {len(fallen) - SHOWN_SLICES} more" if len(fallen) > SHOWN_SLICES else ""
    return Check(
        "slices",
        not fallen,
        "; ".join(fallen[:SHOWN_SLICES]) + more if fallen else f"none among {len(measured.slices)}",
        wanted,
        "Look at what these leads lack in training (slices.json of the version's run), and train again.",
    )


def collapsed(conditions: GateConditions, evidence: Evidence) -> Mapping[SliceMeasure, str]:
    """The slices that have surely collapsed, each with what has."""
    found = evidence.measured.slices if evidence.measured else ()
    limit = conditions.max_slice_auc_drop if evidence.has_production else conditions.max_slice_auc_gap
    looks = sum(2 if s.auc_change is not None else 1 for s in found)
    said = {s: _collapse(s, limit, conditions.max_slice_calibration_gap, looks) for s in found}
    return {s: what for s, what in said.items() if what}


def grades(conditions: GateConditions, evidence: Evidence) -> Check:
    """A better grade converts more often, where the model grades and the grades hold enough leads."""
    wanted = "a better grade that converts more often"
    if evidence.graded is False:
        return Check("grades", True, "the version gives no grades", wanted, "")
    remedy = "Train it again with grades that are further apart (conf/grades.yaml)."
    if evidence.graded is None or evidence.grades is None:
        return Check("grades", False, "no grades", wanted, remedy)
    held = [r for r in evidence.grades.rows if r.rate is not None and r.leads >= conditions.min_grade_leads]
    rates = [r.rate for r in held if r.rate is not None]
    said = ", ".join(f"{r.grade} {r.rate:.0%}" for r in held) or "too few leads in every grade to compare"
    return Check("grades", all(better > worse for better, worse in itertools.pairwise(rates)), said, wanted, remedy)


def _difference(
    name: str, evidence: Evidence, change: Interval | None, wanted: str, holds: Callable[[Interval], bool]
) -> Check:
    if not evidence.has_production and change is None and evidence.measured is not None:
        return Check(name, True, NOTHING_YET, wanted, "")
    good = change is not None and all(map(math.isfinite, (change.value, change.low, change.high)))
    said = "against no number" if change is None else f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})"
    return Check(name, good and change is not None and holds(change), said, wanted, KEEP)


def _collapse(found: SliceMeasure, auc_limit: float, promise_limit: float, looks: int) -> str:
    """What has surely collapsed on a slice: beyond the limit, and not by chance; empty where nothing has.

    With dozens of slices one is bad by chance alone: an estimate beyond the limit must also have an interval that
    leaves out no change at all, widened for `looks` of them. A slice for which Production promises as falsely is not
    the candidate's fault.
    """
    change = found.auc_change.among(looks) if found.auc_change is not None else None
    promised, theirs = found.promised.among(looks), found.production_promised
    said = []
    if change is not None and not (change.value >= -auc_limit - ROUNDING or change.high >= 0):
        said.append(f"AUC {change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})")
    wrong = not abs(promised.value) <= promise_limit + ROUNDING and not promised.low <= 0 <= promised.high
    if wrong and not (theirs is not None and abs(promised.value) <= abs(theirs) + ROUNDING):
        said.append(f"mean score {promised.value:+.3f} from the rate ({promised.low:+.3f} to {promised.high:+.3f})")
    return f"{found} ({found.leads:,} leads): {', '.join(said)}" if said else ""


def _is_share(value: float) -> bool:
    return math.isfinite(value) and 0 <= value <= 1
