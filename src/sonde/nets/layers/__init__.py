"""Blocks that two or more architectures share."""

from .normalise import Normalise
from .scattering import Scattering

__all__ = ["Normalise", "Scattering"]
