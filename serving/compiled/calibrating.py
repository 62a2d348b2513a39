"""Calibration and grades of a probability, as Spark's IsotonicRegressionModel and Bucketizer compute them."""

from bisect import bisect_left, bisect_right

import numpy as np
import numpy.typing as npt

from serving.compiled.description import Calibration, Floats, Grades


def calibrated(probability: Floats, calibration: Calibration) -> Floats:
    """Calibrated probability: level outside the boundaries, exact on one, a straight line between two."""
    x, y = np.asarray(calibration.boundaries), np.asarray(calibration.predictions)
    if len(x) == 1:
        return np.full(len(probability), y[0])
    at = np.searchsorted(x, probability, side="left")
    right = np.clip(at, 1, len(x) - 1)
    left = right - 1
    # Spark's order of operations, so that the last digit is the same.
    between = y[left] + (y[right] - y[left]) * (probability - x[left]) / (x[right] - x[left])
    found = np.where(at == 0, y[0], np.where(at == len(x), y[-1], between))
    inside = np.minimum(at, len(x) - 1)
    return np.where(x[inside] == probability, y[inside], found)


def calibrated_one(probability: float, calibration: Calibration) -> float:
    """Calibrated probability of one lead: the same double as `calibrated` gives, without the cost of arrays."""
    x, y = calibration.boundaries, calibration.predictions
    at = bisect_left(x, probability)
    if at == len(x):
        return y[-1]
    if at == 0 or x[at] == probability:
        return y[at]
    return y[at - 1] + (y[at] - y[at - 1]) * (probability - x[at - 1]) / (x[at] - x[at - 1])


def grade_codes(probability: Floats, grades: Grades) -> npt.NDArray[np.int64]:
    """Place of each probability's grade among `grades.labels`."""
    return np.searchsorted(np.asarray(grades.splits[1:-1]), probability, side="right").astype(np.int64)


def grade_of(probability: float, grades: Grades) -> str:
    """Grade of one lead."""
    return grades.labels[bisect_right(grades.splits, probability, 1, len(grades.splits) - 1) - 1]


def steepest(calibration: Calibration) -> float:
    """The largest rise of the calibrated probability per unit of the forest's probability."""
    x, y = np.asarray(calibration.boundaries), np.asarray(calibration.predictions)
    return float(np.max(np.diff(y) / np.diff(x), initial=0.0))
