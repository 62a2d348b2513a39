"""Explains a compiled forest's scores by source field: shares of the probability, and points of the served score."""

from dataclasses import dataclass

import numpy as np

from serving.compiled.description import Compiled, Floats
from serving.compiled.encoding import Encoded
from serving.compiled.layout import Layout
from serving.compiled.paths import codes, forest_paths, refuse_unexplainable
from serving.compiled.points import curve, points
from serving.compiled.shapley import contributions, grouped, mean


@dataclass(frozen=True)
class Explained:
    """Why leads have their scores, by the fields that the forest asks about.

    `base` and `probability` are the forest's, before calibration: `base` plus the sum of a lead's `contributions`
    (fields x leads) is its `probability`. `base_score` (0-100) plus the sum of its `points` (fields x leads) is its
    served score before rounding.
    """

    fields: tuple[str, ...]
    base: float
    probability: Floats
    contributions: Floats
    base_score: float
    points: Floats


class Explainer:
    """Exact TreeSHAP of a compiled forest by field; threads may share it.

    It is made in a second or two for 100 trees of depth 10, and holds up to 256 MB of tables. CannotExplain for boosted
    trees.
    """

    def __init__(self, compiled: Compiled, layout: Layout) -> None:
        refuse_unexplainable(compiled.description)
        self._compiled, self._layout = compiled, layout
        paths = forest_paths(compiled, layout)
        self.base = mean(paths)
        self._groups = grouped(paths)
        inputs = compiled.description.inputs
        self.fields = tuple(inputs[place.index].name for place in layout.inputs)

    def explain(self, encoded: Encoded, probability: Floats) -> Explained:
        """Explain an encoded batch, whose forest's probabilities are known; leads that are the same to it once."""
        rows, of = np.arange(len(encoded.key)), np.arange(len(encoded.key))
        if encoded.exact:
            _, rows, of = np.unique(encoded.key, return_index=True, return_inverse=True)
        found = contributions(self._groups, codes(encoded, rows, self._layout))
        calibration = self._compiled.description.calibration
        moved = points(found, self.base, probability[rows], calibration)
        base_score = 100 * float(curve(calibration)(np.array([self.base]))[0])
        return Explained(self.fields, self.base, probability, found[:, of], base_score, moved[:, of])
