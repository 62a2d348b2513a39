"""The promotion gate: evidence in, a report of checks out. What is missing, not a number or raises is not passed."""

from collections.abc import Callable

from evaluation.gate_comparison import (
    auc_difference,
    auc_floor,
    brier_difference,
    calibration,
    grades,
    slices,
    test_leads,
)
from evaluation.gate_conditions import GateConditions
from evaluation.gate_evidence import Evidence
from evaluation.gate_fitness import cost, fields, leaks, parity, same_data, schema, scores
from evaluation.gate_report import Check, GateReport, checked


def judge(conditions: GateConditions, evidence: Evidence, *earlier: Check) -> GateReport:
    """Hold a candidate's evidence against the conditions; `earlier` checks lead the report."""
    rules: dict[str, Callable[[], Check]] = {
        "same data": lambda: same_data(evidence),
        "fields": lambda: fields(evidence),
        "leak report": lambda: leaks(evidence),
        "schema": lambda: schema(evidence),
        "test leads": lambda: test_leads(conditions, evidence),
        "finite scores": lambda: scores("finite scores", evidence.test_scores),
        "probe leads": lambda: scores("probe leads", evidence.probe),
        "AUC": lambda: auc_floor(conditions, evidence),
        "AUC against Production": lambda: auc_difference(conditions, evidence),
        "Brier against Production": lambda: brier_difference(conditions, evidence),
        "calibration": lambda: calibration(conditions, evidence),
        "slices": lambda: slices(conditions, evidence),
        "grades": lambda: grades(conditions, evidence),
        "parity": lambda: parity(conditions, evidence),
        "scoring cost": lambda: cost(conditions, evidence),
    }
    return GateReport((*earlier, *(checked(name, rule) for name, rule in rules.items())))
