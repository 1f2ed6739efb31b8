"""Blocks that two or more architectures share."""

from .normalise import Normalise
from .remember import Remember
from .scattering import Scattering

__all__ = ["Normalise", "Remember", "Scattering"]
