"""Loss functions: what a prediction costs, one value a row, or a scalar that says it depends on rows jointly.

Each is a small frozen object whose settings are its constructor's and which is called like a function: pure, without
state. One that reads the class of a row also reads shares (N, C), as mixed and smoothed labels are, and is linear in
them.
"""

from .cross_entropy import KL, BinaryCrossEntropy, CrossEntropy
from .ctc import CTC
from .embedding import InfoNCE, PairMargin, TripletMargin
from .equations import Heat, Oscillator, derivative
from .focal import BinaryFocal, Focal
from .gaussian import GaussianNLL
from .hinge import BinaryHinge, Hinge
from .overlap import Dice, Tversky
from .regression import AbsoluteError, Huber, Quantile, SquaredError
from .term import LossFunction, as_term, jointly

__all__ = [
    "CTC",
    "KL",
    "AbsoluteError",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "BinaryHinge",
    "CrossEntropy",
    "Dice",
    "Focal",
    "GaussianNLL",
    "Heat",
    "Hinge",
    "Huber",
    "InfoNCE",
    "LossFunction",
    "Oscillator",
    "PairMargin",
    "Quantile",
    "SquaredError",
    "TripletMargin",
    "Tversky",
    "as_term",
    "derivative",
    "jointly",
]
