"""Privacy accounting: what noisy steps on sampled records have spent, and how much noise a promise needs."""

from .planning import noise_for, steps_within
from .spending import ACCOUNTANTS, Spent, spent

__all__ = ["ACCOUNTANTS", "Spent", "noise_for", "spent", "steps_within"]
