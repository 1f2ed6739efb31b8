"""How good the answers are: from predictions and truths to measures, and what simpler models reach on the same rows."""

from .classification import PerClass, classification, confusion, per_class
from .intervals import Comparison, omission
from .multilabel import multilabel
from .regression import regression

__all__ = [
    "Comparison",
    "PerClass",
    "classification",
    "confusion",
    "multilabel",
    "omission",
    "per_class",
    "regression",
]
