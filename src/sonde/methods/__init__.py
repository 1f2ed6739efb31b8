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
from .robust import FGSM, PGD, TRADES, GaussianNoise

__all__ = [
    "EMA",
    "FGSM",
    "PGD",
    "TRADES",
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
    "GaussianNoise",
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
