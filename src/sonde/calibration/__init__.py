"""From scores to probabilities, sets and intervals to be taken at their word, fitted on rows held out of training.

    from sonde.calibration import temperature, conformal

    calibrated = temperature.fit(logits, y)             # of validation rows
    p = calibrated(new_logits)                          # (N, C), rows add up to one
    sets = conformal.fit(calibrated(logits), y, alpha=0.1)
    sets(p)                                             # (N, C) bool: holds the true class for 90 % of new rows

Every `fit` takes logits or probabilities and classes as tensors and returns a frozen object of plain numbers.
"""

from .conformal import ResidualIntervals, Sets
from .isotonic import Isotonic
from .temperature import Temperature
from .vector import VectorScaling

__all__ = ["Isotonic", "ResidualIntervals", "Sets", "Temperature", "VectorScaling"]
