"""What changes how a model is learned: everything here is a `Method`, or a function that returns one."""

from sonde.core import Backprop

from .augment import Colour, Crop, CutMix, Erase, Flip, MixUp, Rotate, Scale, Shift
from .observe.checkpoint import Checkpoint
from .observe.metrics_log import MetricsLog
from .observe.validate import Validate
from .optimise.clip import Clip
from .optimise.descend import Descend, adam, adamw, sgd
from .optimise.fit_inputs import FitInputs
from .regularise.early_stopping import EarlyStopping
from .regularise.ema import EMA
from .regularise.label_smoothing import LabelSmoothing

__all__ = [
    "EMA",
    "Backprop",
    "Checkpoint",
    "Clip",
    "Colour",
    "Crop",
    "CutMix",
    "Descend",
    "EarlyStopping",
    "Erase",
    "FitInputs",
    "Flip",
    "LabelSmoothing",
    "MetricsLog",
    "MixUp",
    "Rotate",
    "Scale",
    "Shift",
    "Validate",
    "adam",
    "adamw",
    "sgd",
]
