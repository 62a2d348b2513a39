"""Sample leads for machines without the real CSV: same header, same words, close marginals and dependencies.

The model is a chain of small decision trees. The label is drawn first; every other column is then drawn, in turn, from
the leaf of its own tree that the lead falls into. A tree's first split is the label, so that each column keeps its
relation to it; further splits ask about columns drawn before. Sequential trees (Reiter 2005, "Using CART to generate
partially synthetic, public use microdata") were chosen over a tree-augmented naive Bayes network with the same floor:
there each lead's parents are fixed, suppression eats the sparse combinations, and leads come out too easy to tell apart.

Two columns are not in the CSV under that name: `period` (tenth of the file, newest first: what was recorded changed over
time) and sessions, drawn for `Page Views Per Visit`, which is TotalVisits over a whole number of sessions.
`Lead Number` is drawn as the gap to the next older lead. Numbers are drawn by bin (missing, zero, then ranges).

The profile holds counts alone. No count under FLOOR is stored: words and numbers' bins rarer than that are left out or
merged, and the small counts of a leaf are pooled over the column's leaves (`tail`) and drawn from there.
"""

import csv
import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError, model_validator

from features.errors import FeaturesError

FLOOR = 5
LABEL = "Converted"
PERIOD = "period"
PERIODS = 10
VISITS, SECONDS, PAGES = "TotalVisits", "Total Time Spent on Website", "Page Views Per Visit"
ID, NUMBER = "Prospect ID", "Lead Number"
HEADER = (
    *(ID, NUMBER, "Lead Origin", "Lead Source", "Do Not Email", "Do Not Call", LABEL, VISITS, SECONDS, PAGES),
    *("Last Activity", "Country", "Specialization", "How did you hear about X Education"),
    *("What is your current occupation", "What matters most to you in choosing a course", "Search", "Magazine"),
    *("Newspaper Article", "X Education Forums", "Newspaper", "Digital Advertisement", "Through Recommendations"),
    *("Receive More Updates About Our Courses", "Tags", "Lead Quality", "Update me on Supply Chain Content"),
    *("Get updates on DM Content", "Lead Profile", "City", "Asymmetrique Activity Index", "Asymmetrique Profile Index"),
    *("Asymmetrique Activity Score", "Asymmetrique Profile Score", "I agree to pay the amount through cheque"),
    *("A free copy of Mastering The Interview", "Last Notable Activity"),
)
DRAWN = (LABEL, *(name for name in HEADER if name not in (ID, LABEL)))
# Fewest leads in a bin: fine where values are few, coarse where they are many.
BINNED = {NUMBER: 400, VISITS: FLOOR, SECONDS: 300, PAGES: FLOOR}
MIN_LEAF = 20
MAX_DEPTH = 12
_REBUILD = "Restore it, or rebuild it from a lead CSV: python -m pipelines.sample_profile --csv PATH"

Codes = NDArray[np.int64]
Matrix = NDArray[np.float32]
Count = Annotated[int, Field(ge=FLOOR, description="leads; smaller counts are not stored")]
Counts = tuple[tuple[int, Count], ...]


class SampleError(FeaturesError):
    """A sample profile cannot be read, built from the rows given, or drawn from as asked."""


class Leaf(BaseModel, frozen=True, extra="forbid"):
    """How often each value was met among the leads of one leaf."""

    counts: Counts = Field(description="pairs of code and count")
    rest: Count | None = Field(None, description="leads whose value was too rare here; drawn from the column's tail")


class Split(BaseModel, frozen=True, extra="forbid"):
    """Sends a lead to `yes` where an earlier column has this word (or, by bins, this bin or a higher one)."""

    column: str
    code: int = Field(ge=0)
    yes: "Split | Leaf"
    no: "Split | Leaf"


class Column(BaseModel, frozen=True, extra="forbid"):
    """One drawn column: its values and the tree that gives their counts."""

    name: str
    words: tuple[str, ...] = Field((), description="values of a category; a code is a place in this list")
    edges: tuple[int, ...] = Field((), description="lower edges of a number's bins and the end of the last; -1: missing")
    tree: Split | Leaf
    tail: Counts = Field(description="values that were too rare in their leaf, over all leaves")

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.words) or len(self.edges) - 1


class SampleProfile(BaseModel, frozen=True, extra="forbid"):
    """Aggregate counts of a lead CSV, in the order in which columns are drawn; no rows, no ids."""

    leads: int = Field(ge=FLOOR, description="leads that were counted")
    first_number: int = Field(ge=0, description="Lead Number of the oldest lead, rounded down to 10,000")
    columns: tuple[Column, ...]

    @model_validator(mode="after")
    def _drawable(self) -> "SampleProfile":
        if tuple(c.name for c in self.columns) != DRAWN:
            raise ValueError(f"columns must be {', '.join(DRAWN)}, in this order")
        sizes = {PERIOD: PERIODS}
        for column in self.columns:
            _check_codes(column, column.tree, sizes)
            sizes[column.name] = column.size
        return self


def _check_codes(column: Column, node: Split | Leaf, sizes: Mapping[str, int]) -> None:
    if isinstance(node, Split):
        if node.code >= sizes.get(node.column, 0):
            raise ValueError(f"{column.name} splits on {node.column!r} code {node.code}, which is not drawn before it")
        _check_codes(column, node.yes, sizes)
        _check_codes(column, node.no, sizes)
    elif any(not 0 <= code < column.size for code, _ in (*node.counts, *column.tail)):
        raise ValueError(f"{column.name} counts a code outside 0 .. {column.size - 1}")


def load_profile(path: Path) -> SampleProfile:
    """Read a profile; SampleError where it is missing or is not one."""
    try:
        return SampleProfile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(f"{path} cannot be read as a sample profile: {error}. {_REBUILD}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise SampleError(f"{path.name}: {where}: {fault['msg']}. {_REBUILD}") from None


def save_profile(path: Path, profile: SampleProfile) -> Path:
    """Write a profile as JSON, one line per column, as a whole or not at all."""
    head, columns = profile.model_dump(exclude={"columns"}), profile.columns
    lines = ",\n".join(json.dumps(c.model_dump(exclude_defaults=True), separators=(",", ":")) for c in columns)
    return _written_whole(path, f'{json.dumps(head)[:-1]}, "columns": [\n{lines}\n]}}\n')


def build_profile(rows: Iterable[Mapping[str, str]]) -> SampleProfile:
    """Count leads into a profile; rows are header -> text and may come in any order.

    SampleError where a column is missing, a number is not one, or one class has fewer than MIN_LEAF leads.
    """
    leads = _newest_first(list(rows))
    numbers = _numbers(leads)
    columns: list[Column] = []
    tests = [(PERIOD, code) for code in range(1, PERIODS)]
    period = np.arange(len(leads)) * PERIODS // len(leads)
    answers = [period >= code for _, code in tests]
    for name in DRAWN:
        words, edges, codes = _coded(name, leads, numbers)
        size = len(words) or len(edges) - 1
        met = (codes[:, None] == np.arange(size)).astype(np.float32)
        growth = _Growth(tests, np.column_stack(answers).astype(np.float32), met, np.zeros(size))
        tree = growth.node(np.arange(len(leads)), MAX_DEPTH)
        columns.append(Column(name=name, words=words, edges=edges, tree=tree, tail=_counts(growth.tail)))
        asked = range(1, size) if edges or size == 2 else range(size if size > 2 else 0)
        tests = tests + [(name, code) for code in asked]
        answers += [codes >= code if edges else codes == code for code in asked]
    oldest = int(leads[-1][NUMBER]) // 10_000 * 10_000
    return SampleProfile(leads=len(leads), first_number=oldest, columns=tuple(columns))


def _newest_first(rows: list[Mapping[str, str]]) -> list[Mapping[str, str]]:
    missing = [name for name in HEADER if not rows or name not in rows[0]]
    if missing:
        raise SampleError(f"the {len(rows)} rows lack {', '.join(missing)}; give a CSV with the header of HEADER.")
    for label in ("0", "1"):
        found = sum(row[LABEL] == label for row in rows)
        if found < MIN_LEAF:
            raise SampleError(f"{found} leads have {LABEL} {label!r}; a profile needs {MIN_LEAF} of '0' and of '1'.")
    order = np.argsort(-_integers(rows, NUMBER), kind="stable")
    return [rows[i] for i in order]


def _numbers(leads: list[Mapping[str, str]]) -> dict[str, Codes]:
    """The binned columns as integers; -1 is missing. Pages become sessions, lead numbers gaps."""
    visits, numbers = _integers(leads, VISITS), _integers(leads, NUMBER)
    pages = np.array([float(row[PAGES] or -1) for row in leads])
    sessions = np.where(visits > 0, np.maximum(1, np.rint(visits / np.where(pages > 0, pages, 1))), visits)
    gaps = np.maximum(1, numbers - np.append(numbers[1:], numbers[-1]))
    return {NUMBER: gaps, VISITS: visits, SECONDS: _integers(leads, SECONDS), PAGES: sessions.astype(np.int64)}


def _integers(leads: list[Mapping[str, str]], name: str) -> Codes:
    try:
        return np.array([int(row[name] or -1) for row in leads])
    except ValueError as error:
        raise SampleError(f"{name}: {error}; expected whole numbers, or nothing where the number is missing.") from None


def _coded(
    name: str, leads: list[Mapping[str, str]], numbers: dict[str, Codes]
) -> tuple[tuple[str, ...], tuple[int, ...], Codes]:
    """Words or bin edges of a column, and each lead's code (-1: a word too rare to be kept)."""
    if name in numbers:
        edges = _edges(numbers[name], BINNED[name])
        return (), edges, np.clip(np.searchsorted(edges, numbers[name], side="right") - 1, 0, len(edges) - 2)
    cells = [row[name] for row in leads]
    found, counts = np.unique(cells, return_counts=True)
    words = tuple(str(word) for word in found[counts >= FLOOR]) or ("",)
    places = {word: code for code, word in enumerate(words)}
    return words, (), np.array([places.get(cell, -1) for cell in cells])


def _edges(values: Codes, least: int) -> tuple[int, ...]:
    """Bins of at least `least` leads; missing (-1) and zero have bins of their own.

    The last bin ends at the FLOOR-th largest value, rounded up to a ten: the extremes are single leads' values.
    """
    edges: list[int] = []
    held, previous = least, 0
    for value, count in zip(*np.unique(values, return_counts=True), strict=True):
        if held >= least or previous <= 0:
            edges.append(int(value))
            held = 0
        held, previous = held + count, value
    if held < least and len(edges) > 1 and edges[-2] > 0:
        edges.pop()
    top = int(np.sort(values)[-min(FLOOR, len(values))]) // 10 * 10 + 10
    return (*edges, max(top, edges[-1] + 1))


@dataclass
class _Growth:
    """Grows one column's tree: `answers` (leads x tests, 0/1), `met` (leads x codes, 0/1), small counts to `tail`."""

    tests: list[tuple[str, int]]
    answers: Matrix
    met: Matrix
    tail: NDArray[np.float64]

    def node(self, leads: Codes, depth: int) -> Split | Leaf:
        """The tree over these leads, at most `depth` splits deep."""
        test = self._first_test() if depth == MAX_DEPTH else self._best_test(leads) if depth else None
        if test is None:
            return self._leaf(leads)
        column, code = self.tests[test]
        yes = self.answers[leads, test] > 0
        return Split(
            column=column, code=code, yes=self.node(leads[yes], depth - 1), no=self.node(leads[~yes], depth - 1)
        )

    def _first_test(self) -> int | None:
        return next((i for i, (column, _) in enumerate(self.tests) if column == LABEL), None)

    def _best_test(self, leads: Codes) -> int | None:
        """The split that gains most nats; it must pay one nat per count it frees (AIC) and for the choice of test."""
        total = self.met[leads].sum(axis=0)
        freed = np.count_nonzero(total) - 1
        if freed < 1 or len(leads) < 2 * MIN_LEAF:
            return None
        yes = self.answers[leads].T @ self.met[leads]
        gain = _surprise(total) - _surprise(yes) - _surprise(total - yes)
        share = yes.sum(axis=1)
        gain[(share < MIN_LEAF) | (total.sum() - share < MIN_LEAF)] = 0
        best = int(gain.argmax())
        return best if gain[best] > freed + np.log(len(self.tests)) else None

    def _leaf(self, leads: Codes) -> Leaf:
        total = self.met[leads].sum(axis=0)
        small = np.where(total < FLOOR, total, 0)
        self.tail += small
        # Rounded to 0 or FLOOR, so that the rest too is no count under the floor.
        rest = int(small.sum()) if small.sum() >= FLOOR else FLOOR * int(small.sum() > FLOOR / 2)
        return Leaf(counts=_counts(total - small), rest=rest or None)


def _surprise(counts: Matrix) -> NDArray[np.float64]:
    """Entropy times leads, in nats, of the counts along the last axis."""
    total = counts.sum(axis=-1, dtype=np.float64)
    parts = counts * np.log(np.maximum(counts, 1), dtype=np.float64)
    return total * np.log(np.maximum(total, 1)) - parts.sum(axis=-1)


def _counts(found: NDArray[np.floating[Any]]) -> Counts:
    return tuple((code, int(count)) for code, count in enumerate(found) if count >= FLOOR)


def sample_rows(profile: SampleProfile, n: int, seed: int) -> Iterator[list[str]]:
    """`n` leads in the columns of HEADER, newest first; the same profile, `n` and `seed` give the same leads."""
    if n < 1 or seed < 0:
        raise SampleError(f"asked for {n} leads with seed {seed}; ask for 1 or more, with a seed of 0 or more.")
    rng = np.random.default_rng(seed)
    codes = {PERIOD: np.arange(n) * PERIODS // n}
    cells: dict[str, Any] = {}
    for column in profile.columns:
        drawn = np.zeros(n, dtype=np.int64)
        _draw(column, column.tree, codes, np.arange(n), rng.random(n), drawn)
        codes[column.name] = drawn
        cells[column.name] = _values(column, drawn, rng)
    # Only together do these numbers keep what the site's own did: no visits no seconds, pages = visits / sessions.
    visits, sessions = cells[VISITS], np.clip(cells[PAGES], 1, np.maximum(1, cells[VISITS]))
    cells[PAGES] = [f"{v / s + 1e-9:.2f}".rstrip("0").rstrip(".") for v, s in zip(visits, sessions, strict=True)]
    cells[PAGES] = np.where(visits < 0, "", cells[PAGES])
    cells[SECONDS] = np.where(visits == 0, 0, cells[SECONDS]).astype(str)
    cells[VISITS] = np.where(visits < 0, "", visits.astype(str))
    cells[NUMBER] = (profile.first_number + np.cumsum(cells[NUMBER][::-1])[::-1]).astype(str)
    cells[ID] = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(n)]
    return (list(map(str, row)) for row in zip(*(cells[name] for name in HEADER), strict=True))


def _draw(
    column: Column, node: Split | Leaf, codes: dict[str, Codes], rows: Codes, chance: NDArray[np.float64], drawn: Codes
) -> None:
    """Send `rows` down the tree and write their codes to `drawn`; `chance` is uniform in [0, 1) per row."""
    if isinstance(node, Split):
        asked = codes[node.column][rows]
        yes = asked >= node.code if node.column in (PERIOD, *BINNED) else asked == node.code
        _draw(column, node.yes, codes, rows[yes], chance, drawn)
        _draw(column, node.no, codes, rows[~yes], chance, drawn)
        return
    weights = np.zeros(column.size)
    tail = np.zeros(column.size)
    for code, count in node.counts:
        weights[code] = count
    for code, count in column.tail:
        tail[code] = count
    if tail.any():
        weights += tail / tail.sum() * (node.rest or 0)
    if not weights.any():
        weights = tail if tail.any() else np.ones(column.size)
    bounds = np.cumsum(weights) / weights.sum()
    drawn[rows] = np.minimum(np.searchsorted(bounds, chance[rows], side="right"), np.flatnonzero(weights)[-1])


def _values(column: Column, drawn: Codes, rng: np.random.Generator) -> Any:
    """Words of a category (objects), or whole numbers spread evenly over their bins."""
    if column.words:
        return np.array(column.words, dtype=object)[drawn]
    edges = np.array(column.edges)
    low, high = edges[drawn], edges[drawn + 1]
    return low + (rng.random(len(drawn)) * (high - low)).astype(np.int64)


def write_sample(path: Path, profile: SampleProfile, n: int = 9240, seed: int = 7) -> Path:
    """Write `n` sample leads as CSV (UTF-8, header first), as a whole or not at all; the same seed, the same bytes."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(HEADER)
    out.writerows(sample_rows(profile, n, seed))
    return _written_whole(path, text.getvalue())


def _written_whole(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
