"""The learning rate lowered when a measurement stops improving.

As torch's `ReduceLROnPlateau`, with a relative threshold. The rate is the schedule's times this method's factor, so it
goes with any schedule; its state is its own and is saved.
"""

from __future__ import annotations

import math
from typing import Any

from sonde.core import Event, Measured, Method, Refused, Run, SondeError

from .descend import Descend


class ReduceOnPlateau(Method):
    """Multiply the learning rate by `factor` when a validation metric has not improved for a while.

    metric, split: what is watched: `loss` falls, a score such as `accuracy` rises.
    patience: measurements without improvement that pass without consequence. cooldown: measurements after a reduction
        that are not counted. threshold: the least relative change that is an improvement.
    least: the factor on the rate goes no lower.

    Such a run reads its validation rows to choose the rate: a privacy guarantee does not cover them.
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        metric: str = "loss",
        split: str = "val",
        cooldown: int = 0,
        threshold: float = 1e-4,
        least: float = 0.0,
    ) -> None:
        if not 0 < factor <= 1:
            raise ValueError(f"factor lies in (0, 1]; got {factor}")
        self.factor, self.patience, self.metric, self.split = factor, patience, metric, split
        self.cooldown, self.threshold, self.least = cooldown, threshold, least
        self.falls = metric.partition("/")[0] in ("loss", "nll", "mse", "mae", "error")
        self.now, self.best, self.waited, self.resting = 1.0, math.inf if self.falls else -math.inf, 0, 0

    def setup(self, run: Run) -> None:
        """Refuse a run without measurements, or whose update rule has no rate to lower."""
        if not isinstance(run.updater, Descend):
            name = type(run.updater).__name__
            raise Refused(f"ReduceOnPlateau does not know the learning rate of {name}", "use sgd, adamw or another")
        if not any(method.measures for method in run.methods):
            raise Refused("ReduceOnPlateau waits for measurements, and no method measures", "add Validate")
        if self.metric == "loss" and not run.alone:
            raise Refused(
                "ReduceOnPlateau watches 'loss', of which every player of a game has one that falls at another's cost",
                "remove ReduceOnPlateau, or watch a score that Validate measures: metric=NAME",
            )

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Measured) and event.split == self.split:
            if self.metric not in event.values:
                raise SondeError(
                    f"ReduceOnPlateau watches {self.metric!r}, which validation does not measure",
                    f"choose one of {', '.join(event.values)}",
                )
            self.weigh(event.values[self.metric])

    def weigh(self, value: float) -> None:
        """Count a measurement."""
        bar = self.best * (1 - self.threshold if self.falls else 1 + self.threshold)
        if value < bar if self.falls else value > bar:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.resting:
            self.resting, self.waited = self.resting - 1, 0
        if self.waited > self.patience:
            self.now = max(self.now * self.factor, self.least)
            self.waited, self.resting = 0, self.cooldown

    def pace(self) -> float:
        """See `Paces`."""
        return self.now

    def paces(self, run: Run, turn: str) -> dict[str, float]:
        """See `Paces`."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The factor, the best so far, and how long ago."""
        return {k: getattr(self, k) for k in ("now", "best", "waited", "resting")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name, value in state.items():
            setattr(self, name, value)
