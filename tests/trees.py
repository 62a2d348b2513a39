"""A compiled tree written by hand."""

import numpy as np

from serving.compiled.description import Calibration, CategoryInput, Compiled, Description, NumericInput, Trees

TENTH = 0.1
NAN = float("nan")


def by_hand(calibration: Calibration | None = None) -> Compiled:
    """One tree: City is Pune -> 0.9; else Seconds at most a tenth -> 0.2; else 0.4. Missing Seconds are 5."""
    inputs = (
        NumericInput(name="Seconds", fill=5.0, minimum=0.0, maximum=1e6),
        CategoryInput(name="City", labels=("Mumbai", "Pune"), slots=3, max_length=20),
    )
    trees = Trees(
        roots=np.array([0], np.int32),
        slot=np.array([2, -1, 0, -1, -1], np.int32),
        threshold=np.array([NAN, NAN, TENTH, NAN, NAN]),
        set_of=np.array([0, -1, -1, -1, -1], np.int32),
        left=np.array([1, -1, 3, -1, -1], np.int32),
        right=np.array([2, -1, 4, -1, -1], np.int32),
        leaf0=np.array([NAN, 0.1, NAN, 0.8, 0.6]),
        leaf1=np.array([NAN, 0.9, NAN, 0.2, 0.4]),
        count=np.array([10.0, 5, 5, 3, 2]),
        sets=np.array([[False, True, False]]),
    )
    return Compiled(Description(inputs=inputs, link="votes", calibration=calibration), trees)
