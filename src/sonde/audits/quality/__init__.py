"""How good the answers are: from predictions and truths to measures, and what simpler models reach on the same rows."""

from .baselines import Baseline, baselines
from .classification import PerClass, classification, confusion, per_class
from .intervals import Comparison, omission
from .multilabel import multilabel
from .regression import regression
from .task import measure, scores

__all__ = [
    "Baseline",
    "Comparison",
    "PerClass",
    "baselines",
    "classification",
    "confusion",
    "measure",
    "multilabel",
    "omission",
    "per_class",
    "regression",
    "scores",
]
