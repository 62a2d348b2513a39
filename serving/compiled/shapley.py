"""Exact path-dependent TreeSHAP of a forest, by source field: tables per leaf, made once, and looked up per lead.

The game of Lundberg et al., "From local explanations to global understanding with explainable AI for trees" (2020):
a field that is left out follows both branches of its tests, weighted by the training leads that took them. On one
path the value of a set S of fields is value x product over S of passes(0 or 1) x product over the others of cover, and
the Shapley value of field i is

    value x (passes_i - cover_i) x integral from 0 to 1 of product over j != i of (t passes_j + (1 - t) cover_j) dt,

a polynomial of degree d - 1 in t for d fields, which Gauss-Legendre quadrature integrates exactly. It depends on the
lead only through which of the d fields pass: 2^d patterns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.compiled.description import Floats
from serving.compiled.paths import Path

Codes = npt.NDArray[np.intp]
# Doubles in all tables together; leaves of the most fields go without, and cost more per lead.
TABLED = 32_000_000
# Leads at a time: their codes, patterns and shares stay in a core's cache.
CHUNK = 4096
# From so many leads on, leaf after leaf is faster than all leaves of a lead at once.
MANY = 192
SMALLEST = 1e-100


def shares(value: Floats, passes: npt.NDArray[np.bool_], cover: Floats) -> Floats:
    """Shapley values (... x d) of paths' fields. `value` (...), `passes` and `cover` (... x d)."""
    fields = cover.shape[-1]
    points, weights = np.polynomial.legendre.leggauss(max(1, -(-fields // 2)))
    # No lead of training may have gone here: a product of nothing must stay divisible.
    absent = np.maximum(cover, SMALLEST)
    total = np.zeros(np.broadcast_shapes(passes.shape, cover.shape))
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        factor = point * passes + (1 - point) * absent
        total += weight * factor.prod(axis=-1, keepdims=True) / factor
    return np.asarray(value[..., None] * (passes - cover) * total)


@dataclass(frozen=True)
class Leaves:
    """The m leaves of a forest with d fields on their path; `table` (m x d x 2^d) is None where it would be too large.

    `bits` (m x d x codes): 2^j where the path's field j passes with this code, else 0; summed they are the pattern.
    """

    field: npt.NDArray[np.intp]
    bits: Codes
    cover: Floats
    value: Floats
    table: Floats | None

    @classmethod
    def of(cls, paths: Sequence[Path], tabled: bool) -> "Leaves":
        """Put leaves of equally many fields together."""
        fields = len(paths[0].field)
        value, cover = np.array([p.value for p in paths]), np.array([p.cover for p in paths])
        bits = np.array([p.passes for p in paths]).astype(np.intp) << np.arange(fields)[None, :, None]
        table = None
        if tabled:
            every = patterns(np.arange(2**fields), fields)
            made = [shares(v[None], every, c[None]).T for v, c in zip(value, cover, strict=True)]
            table = np.ascontiguousarray(made)
        return cls(np.array([p.field for p in paths], np.intp), bits, cover, value, table)

    def add(self, codes: Codes, out: Floats) -> None:
        """Add the leaves' shares to `out` (inputs x leads): leaf after leaf, for many leads."""
        leads, fields = codes.shape[1], self.field.shape[1]
        pattern, bit, share = np.empty(leads, np.intp), np.empty(leads, np.intp), np.empty(leads)
        for leaf in range(len(self.field)):
            of = self.field[leaf].tolist()
            np.take(self.bits[leaf, 0], codes[of[0]], out=pattern, mode="clip")
            for j in range(1, fields):
                np.take(self.bits[leaf, j], codes[of[j]], out=bit, mode="clip")
                pattern += bit
            table, row = self._row(leaf, pattern)
            for j in range(fields):
                np.take(table[j], row, out=share, mode="clip")
                out[of[j]] += share

    def add_few(self, codes: Codes, out: Floats) -> None:
        """The same, all leaves of a lead at once."""
        leaf, place = np.arange(len(self.field))[:, None], np.arange(self.field.shape[1])[None]
        for lead in range(codes.shape[1]):
            pattern = self.bits[leaf, place, codes[self.field, lead]].sum(axis=1)
            if self.table is not None:
                found = self.table[leaf, place, pattern[:, None]]
            else:
                found = shares(self.value, patterns(pattern, self.field.shape[1]), self.cover)
            out[:, lead] += np.bincount(self.field.ravel(), found.ravel(), len(out))

    def _row(self, leaf: int, pattern: Codes) -> tuple[Floats, Codes]:
        """Shares (d x rows) and the row of each lead."""
        if self.table is not None:
            return self.table[leaf], pattern
        seen, row = np.unique(pattern, return_inverse=True)
        found = shares(self.value[leaf, None], patterns(seen, self.field.shape[1]), self.cover[leaf, None])
        return np.ascontiguousarray(found.T), row.reshape(-1)


def patterns(numbers: Codes, fields: int) -> npt.NDArray[np.bool_]:
    """Which fields pass (patterns x fields), of patterns by their number."""
    return np.asarray(numbers[:, None] >> np.arange(fields) & 1).astype(np.bool_)


def grouped(paths: Sequence[Path], tabled: int = TABLED) -> list[Leaves]:
    """Leaves by the number of fields on their path, fewest first; tables while they hold `tabled` doubles at most."""
    found, left = [], tabled
    for fields in sorted({len(p.field) for p in paths} - {0}):
        group = [p for p in paths if len(p.field) == fields]
        size = len(group) * fields * 2**fields
        found.append(Leaves.of(group, tabled=size <= left))
        left -= size
    return found


def mean(paths: Sequence[Path]) -> float:
    """What the forest gives on average: the value of the game without any field."""
    return float(sum(p.value * float(np.prod(p.cover)) for p in paths))


def contributions(groups: Sequence[Leaves], codes: Codes) -> Floats:
    """Shapley values (inputs x leads) of leads by their codes (inputs x leads)."""
    out = np.zeros(codes.shape)
    for start in range(0, codes.shape[1], CHUNK):
        some = np.ascontiguousarray(codes[:, start : start + CHUNK])
        found = np.zeros(some.shape)
        for leaves in groups:
            (leaves.add if some.shape[1] >= MANY else leaves.add_few)(some, found)
        out[:, start : start + CHUNK] = found
    return out
