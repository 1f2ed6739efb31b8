"""What makes a model smaller, or its numbers coarser: distillation, pruning, quantisation."""

from .distil import Distil
from .hint import Hint
from .lottery import LotteryTicket
from .prune import Prune
from .quantise import Quantise

__all__ = ["Distil", "Hint", "LotteryTicket", "Prune", "Quantise"]
