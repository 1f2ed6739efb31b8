"""Random changes to the rows of a batch that keep, or mix, their answers.

Each file holds one idea twice: a pure function of tensors, in which the change is an argument, and a `Method` that
draws the change for every row from torch's global generator. All of them work on the whole batch at once, on the
device it is on. Those that treat rows one by one keep `records`; MixUp and CutMix join rows and clear it.

Entry: image augmentation.
"""

from .add_noise import AddNoise
from .colour import Colour
from .corrupt import Corrupt
from .crop import Crop
from .cutmix import CutMix
from .erase import Erase
from .flip import Flip
from .jitter import Jitter
from .magnitude_warp import MagnitudeWarp
from .mixup import MixUp
from .permutation import Permutation
from .rand_augment import RandAugment
from .rotate import Rotate
from .scale import Scale
from .scaling import Scaling
from .shift import Shift
from .spec_augment import SpecAugment
from .speed import Speed
from .time_shift import TimeShift
from .time_warp import TimeWarp
from .trivial_augment import TrivialAugment
from .window_slice import WindowSlice
from .window_warp import WindowWarp

__all__ = [
    "AddNoise",
    "Colour",
    "Corrupt",
    "Crop",
    "CutMix",
    "Erase",
    "Flip",
    "Jitter",
    "MagnitudeWarp",
    "MixUp",
    "Permutation",
    "RandAugment",
    "Rotate",
    "Scale",
    "Scaling",
    "Shift",
    "SpecAugment",
    "Speed",
    "TimeShift",
    "TimeWarp",
    "TrivialAugment",
    "WindowSlice",
    "WindowWarp",
]
