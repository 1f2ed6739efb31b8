"""Early stopping.

Entry: early stopping; overfitting.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from sonde.core import Event, Finished, Measured, Method, Params, Run, SondeError, Started


class EarlyStopping(Method):
    """End the stage when a validation metric has not improved for a while, and ship the best weights seen.

    metric: a name that validation measures: `loss`, `accuracy`, `mse`...
    patience: measurements without improvement after which the stage ends; 0 never ends it, and only restores.
    min_delta: the least change that counts as an improvement, in the metric's unit.

    It must come after a method that averages weights (EMA), since it keeps what that method would ship. A privacy
    guarantee does not cover the validation rows it reads.
    """

    def __init__(self, metric: str = "loss", patience: int = 10, min_delta: float = 0.0, split: str = "val") -> None:
        self.metric, self.patience, self.min_delta, self.split = metric, patience, min_delta, split
        self.sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
        self.best, self.best_step, self.waited = -math.inf, 0, 0
        self.kept: dict[str, Tensor] = {}
        self.restored = False

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started) and run.done == 0:
            self.best, self.best_step, self.waited, self.kept, self.restored = -math.inf, run.step, 0, {}, False
        elif isinstance(event, Measured) and event.split == self.split:
            self._weigh(run, event)
        elif isinstance(event, Finished) and self.kept:
            self.restored = True
            run.load_weights(self.kept)

    def _weigh(self, run: Run, event: Measured) -> None:
        if self.metric not in event.values:
            raise SondeError(
                f"EarlyStopping watches {self.metric!r}, which validation does not measure",
                f"choose one of {', '.join(event.values)}: --set methods.early_stopping.metric=...",
            )
        value = self.sign * event.values[self.metric]
        if math.isnan(value):
            value = -math.inf  # as bad as can be: nothing compares with NaN, so it would stay the best
        if value > self.best + self.min_delta or not self.kept:
            self.best, self.best_step, self.waited = value, run.step, 0
            self.kept = {k: v.clone() for k, v in run.weights().items()}
        else:
            self.waited += 1
            if self.patience and self.waited >= self.patience:
                run.stop = f"no better {self.split} {self.metric} in {self.waited} measurements"

    def weights(self, run: Run, weights: Params) -> Params:
        """See `Method.weights`."""
        return self.kept if self.restored else weights

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return {k: getattr(self, k) for k in ("best", "best_step", "waited", "kept", "restored")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name, value in state.items():
            setattr(self, name, value)


LOWER_IS_BETTER = frozenset({"loss", "nll", "mse", "mae", "error"})
