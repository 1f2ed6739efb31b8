"""The nouns and the one loop: `Batch`, `Term`/`Loss`, `Objective`, `Method`, `Recipe`, and `Run` under `fit`."""

from .backprop import Backprop, NonFinite
from .batch import Batch, map_tree
from .build import Build
from .engine import Engine, pick_device, rank_and_world, seed_everything
from .errors import Refused, SondeError
from .loop import Budget, fit
from .loss import Loss, Term
from .measure import Measure
from .method import (
    At,
    Epoched,
    Event,
    Failed,
    Finished,
    Gradient,
    Grads,
    Measured,
    Method,
    Params,
    Read,
    Settled,
    Source,
    Started,
    Stepped,
    defines,
)
from .objective import Objective
from .recipe import Recipe, Stage
from .run import Run
from .state import Corrupt, digest, read_state, write_state

__all__ = [
    "At",
    "Backprop",
    "Batch",
    "Budget",
    "Build",
    "Corrupt",
    "Engine",
    "Epoched",
    "Event",
    "Failed",
    "Finished",
    "Gradient",
    "Grads",
    "Loss",
    "Measure",
    "Measured",
    "Method",
    "NonFinite",
    "Objective",
    "Params",
    "Read",
    "Recipe",
    "Refused",
    "Run",
    "Settled",
    "SondeError",
    "Source",
    "Stage",
    "Started",
    "Stepped",
    "Term",
    "Corrupt",
    "defines",
    "digest",
    "fit",
    "map_tree",
    "pick_device",
    "rank_and_world",
    "read_state",
    "seed_everything",
    "write_state",
]
