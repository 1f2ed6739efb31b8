"""Attacks on the inputs of a trained model: what training hardens against and audits measure with."""

from .ascent import ascend
from .ball import Ball, Norm, Range

__all__ = ["Ball", "Norm", "Range", "ascend"]
