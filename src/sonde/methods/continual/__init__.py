"""What keeps a model from forgetting: methods for data that come as a stream of experiences, one a stage.

Entry: continual learning; catastrophic forgetting.
"""

from .agem import AGEM
from .dark_replay import DarkReplay
from .ewc import EWC
from .grow import GrowColumns
from .lwf import LearningWithoutForgetting
from .replay import Replay
from .retention import Retention
from .synaptic import SynapticIntelligence

__all__ = [
    "AGEM",
    "EWC",
    "DarkReplay",
    "GrowColumns",
    "LearningWithoutForgetting",
    "Replay",
    "Retention",
    "SynapticIntelligence",
]
