"""What is minimised: one learning problem a file."""

from .classify import Classify
from .multilabel import Multilabel
from .regress import Regress

__all__ = ["Classify", "Multilabel", "Regress"]
