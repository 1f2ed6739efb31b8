"""What changes how a model is learned: everything here is a `Method`, or a function that returns one."""

from sonde.core import Backprop

from .augment import (
    AddNoise,
    Colour,
    Corrupt,
    Crop,
    CutMix,
    Erase,
    Flip,
    Jitter,
    MagnitudeWarp,
    MixUp,
    Permutation,
    RandAugment,
    Rotate,
    Scale,
    Scaling,
    Shift,
    SpecAugment,
    Speed,
    TimeShift,
    TimeWarp,
    TrivialAugment,
    WindowSlice,
    WindowWarp,
)
from .compress import Distil, Hint, LotteryTicket, Prune, Quantise
from .continual import (
    AGEM,
    EWC,
    DarkReplay,
    GrowColumns,
    LearningWithoutForgetting,
    Replay,
    Retention,
    SynapticIntelligence,
)
from .fair import GroupConstraint, Reweighing
from .observe.checkpoint import Checkpoint
from .observe.metrics_log import MetricsLog
from .observe.validate import Validate
from .optimise.clip import Clip
from .optimise.descend import Descend, adagrad, adam, adamw, lion, muon, rmsprop, sgd, soap
from .optimise.fit_inputs import FitInputs
from .optimise.initialise import LSUV, Initialise
from .optimise.layer_decay import LayerDecay
from .optimise.lbfgs import LBFGS
from .optimise.pcgrad import PCGrad
from .optimise.reduce_on_plateau import ReduceOnPlateau
from .optimise.sam import SAM
from .optimise.schedule_free import ScheduleFree
from .private.dpsgd import DPSGD
from .private.inputs import PrivateInputs
from .regularise.dropout import Dropout, SpatialDropout, StochasticDepth
from .regularise.early_stopping import EarlyStopping
from .regularise.ema import EMA
from .regularise.l1 import L1
from .regularise.l2 import L2
from .regularise.label_smoothing import LabelSmoothing
from .regularise.max_norm import MaxNorm
from .regularise.spectral_norm import SpectralNorm
from .regularise.swa import SWA
from .robust import FGSM, PGD, TRADES, GaussianNoise

__all__ = [
    "WindowWarp",
    "WindowSlice",
    "TimeWarp",
    "TimeShift",
    "Speed",
    "SpecAugment",
    "Scaling",
    "Permutation",
    "MagnitudeWarp",
    "Jitter",
    "Corrupt",
    "AddNoise",
    "DPSGD",
    "L1",
    "L2",
    "LSUV",
    "Dropout",
    "Initialise",
    "MaxNorm",
    "SpatialDropout",
    "SpectralNorm",
    "StochasticDepth",
    "LBFGS",
    "SAM",
    "SWA",
    "Distil",
    "Hint",
    "LotteryTicket",
    "PCGrad",
    "PrivateInputs",
    "Prune",
    "Quantise",
    "RandAugment",
    "SynapticIntelligence",
    "Retention",
    "Replay",
    "LearningWithoutForgetting",
    "GrowColumns",
    "DarkReplay",
    "EWC",
    "AGEM",
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
    "GroupConstraint",
    "LabelSmoothing",
    "LayerDecay",
    "MetricsLog",
    "MixUp",
    "ReduceOnPlateau",
    "Reweighing",
    "Rotate",
    "Scale",
    "ScheduleFree",
    "Shift",
    "TrivialAugment",
    "Validate",
    "adagrad",
    "adam",
    "adamw",
    "lion",
    "muon",
    "rmsprop",
    "sgd",
    "soap",
]
