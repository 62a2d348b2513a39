"""What the promotion gate says: checks, each with what was found and what was wanted, and the report of all of them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

Value = TypeVar("Value")
LONGEST_CAUSE = 300


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

    def as_tag(self) -> dict[str, Any]:
        """The report in the few words that fit a registry tag: the outcome, and what was found by name of check."""
        return {"passed": self.passed, "checks": {c.name: c.found[:120] for c in self.checks}}

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
