"""Sample leads for machines without the real CSV: same header, same words, close marginals and dependencies.

The model is a chain of small decision trees (Reiter 2005, "Using CART to generate partially synthetic, public use
microdata"). The label is drawn first; every other column is drawn in turn from the leaf of its own tree that the lead
falls into. A tree splits on the label first, so that each column keeps its relation to it, then on earlier columns.
A tree-augmented naive Bayes network was tried first: it fixes each column's parents, so the floor on counts eats sparse
combinations, and about half as many leads repeated each other.

Three columns are not drawn as they are written. `Lead Number` is drawn as the gap to the next older lead; `Page Views
Per Visit` as the number of sessions, since it is TotalVisits over a whole number; and `period`, the tenth of the file
(newest first), is not written at all: trees split on it because what was recorded changed over time. Numbers are drawn
by bin: missing, zero, then ranges.

The profile holds aggregate counts and none under FLOOR: rarer words and bins are left out or merged, and the small
counts of all leaves of a column are pooled (`tail`) and drawn from there.
"""

import csv
import io
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError, model_validator

from features.errors import FeaturesError

ID, NUMBER, LABEL, PERIOD = "Prospect ID", "Lead Number", "Converted", "period"
VISITS, SECONDS, PAGES = "TotalVisits", "Total Time Spent on Website", "Page Views Per Visit"
INDEXES = ("Asymmetrique Activity Index", "Asymmetrique Profile Index")
SCORES = ("Asymmetrique Activity Score", "Asymmetrique Profile Score")
HEADER = (
    *(ID, NUMBER, "Lead Origin", "Lead Source", "Do Not Email", "Do Not Call", LABEL, VISITS, SECONDS, PAGES),
    *("Last Activity", "Country", "Specialization", "How did you hear about X Education"),
    *("What is your current occupation", "What matters most to you in choosing a course", "Search", "Magazine"),
    *("Newspaper Article", "X Education Forums", "Newspaper", "Digital Advertisement", "Through Recommendations"),
    *("Receive More Updates About Our Courses", "Tags", "Lead Quality", "Update me on Supply Chain Content"),
    *("Get updates on DM Content", "Lead Profile", "City", *INDEXES, *SCORES),
    *("I agree to pay the amount through cheque", "A free copy of Mastering The Interview", "Last Notable Activity"),
)
# An index is its score in three bands, so that the score is drawn first.
DRAWN = (LABEL, *(name for name in HEADER if name not in (ID, LABEL, *INDEXES)), *INDEXES)
FLOOR = 5
# Fewest leads in a bin: fine where values are few, coarse where they are many.
BINNED = {NUMBER: 400, VISITS: FLOOR, SECONDS: 300, PAGES: FLOOR, **dict.fromkeys(SCORES, FLOOR)}
PERIODS = 10
MIN_LEAF = 10
MAX_DEPTH = 12
REBUILD = "Restore it, or rebuild it from a lead CSV: python -m pipelines.sample_profile --csv PATH"

Codes = NDArray[np.int64]
Numbers = NDArray[np.floating[Any]]
Count = Annotated[int, Field(ge=FLOOR, description="leads; smaller counts are not stored")]
Counts = tuple[tuple[int, Count], ...]


class SampleError(FeaturesError):
    """A sample profile cannot be read, built from the rows given, or drawn from as asked."""


class Leaf(BaseModel, frozen=True, extra="forbid"):
    """How often each value was met among the leads of one leaf."""

    counts: Counts = Field(description="pairs of code and count")
    rest: Count | None = Field(None, description="leads whose value was too rare here; drawn from the column's tail")


class Branch(BaseModel, frozen=True, extra="forbid"):
    """Sends a lead to `yes` where an earlier column has this word (or, by bins, this bin or a higher one)."""

    column: str
    code: int = Field(ge=0)
    yes: "Branch | Leaf"
    no: "Branch | Leaf"


class Column(BaseModel, frozen=True, extra="forbid"):
    """One drawn column: its values and the tree that gives their counts."""

    name: str
    words: tuple[str, ...] = Field((), description="values of a category; a code is a place in this list")
    edges: tuple[int, ...] = Field((), description="lower edges of a number's bins (-1: missing), end of the last one")
    tree: Branch | Leaf
    tail: Counts = Field((), description="values that were too rare in their leaf, over all leaves")

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
        if tuple(column.name for column in self.columns) != DRAWN:
            raise ValueError(f"columns must be {', '.join(DRAWN)}, in this order")
        sizes = {PERIOD: PERIODS}
        for column in self.columns:
            if bool(column.edges) != (column.name in BINNED) or column.size < 1:
                raise ValueError(f"{column.name} needs {'edges' if column.name in BINNED else 'words'}")
            _check_codes(column, column.tree, sizes)
            sizes[column.name] = column.size
        return self


def _check_codes(column: Column, node: Branch | Leaf, sizes: Mapping[str, int]) -> None:
    if isinstance(node, Branch):
        if node.code >= sizes.get(node.column, 0):
            raise ValueError(f"{column.name} asks for {node.column!r} code {node.code}, which is not drawn before it")
        _check_codes(column, node.yes, sizes)
        _check_codes(column, node.no, sizes)
    elif any(not 0 <= code < column.size for code, _ in (*node.counts, *column.tail)):
        raise ValueError(f"{column.name} counts a code outside 0 .. {column.size - 1}")


def load_profile(path: Path) -> SampleProfile:
    """Read a profile; SampleError where it is missing or is not one."""
    try:
        return SampleProfile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(f"{path} cannot be read as a sample profile: {error}. {REBUILD}") from None
    except ValidationError as error:
        # A node is a branch or a leaf: of the faults found on the way, the deepest is the one meant.
        fault = max(error.errors(), key=lambda found: len(found["loc"]))
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise SampleError(f"{path.name}: {where}: {fault['msg']}. {REBUILD}") from None


def save_profile(path: Path, profile: SampleProfile) -> Path:
    """Write a profile as JSON, one line per column, as a whole or not at all."""
    lines = [json.dumps(c.model_dump(exclude_defaults=True), separators=(",", ":")) for c in profile.columns]
    head = json.dumps(profile.model_dump(exclude={"columns"})).removesuffix("}")
    return _write_whole(path, f'{head}, "columns": [\n' + ",\n".join(lines) + "\n]}\n")


def build_profile(rows: Iterable[Mapping[str, str]]) -> SampleProfile:
    """Count leads into a profile; rows are header -> text and may come in any order.

    SampleError where a column is missing, a number is not one, or a class has fewer than MIN_LEAF leads.
    """
    leads = _newest_first(list(rows))
    numbers = _numbers(leads)
    period = np.arange(len(leads)) * PERIODS // len(leads)
    tests = [(PERIOD, code) for code in range(1, PERIODS)]
    answers = [period >= code for _, code in tests]
    columns = []
    for name in DRAWN:
        words, edges, codes = _binned(numbers[name], BINNED[name]) if name in BINNED else _worded(leads, name)
        size = len(words) or len(edges) - 1
        met = codes[:, None] == np.arange(size)
        growth = _Growth(tests, np.column_stack(answers).astype("f4"), met.astype("f4"), np.zeros(size))
        tree = growth.node(np.arange(len(leads)), MAX_DEPTH)
        columns.append(Column(name=name, words=words, edges=edges, tree=tree, tail=_pairs(growth.tail)))
        asked = range(1, size) if edges or size < 3 else range(size)
        tests = [*tests, *((name, code) for code in asked)]
        answers += [codes >= code if edges else codes == code for code in asked]
    oldest = int(leads[-1][NUMBER]) // 10_000 * 10_000
    return SampleProfile(leads=len(leads), first_number=oldest, columns=tuple(columns))


def _newest_first(rows: list[Mapping[str, str]]) -> list[Mapping[str, str]]:
    missing = [name for name in HEADER if not rows or name not in rows[0]]
    if missing:
        raise SampleError(f"{len(rows)} rows lack {', '.join(missing)}; give leads with the header of the real CSV.")
    found = Counter(row[LABEL] for row in rows)
    if set(found) != {"0", "1"} or min(found.values()) < MIN_LEAF:
        raise SampleError(
            f"{LABEL} holds {dict(found)}; a profile needs at least {MIN_LEAF} of '0' and of '1', and no other."
        )
    order = np.argsort(-_read(rows, NUMBER), kind="stable")
    return [rows[i] for i in order]


def _numbers(leads: list[Mapping[str, str]]) -> dict[str, Codes]:
    """The binned columns as whole numbers; -1 is missing. Lead numbers become gaps, pages sessions."""
    found = {name: _read(leads, name) for name in BINNED}
    visits, pages = found[VISITS], found[PAGES]
    found[NUMBER] = np.maximum(1, found[NUMBER] - np.append(found[NUMBER][1:], found[NUMBER][-1]))
    found[PAGES] = np.where(visits > 0, np.maximum(1, np.rint(visits / np.where(pages > 0, pages, 1))), visits)
    return {name: values.astype(np.int64) for name, values in found.items()}


def _read(leads: list[Mapping[str, str]], name: str) -> Numbers:
    try:
        return np.array([float(row[name] or -1) for row in leads])
    except ValueError as error:
        raise SampleError(f"{name}: {error}; expected numbers, or nothing where the number is missing.") from None


def _worded(leads: list[Mapping[str, str]], name: str) -> tuple[tuple[str, ...], tuple[int, ...], Codes]:
    """Words that FLOOR leads or more have, and each lead's code (-1: another word)."""
    cells = [row[name] for row in leads]
    found, counts = np.unique(cells, return_counts=True)
    words = tuple(str(word) for word in found[counts >= FLOOR]) or ("",)
    places = {word: code for code, word in enumerate(words)}
    return words, (), np.array([places.get(cell, -1) for cell in cells])


def _binned(values: Codes, least: int) -> tuple[tuple[str, ...], tuple[int, ...], Codes]:
    """Edges of bins of `least` leads or more, and each lead's code; missing (-1) and zero are bins of their own."""
    found, counts = np.unique(values[values > 0], return_counts=True)
    edges, held = [-1, 0, 1], least
    for value, count in zip(found, counts, strict=True):
        if held >= least:
            edges.append(int(value))
            held = 0
        held += int(count)
    if held < least and len(edges) > 4:
        edges.pop()
    if len(found):
        # The largest values may be single leads' own: the last bin then ends a little above the FLOOR-th largest.
        few = np.sort(values)[-min(FLOOR, len(values))] // 10 * 10 + 10
        edges.append(max(int(found[-1] + 1 if counts[-1] >= FLOOR else few), edges[-1] + 1))
    edges = sorted(set(edges))
    return (), tuple(edges), np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


@dataclass(frozen=True)
class _Growth:
    """Grows one column's tree from `answers` (leads x tests, 0/1) and `met` (leads x codes, 0/1); fills `tail`."""

    tests: list[tuple[str, int]]
    answers: Numbers
    met: Numbers
    tail: Numbers

    def node(self, leads: Codes, depth: int) -> Branch | Leaf:
        """The tree over these leads, at most `depth` branches deep."""
        test = (LABEL, 1) if depth == MAX_DEPTH and (LABEL, 1) in self.tests else self._best(leads) if depth else None
        if test is None:
            return self._leaf(self.met[leads].sum(axis=0))
        is_yes = self.answers[leads, self.tests.index(test)] > 0
        yes, no = self.node(leads[is_yes], depth - 1), self.node(leads[~is_yes], depth - 1)
        return Branch(column=test[0], code=test[1], yes=yes, no=no)

    def _best(self, leads: Codes) -> tuple[str, int] | None:
        """The test that gains most; it must pay a nat per count that it frees (AIC), and for being one of many."""
        total = self.met[leads].sum(axis=0)
        freed = np.count_nonzero(total) - 1
        if freed < 1 or len(leads) < 2 * MIN_LEAF:
            return None
        yes = self.answers[leads].T @ self.met[leads]
        gain = _nats(total) - _nats(yes) - _nats(total - yes)
        share = yes.sum(axis=1)
        gain[(share < MIN_LEAF) | (total.sum() - share < MIN_LEAF)] = 0
        best = int(gain.argmax())
        return self.tests[best] if gain[best] > freed + np.log(len(self.tests)) else None

    def _leaf(self, total: Numbers) -> Leaf:
        small = np.where(total < FLOOR, total, 0)
        self.tail[:] += small
        # The rest too is no count under the floor: rounded to 0 or FLOOR.
        rest = int(small.sum()) if small.sum() >= FLOOR else FLOOR * int(small.sum() > FLOOR / 2)
        return Leaf(counts=_pairs(total), rest=rest or None)


def _nats(counts: Numbers) -> Numbers:
    """Entropy in nats, times leads, of the counts along the last axis."""
    total, counts = counts.sum(axis=-1, dtype="f8"), counts.astype("f8")
    return total * np.log(np.maximum(total, 1)) - (counts * np.log(np.maximum(counts, 1))).sum(axis=-1)


def _pairs(counts: Numbers) -> Counts:
    return tuple((code, int(count)) for code, count in enumerate(counts) if count >= FLOOR)


def sample_rows(profile: SampleProfile, n: int, seed: int) -> Iterator[list[str]]:
    """`n` leads in the columns of HEADER, newest first; the same profile, `n` and `seed` give the same leads."""
    if n < 1 or seed < 0:
        raise SampleError(f"asked for {n} leads with seed {seed}; ask for 1 or more, with a seed of 0 or more.")
    rng = np.random.default_rng(seed)
    codes = {PERIOD: np.arange(n) * PERIODS // n}
    for column in profile.columns:
        codes[column.name] = np.zeros(n, dtype=np.int64)
        _draw(column, column.tree, codes, np.arange(n), rng.random(n))
    cells = {c.name: _values(c, codes[c.name], rng) for c in profile.columns}
    visits, sessions = cells[VISITS], np.clip(cells[PAGES], 1, np.maximum(1, cells[VISITS]))
    cells[SECONDS][visits == 0] = 0
    cells[NUMBER] = profile.first_number + np.cumsum(cells[NUMBER][::-1])[::-1]
    cells |= {name: np.where(cells[name] < 0, "", cells[name].astype(str)) for name in BINNED}
    # Two decimals, halves up, without trailing zeros.
    pages = [f"{v / s + 1e-9:.2f}".rstrip("0").rstrip(".") for v, s in zip(visits, sessions, strict=True)]
    cells[PAGES] = np.where(visits < 0, "", pages)
    cells[ID] = np.array([str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(n)])
    return (list(row) for row in zip(*(cells[name].tolist() for name in HEADER), strict=True))


def _draw(column: Column, node: Branch | Leaf, codes: dict[str, Codes], rows: Codes, chance: Numbers) -> None:
    """Send `rows` down the tree and fill in their codes; `chance` is uniform in [0, 1), one for each lead."""
    if isinstance(node, Branch):
        asked = codes[node.column][rows]
        yes = asked >= node.code if node.column in (PERIOD, *BINNED) else asked == node.code
        _draw(column, node.yes, codes, rows[yes], chance)
        _draw(column, node.no, codes, rows[~yes], chance)
        return
    weights, tail = _weights(node.counts, column.size), _weights(column.tail, column.size)
    weights += tail * ((node.rest or 0) / max(1, tail.sum()))
    if not weights.any():
        weights = tail if tail.any() else np.ones(column.size)
    bounds = np.cumsum(weights)
    drawn = np.searchsorted(bounds, chance[rows] * bounds[-1], side="right")
    codes[column.name][rows] = np.minimum(drawn, np.flatnonzero(weights)[-1])


def _weights(counts: Counts, size: int) -> Numbers:
    given = dict(counts)
    return np.array([given.get(code, 0) for code in range(size)], dtype="f8")


def _values(column: Column, drawn: Codes, rng: np.random.Generator) -> NDArray[Any]:
    """Words, or whole numbers spread evenly over their bins; over the last bin they thin out, as tails do."""
    if column.words:
        return np.array(column.words, dtype=object)[drawn]
    edges, chance = np.array(column.edges), rng.random(len(drawn))
    chance = np.where(drawn == column.size - 1, 1 - np.sqrt(1 - chance), chance)
    return edges[drawn] + (chance * (edges[drawn + 1] - edges[drawn])).astype(np.int64)


def write_sample(path: Path, profile: SampleProfile, n: int = 9240, seed: int = 7) -> Path:
    """Write `n` sample leads as CSV (UTF-8, header first), as a whole or not at all; the same seed, the same bytes."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(HEADER)
    out.writerows(sample_rows(profile, n, seed))
    return _write_whole(path, text.getvalue())


def _write_whole(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
