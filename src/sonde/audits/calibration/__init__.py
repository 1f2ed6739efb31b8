"""Whether probabilities can be taken at their word, what would mend them, and what to do where the model is unsure."""

from .conformal import Conformal
from .recalibration import Recalibration
from .reliability import Reliability
from .selective import Selective

__all__ = ["Conformal", "Recalibration", "Reliability", "Selective"]
