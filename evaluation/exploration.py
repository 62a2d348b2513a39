"""What is found by looking at leads, as data: bounded in size whatever the number of leads."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evaluation.curves import wilson_interval
from evaluation.errors import EvaluationError
from features.contract import Kind, LeadField


class NothingToExplore(EvaluationError):
    """There is no lead to look at."""


@dataclass(frozen=True)
class Rate:
    """Leads and how many of them converted."""

    leads: int
    converted: int

    @property
    def value(self) -> float | None:
        """Share converted, 0 to 1; None without leads."""
        return self.converted / self.leads if self.leads else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson 95% interval of the share; None without leads."""
        if not self.leads:
            return None
        low, high = wilson_interval(np.array([self.converted]), np.array([self.leads]))
        return float(low[0]), float(high[0])


@dataclass(frozen=True)
class FieldProfile:
    """One feature field: `missing` leads have no answer; `distinct` is approximate (within about 5%).

    `late` fields are known only after leads are scored. `quantiles` of a number: minimum, quartiles, 99%, maximum.
    """

    name: str
    source: str
    kind: str
    known_at: str
    unit: str
    late: bool
    missing: Rate
    answered: Rate
    distinct: int
    quantiles: tuple[float, ...] = ()

    @property
    def missing_share(self) -> float:
        """Share of the leads without an answer, 0 to 1."""
        return self.missing.leads / (self.missing.leads + self.answered.leads)


@dataclass(frozen=True)
class Categories:
    """Conversion by the most frequent words of a field, the largest first; `other` are the leads of all other words."""

    name: str
    words: tuple[tuple[str, Rate], ...]
    other: Rate
    missing: Rate


@dataclass(frozen=True)
class Numbers:
    """Conversion by bins of a number; bin i goes from edges[i] up to below edges[i+1], the last one has no end."""

    name: str
    unit: str
    edges: tuple[float, ...]
    bins: tuple[Rate, ...]
    missing: Rate


@dataclass(frozen=True)
class Period:
    """Leads between two values of the order field, both included."""

    first: float
    last: float
    rate: Rate


@dataclass(frozen=True)
class Repeats:
    """Leads that repeat each other in every feature field (ids and label aside).

    `rows` repeat an earlier lead of their group; of the `groups` with more than one lead, `mixed` hold both labels.
    """

    rows: int
    groups: int
    mixed: int
    largest: int


@dataclass(frozen=True)
class Association:
    """Cramer's V (0 none to 1 full), bias-corrected, between every two of `names`, on `leads` sampled leads."""

    names: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]
    leads: int

    def of_label(self) -> dict[str, float]:
        """V of every field with the label, which stands first among the names; the largest first."""
        found = dict(zip(self.names[1:], self.matrix[0][1:], strict=True))
        return dict(sorted(found.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class Written:
    """How one CSV column is written: rows empty, rows with a word that means not answered, its only word if constant.

    `used` is false for columns that the contract ignores.
    """

    name: str
    used: bool
    rows: int
    empty: int
    null_words: int
    constant: str | None


@dataclass(frozen=True)
class Exploration:
    """Everything found in one look at leads; `written` is empty where the leads did not come from a CSV."""

    label: str
    order: str
    score_at: str
    all: Rate
    profiles: tuple[FieldProfile, ...]
    categories: tuple[Categories, ...]
    numbers: tuple[Numbers, ...]
    periods: tuple[Period, ...]
    repeats: Repeats
    association: Association
    written: tuple[Written, ...] = ()

    def late(self, name: str) -> bool:
        """Whether a field is known only after leads are scored."""
        return any(p.late for p in self.profiles if p.name == name)

    def as_dict(self) -> dict[str, Any]:
        """JSON-like data; every rate with its value and 95% interval."""
        found: dict[str, Any] = _with_rates(asdict(self))
        return found


def word_of(field: LeadField) -> str:
    """A field's moment in words, as the contract writes it."""
    return field.known_at.name.lower()


def is_number(field: LeadField) -> bool:
    """Whether a field holds numbers."""
    return field.kind is Kind.NUMERIC


def _with_rates(data: Any) -> Any:
    """Data in which each pair of leads and converted also tells the rate."""
    if isinstance(data, list | tuple):
        return [_with_rates(part) for part in data]
    if not isinstance(data, dict):
        return data
    if data.keys() == {"leads", "converted"}:
        rate = Rate(**data)
        return {**data, "rate": rate.value, "interval_95": rate.interval}
    return {key: _with_rates(part) for key, part in data.items()}
