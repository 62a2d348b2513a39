"""The promotion gate: numbers in, a report of checks out. What is missing, not a number or raises is not passed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, Field

Value = TypeVar("Value")

# Differences of areas are sums of rounded decimals: 0.90 - 0.89 is a little more than 0.01.
ROUNDING = 1e-9
LONGEST_CAUSE = 300


class GateConditions(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """What a version must show before it may serve (conf/gate.yaml)."""

    min_auc: float = Field(0.85, ge=0.5, le=1, description="smallest ROC AUC on the test leads")
    max_auc_drop: float = Field(0.01, ge=0, le=0.5, description="largest loss of ROC AUC against Production")
    min_test_leads: int = Field(100, ge=1, description="fewest test leads that the areas may rest on")


@dataclass(frozen=True)
class Check:
    """One condition: what was found, what was wanted, and what to do where it does not hold."""

    name: str
    passed: bool
    found: str
    wanted: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: found {self.found}, wanted {self.wanted}. {self.remedy}"


@dataclass(frozen=True)
class GateReport:
    """All checks of one candidate; a report without checks is not passed."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check holds, and there is one."""
        return bool(self.checks) and not self.failures()

    def failures(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(c for c in self.checks if c.passed is not True)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-like data."""
        return {"passed": self.passed, "checks": [asdict(c) for c in self.checks]}

    def as_table(self) -> str:
        """The report as a Markdown table that reads well as plain text too, and a remedy for each failure."""
        rows = [("check", "result", "found", "wanted")]
        rows += [(c.name, "passed" if c.passed is True else "FAILED", c.found, c.wanted) for c in self.checks]
        cells = [[" ".join(cell.split()).replace("|", "/") for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [f"| {' | '.join(c.ljust(w) for c, w in zip(row, widths, strict=True))} |" for row in cells]
        lines.insert(1, f"|{'|'.join('-' * (w + 2) for w in widths)}|")
        remedies = [f"- {c.name}: {c.remedy}" for c in self.failures()]
        return "\n".join([*lines, *([""] if remedies else []), *remedies]) + "\n"


@dataclass(frozen=True)
class Probe:
    """Leads sent through a candidate, and how many probabilities came back: any, finite ones, ones in [0, 1]."""

    sent: int
    returned: int
    finite: int
    in_range: int


@dataclass(frozen=True)
class Evidence:
    """What is known of a candidate; None stands for what could not be found out, and fails its check.

    AUCs are in [0, 1], both on the same `test_leads` leads. `features` names the fields that the candidate looks
    at; `late_fields` and `unknown_fields` are those among them that are known too late or not at all.
    """

    candidate_auc: float | None
    has_production: bool
    production_auc: float | None
    test_leads: float | None
    probe: Probe | None
    features: Sequence[str] | None
    late_fields: Sequence[str]
    unknown_fields: Sequence[str]
    allowed_late_fields: Sequence[str]
    candidate_data_hash: str | None
    data_hash: str | None


def judge(conditions: GateConditions, evidence: Evidence, *earlier: Check) -> GateReport:
    """Hold a candidate's evidence against the conditions; `earlier` checks lead the report."""
    rules = {
        "same data": lambda: _same_data(evidence),
        "fields": lambda: _fields(evidence),
        "test leads": lambda: _test_leads(conditions, evidence),
        "AUC": lambda: _auc(conditions, evidence),
        "AUC against Production": lambda: _auc_drop(conditions, evidence),
        "probe leads": lambda: _probe(evidence),
    }
    return GateReport((*earlier, *(checked(name, rule) for name, rule in rules.items())))


def checked(name: str, rule: Callable[[], Check]) -> Check:
    """The check that a rule gives, or a failed one with the exception that it raised."""
    check, attempt = attempted(name, rule, "a rule that can be applied", "Correct what the exception names.")
    return attempt if check is None else check


def attempted(name: str, work: Callable[[], Value], wanted: str, remedy: str) -> tuple[Value | None, Check]:
    """Run `work`: its value and a passed check, or None and a failed check with the exception's first line."""
    try:
        return work(), Check(name, True, wanted, wanted, remedy)
    except Exception as error:  # whatever is raised, the gate must fail closed
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
        return None, Check(name, False, f"{type(error).__name__}: {said[:LONGEST_CAUSE]}", wanted, remedy)


def _same_data(evidence: Evidence) -> Check:
    found, wanted = evidence.candidate_data_hash, evidence.data_hash
    return Check(
        "same data",
        bool(wanted) and found == wanted,
        f"trained on {_short(found)}",
        f"trained on {_short(wanted)}, the prepared data",
        "Train on the prepared data (`mlflow run . -e train`): what a version was trained on may be in its test leads.",
    )


def _fields(evidence: Evidence) -> Check:
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


def _test_leads(conditions: GateConditions, evidence: Evidence) -> Check:
    found = evidence.test_leads
    return Check(
        "test leads",
        found is not None and math.isfinite(found) and found >= conditions.min_test_leads,
        "no number" if found is None else f"{found:,.0f}",
        f"at least {conditions.min_test_leads:,}",
        "Prepare more leads, or a larger test_share (`mlflow run . -e prepare`).",
    )


def _auc(conditions: GateConditions, evidence: Evidence) -> Check:
    found = evidence.candidate_auc
    return Check(
        "AUC",
        found is not None and _is_share(found) and found >= conditions.min_auc - ROUNDING,
        _number(found),
        f"at least {conditions.min_auc:g}",
        "Search for a better model (`mlflow run . -e sweep_hyperopt`), or lower min_auc in conf/gate.yaml.",
    )


def _auc_drop(conditions: GateConditions, evidence: Evidence) -> Check:
    name, wanted = "AUC against Production", f"at most {conditions.max_auc_drop:g} lower than Production's"
    found, production = evidence.candidate_auc, evidence.production_auc
    if not evidence.has_production and production is None:
        return Check(name, True, "no version in Production yet", wanted, "")
    comparable = found is not None and production is not None and _is_share(found) and _is_share(production)
    return Check(
        name,
        comparable and (production or 0) - (found or 0) <= conditions.max_auc_drop + ROUNDING,
        f"{_number(found)} against {_number(production)}",
        wanted,
        "Keep the version in Production, or search for a better one; where Production itself can no longer be scored, "
        "restore its artifact or remove its alias.",
    )


def _probe(evidence: Evidence) -> Check:
    probe = evidence.probe
    good = probe is not None and 0 < probe.sent == probe.returned == probe.finite == probe.in_range
    found = f"{probe.returned} scored, {probe.finite} finite, {probe.in_range} in [0, 1]" if probe else "no scores"
    return Check(
        "probe leads",
        good,
        found,
        f"{probe.sent if probe else 'all'} probabilities in [0, 1]",
        "Train it again: a lead without answers, or with values not seen in training, must get a score as well.",
    )


def _is_share(value: float) -> bool:
    return math.isfinite(value) and 0 <= value <= 1


def _number(value: float | None) -> str:
    return "no number" if value is None or not math.isfinite(value) else f"{value:.4f}"


def _short(data_hash: str | None) -> str:
    # The first half is the train side's, the second the test side's.
    return f"{data_hash[:6]}..{data_hash[-6:]}" if data_hash else "data without a hash"
