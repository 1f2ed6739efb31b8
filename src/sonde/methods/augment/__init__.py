"""Random changes to the rows of a batch that keep, or mix, their answers.

Each file holds one idea twice: a pure function of tensors, in which the change is an argument, and a `Method` that
draws the change for every row from torch's global generator. All of them work on the whole batch at once, on the
device it is on. Those that treat rows one by one keep `records`; MixUp and CutMix join rows and clear it.

Entry: image augmentation.
"""

from .colour import Colour
from .crop import Crop
from .cutmix import CutMix
from .erase import Erase
from .flip import Flip
from .mixup import MixUp
from .rotate import Rotate
from .scale import Scale
from .shift import Shift

__all__ = ["Colour", "Crop", "CutMix", "Erase", "Flip", "MixUp", "Rotate", "Scale", "Shift"]
