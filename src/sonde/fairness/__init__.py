"""What groups are given: the rates of decisions by group, with intervals, and decisions that make rates equal."""

from .decisions import Decisions, decided
from .measures import (
    average_odds_difference,
    confusion,
    demographic_parity_difference,
    equal_opportunity_difference,
    equalised_odds_difference,
    fairness_measures,
)
from .thresholds import GroupThresholds

__all__ = [
    "Decisions",
    "GroupThresholds",
    "average_odds_difference",
    "confusion",
    "decided",
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "equalised_odds_difference",
    "fairness_measures",
]
