"""What is minimised: one learning problem a file."""

from .classify import Classify
from .classify_tasks import ClassifyTasks
from .contrast import Contrast
from .debias import Debias
from .gan import GAN
from .multilabel import Multilabel
from .regress import Regress
from .triplet import Triplet

__all__ = ["GAN", "Classify", "ClassifyTasks", "Contrast", "Debias", "Multilabel", "Regress", "Triplet"]
