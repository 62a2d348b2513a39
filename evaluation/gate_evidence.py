"""What the gate knows of a candidate. Whatever could not be found out is None, and fails its check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.gate_measures import Measured
from evaluation.grades import GradeTable


@dataclass(frozen=True)
class Probe:
    """Leads sent through a candidate, and how many probabilities came back: any, finite ones, ones in [0, 1]."""

    sent: int
    returned: int
    finite: int
    in_range: int


@dataclass(frozen=True)
class LeakFindings:
    """A version's leak report: the fields it looked at, and field and sentence of every undeclared suspect."""

    fields: tuple[str, ...]
    suspects: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> "LeakFindings":
        """Read a leak report's JSON; KeyError where it is not one. Suspects that are declared late count elsewhere."""
        suspects = [(s["field"], s["sentence"]) for s in report["suspects"] if not s["declared_late"]]
        return cls(tuple(f["name"] for f in report["fields"]), tuple(suspects))


@dataclass(frozen=True)
class Parity:
    """One way of serving held against the Spark pipeline: leads compared, largest difference of a probability."""

    way: str
    leads: int
    largest: float


@dataclass(frozen=True)
class Cost:
    """Milliseconds that a model takes for 1,000 leads: the median of several rounds after a warm-up."""

    candidate: float
    production: float | None


@dataclass(frozen=True)
class Evidence:
    """What is known of a candidate; None stands for what could not be found out, and fails its check.

    `features` names the fields that the candidate looks at; `late_fields` and `unknown_fields` are those among them
    that are known too late or not at all. Schemas map input columns to their types. `grades` is None for a model
    that is not `graded`.
    """

    has_production: bool
    measured: Measured | None
    test_scores: Probe | None
    probe: Probe | None
    graded: bool | None
    grades: GradeTable | None
    features: Sequence[str] | None
    late_fields: Sequence[str]
    unknown_fields: Sequence[str]
    allowed_late_fields: Sequence[str]
    leaks: LeakFindings | None
    schema: Mapping[str, str] | None
    production_schema: Mapping[str, str] | None
    allow_schema_change: bool
    parity: Sequence[Parity] | None
    cost: Cost | None
    candidate_data_hash: str | None
    data_hash: str | None
