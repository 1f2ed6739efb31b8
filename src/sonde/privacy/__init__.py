"""Privacy accounting: what noisy steps on sampled records have spent, and how much noise a promise needs."""

from .planning import noise_for, steps_within
from .quantiles import private_quantiles
from .spending import ACCOUNTANTS, Spent, rounded_up, spent, spent_by

__all__ = ["ACCOUNTANTS", "Spent", "noise_for", "private_quantiles", "rounded_up", "spent", "spent_by", "steps_within"]
