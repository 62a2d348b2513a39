"""From shares of the forest's probability to points of the served score (0-100), by a rule that keeps sum and sign."""

from collections.abc import Callable

import numpy as np

from serving.compiled.calibrating import calibrated
from serving.compiled.description import Calibration, Floats

# Sums of shares below this are rounding.
NOTHING = 1e-12


def curve(calibration: Calibration | None) -> Callable[[Floats], Floats]:
    """From the forest's probability to the served one; the same where a model is not calibrated."""
    return (lambda probability: probability) if calibration is None else lambda p: calibrated(p, calibration)


def points(contributions: Floats, base: float, probability: Floats, calibration: Calibration | None) -> Floats:
    """Points (fields x leads) of shares of the forest's probability (fields x leads).

    Each lead's points add up to its score less the base score, 100 x (f(probability) - f(base)) for the calibration
    f. All raising fields together move the score by the mean of what they do first and what they do last, after the
    lowering ones; so do the lowering ones. Each field has its part of that by its share. A field that raises never
    has points below 0, one that lowers never above, as f does not fall. Without calibration points are 100 x share.
    """
    serve = curve(calibration)
    up = np.maximum(contributions, 0.0).sum(axis=0)
    down = np.minimum(contributions, 0.0).sum(axis=0)
    start, end = serve(np.array([base])), serve(probability)
    whole = end - start
    rise = (serve(base + up) - start + end - serve(base + down)) / 2
    only_up, only_down = -down < NOTHING, up < NOTHING
    rise = np.where(only_up, whole, np.where(only_down, 0.0, rise))
    # Rounding must not give a side the other's sign.
    rise = np.maximum(rise, 0.0)
    fall = np.minimum(whole - rise, 0.0)
    per_up = np.divide(rise, up, out=np.zeros_like(up), where=~only_down)
    per_down = np.divide(fall, down, out=np.zeros_like(down), where=~only_up)
    return np.asarray(100 * np.where(contributions > 0, contributions * per_up, contributions * per_down))
