"""What is minimised: one learning problem a file."""

from .classify import Classify
from .classify_tasks import ClassifyTasks
from .contrast import Contrast
from .debias import Debias
from .forecast import Forecast
from .gan import GAN
from .multi_task import MultiTask, UncertaintyWeighted
from .multilabel import Multilabel
from .pairs import Pairs
from .physics import Physics
from .predict_next import PredictNext
from .regress import Regress
from .transcribe import Transcribe
from .triplet import Triplet

__all__ = [
    "GAN",
    "Classify",
    "ClassifyTasks",
    "Contrast",
    "Debias",
    "Forecast",
    "MultiTask",
    "Multilabel",
    "Pairs",
    "Physics",
    "PredictNext",
    "Regress",
    "Transcribe",
    "Triplet",
    "UncertaintyWeighted",
]
