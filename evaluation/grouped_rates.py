"""Rates among leads of which some repeat others, and their intervals.

What repeats of one lead say of the rate lies between one lead's worth (they all do the same) and as many leads' worth
as they are (each does as it likes). Which it is, the leads themselves tell: by how far the groups' conversions lie
from the rate (the linearised variance of a ratio over clusters, Cochran 1977, "Sampling Techniques", section 11).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluation.curves import Counts, wilson_interval

# Below these numbers of groups, leads whose repeats count once, what is measured on a part of the leads is chance more
# than fact: areas rest on pairs of both classes, and a bootstrap of few groups looks surer than it is.
FEW_GROUPS, FEW_OF_A_CLASS = 100, 20


@dataclass(frozen=True, eq=False)
class GroupedRate:
    """Groups of repeated leads by kind, arrays of the shape (kinds,).

    Of each kind there are `groups` groups, which hold `leads` leads each, of which `converted` converted.
    """

    leads: Counts
    converted: Counts
    groups: Counts

    @classmethod
    def of(cls, codes: NDArray[np.int64], labels: NDArray[np.int8]) -> "GroupedRate":
        """From single leads, shape (n,): the number of each one's group, and whether it converted (0, 1)."""
        own = np.unique(codes, return_inverse=True)[1]
        size, converted = np.bincount(own), np.bincount(own, labels).astype(np.int64)
        return cls(size, converted, np.ones_like(size))

    @cached_property
    def n(self) -> int:
        """Leads in all groups."""
        return int((self.groups * self.leads).sum())

    @cached_property
    def hits(self) -> int:
        """Converted leads in all groups."""
        return int((self.groups * self.converted).sum())

    @cached_property
    def distinct(self) -> int:
        """Groups: leads, repeats counted once."""
        return int(self.groups.sum())

    @cached_property
    def of_the_rarer_class(self) -> int:
        """Groups that hold a lead of a class, of the class that fewer groups hold."""
        won, lost = self.converted > 0, self.converted < self.leads
        return int(min(self.groups[won].sum(), self.groups[lost].sum()))

    @cached_property
    def effective(self) -> float:
        """How many leads without repeats would tell the rate as closely: from `n`^2 / sum of the squared sizes to `n`.

        The lower bound where no lead, or every lead, converted: nothing then says how repeats go together. 0 without
        leads.
        """
        if not self.n:
            return 0.0
        fewest = self.n**2 / float((self.groups * self.leads**2).sum())
        rate, count = self.hits / self.n, self.distinct
        away = float((self.groups * (self.converted - rate * self.leads) ** 2).sum())
        if count < 2 or not 0 < rate < 1:
            return fewest
        variance = away * count / (count - 1) / self.n**2
        # Groups that all convert at the rate itself have no variance: then every lead speaks for itself.
        return float(np.clip(rate * (1 - rate) / variance, fewest, self.n)) if variance else float(self.n)

    def interval(self, rate: float | None = None) -> tuple[float, float]:
        """Ends of the 95% interval: Wilson's with the effective number of leads.

        With `rate` they are of that rate, where the groups are a sample of the leads that it is of. 0 and 1 without
        leads.
        """
        if not self.n:
            return 0.0, 1.0
        rate = self.hits / self.n if rate is None else rate
        low, high = wilson_interval(np.array([rate * self.effective]), np.array([self.effective]))
        return float(low[0]), float(high[0])
