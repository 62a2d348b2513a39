"""The gate's rules on what a version is: its data, fields, leaks, schema, scores, ways of serving and cost."""

import math
from collections.abc import Mapping

from evaluation.gate_conditions import GateConditions
from evaluation.gate_evidence import Evidence, Probe
from evaluation.gate_report import Check

NOTHING_YET = "no version in Production yet"


def same_data(evidence: Evidence) -> Check:
    """The candidate was trained on the prepared data: else its train leads may be among the test leads."""
    found, wanted = evidence.candidate_data_hash, evidence.data_hash
    return Check(
        "same data",
        bool(wanted) and found == wanted,
        f"trained on {_short(found)}",
        f"trained on {_short(wanted)}, the prepared data",
        "Train on the prepared data (`mlflow run . -e train`): what a version was trained on may be in its test leads.",
    )


def fields(evidence: Evidence) -> Check:
    """Every field is known when a lead is scored, or allowed by name."""
    late = [name for name in evidence.late_fields if name not in evidence.allowed_late_fields]
    found = {
        "known too late": late,
        "unknown to the contract": list(evidence.unknown_fields),
        "known too late, allowed by name": [name for name in evidence.late_fields if name not in late],
    }
    said = [f"{', '.join(names)} {what}" for what, names in found.items() if names]
    return Check(
        "fields",
        bool(evidence.features) and not late and not evidence.unknown_fields,
        "; ".join(said) or (f"{len(evidence.features)} such fields" if evidence.features else "no list of fields"),
        "fields known when a lead is scored",
        "Train the feature set `available`, or allow a late field on the record: -P allow_late_fields=NAME,NAME.",
    )


def leaks(evidence: Evidence) -> Check:
    """The leak report is there, looked at every field of the version, and accuses none that is not allowed by name."""
    report, allowed = evidence.leaks, evidence.allowed_late_fields
    missed = [name for name in evidence.features or () if report and name not in report.fields]
    accused = [said for name, said in (report.suspects if report else ()) if name not in allowed]
    if report is None:
        found = "no leak report"
    elif accused or missed:
        found = " ".join([*accused, *([f"{', '.join(missed)} not looked at."] if missed else [])])
    else:
        found = f"{len(report.fields)} fields looked at, none suspected"
        if report.suspects:
            found = f"{', '.join(dict.fromkeys(name for name, _ in report.suspects))} suspected, allowed by name"
    return Check(
        "leak report",
        report is not None and bool(evidence.features) and not accused and not missed,
        found,
        "a leak report on every field of the version, without a suspect",
        "Train it again (`mlflow run . -e train`); declare in the contract when a suspect is known, or, where the data "
        "is right, allow it on the record: -P allow_late_fields=NAME,NAME.",
    )


def schema(evidence: Evidence) -> Check:
    """The candidate takes the same input columns, of the same types, as Production; or a change is allowed."""
    wanted = "the input columns and types of Production"
    remedy = "Keep the feature set, or tell those who send leads and allow the change: -P allow_schema_change=true."
    mine, theirs = evidence.schema, evidence.production_schema
    if not mine:
        return Check("schema", False, "no input columns", wanted, "Train it again: a version says what it takes.")
    if not evidence.has_production and theirs is None:
        return Check("schema", True, f"{len(mine)} input columns, {NOTHING_YET}", wanted, "")
    if not theirs:
        return Check(
            "schema", False, "Production's input columns are unknown", wanted, "Restore Production's artifact."
        )
    changes = _changes(mine, theirs)
    found = changes or f"the same {len(mine)} columns"
    if changes and evidence.allow_schema_change:
        found += ", allowed"
    return Check("schema", not changes or evidence.allow_schema_change is True, found, wanted, remedy)


def scores(name: str, found: Probe | None) -> Check:
    """Every lead that was sent got one probability in [0, 1]."""
    good = found is not None and 0 < found.sent == found.returned == found.finite == found.in_range
    said = f"{found.returned:,} scored, {found.finite:,} finite, {found.in_range:,} in [0, 1]" if found else "no scores"
    return Check(
        name,
        good,
        said,
        f"{f'{found.sent:,}' if found else 'all'} probabilities in [0, 1]",
        "Train it again: a lead without answers, or with values not seen in training, must get a score as well.",
    )


def parity(conditions: GateConditions, evidence: Evidence) -> Check:
    """Every way of serving gives the Spark pipeline's probabilities."""
    found = evidence.parity or ()
    apart = [p for p in found if not (p.leads > 0 and 0 <= p.largest <= conditions.max_score_difference)]
    said = "; ".join(f"{p.way} {p.largest:.1g} apart on {p.leads:,} leads" for p in apart or found)
    return Check(
        "parity",
        bool(found) and not apart,
        said or "no way of serving compared",
        f"at most {conditions.max_score_difference:g} apart from the Spark pipeline",
        "Log the version again (`mlflow run . -e train`), so that its artifacts belong together; do not serve it by "
        "that way before they do.",
    )


def cost(conditions: GateConditions, evidence: Evidence) -> Check:
    """Scoring takes no more than a few times as long as Production's."""
    name, wanted = "scoring cost", f"at most {conditions.max_cost_factor:g} times Production's"
    found = evidence.cost
    if found is None or not _positive(found.candidate):
        return Check(name, False, "no time", wanted, "Look for what stops the version from scoring the test leads.")
    said = f"{found.candidate:.1f} ms for 1,000 leads"
    if not evidence.has_production and found.production is None:
        return Check(name, True, f"{said}, {NOTHING_YET}", wanted, "")
    if found.production is None or not _positive(found.production):
        return Check(name, False, f"{said} against no time", wanted, "Restore Production's artifact.")
    return Check(
        name,
        found.candidate <= conditions.max_cost_factor * found.production,
        f"{said} against {found.production:.1f}",
        wanted,
        "Train fewer or shallower trees, or raise max_cost_factor in conf/gate.yaml.",
    )


def _changes(mine: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    added = [f"{n} ({mine[n]}) added" for n in mine if n not in theirs]
    gone = [f"{n} ({theirs[n]}) gone" for n in theirs if n not in mine]
    other = [f"{n} {theirs[n]} -> {mine[n]}" for n in mine if n in theirs and mine[n] != theirs[n]]
    return ", ".join(added + gone + other)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _short(data_hash: str | None) -> str:
    # The first half is the train side's, the second the test side's.
    return f"{data_hash[:6]}..{data_hash[-6:]}" if data_hash else "data without a hash"
