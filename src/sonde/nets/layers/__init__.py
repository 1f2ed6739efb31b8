"""Blocks that two or more architectures share."""

from .normalise import Normalise

__all__ = ["Normalise"]
