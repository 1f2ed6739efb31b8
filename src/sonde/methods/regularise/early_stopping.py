"""Early stopping.

Entry: early stopping; overfitting.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from sonde.core import Event, Finished, Measured, Method, Params, Refused, Run, SondeError, Started
from sonde.core.method import defines
from sonde.methods.observe.validate import Validate


class EarlyStopping(Method):
    """End the stage when a validation metric has not improved for a while, and ship the best weights seen.

    metric: a name that validation measures: `loss`, `accuracy`, `mse`...
    patience: measurements without improvement after which the stage ends; 0 never ends it, and only restores.
    min_delta: the least change that counts as an improvement, in the metric's unit.

    It comes after what measures, and after a method that averages weights (EMA), since it keeps what that method would
    ship; another order is refused. Of a game it watches a score, not `loss`, of which every player has one. A privacy
    guarantee does not cover the validation rows it reads.
    """

    def __init__(self, metric: str = "loss", patience: int = 10, min_delta: float = 0.0, split: str = "val") -> None:
        self.metric, self.patience, self.min_delta, self.split = metric, patience, min_delta, split
        self.sign = -1.0 if metric.partition("/")[0] in LOWER_IS_BETTER else 1.0
        self.best, self.best_step, self.waited = -math.inf, 0, 0
        self.kept: dict[str, Tensor] = {}
        self.restored = False

    def setup(self, run: Run) -> None:
        """Refuse a run in which it would keep other weights than the best, or none."""
        after = run.methods[run.methods.index(self) + 1 :]
        for method in after:
            name = type(method).__name__
            if defines(method, "weights"):
                raise Refused(f"EarlyStopping before {name} keeps weights that {name} would not ship", _moved(name))
            if isinstance(method, Validate):  # at the end of a stage the last weights would be measured too late
                raise Refused(f"EarlyStopping before {name} never weighs a stage's last weights", _moved(name))
        if not any(method.measures for method in run.methods):
            raise Refused("EarlyStopping waits for measurements, and no method measures", "add Validate before it")
        if self.metric == "loss" and not run.alone:
            raise Refused(
                "EarlyStopping watches 'loss', of which every player of a game has one that falls at another's cost",
                "remove EarlyStopping, or watch a score that Validate measures: metric=NAME",
            )

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


def _moved(name: str) -> str:
    return f"put {name} before EarlyStopping in the list of methods, or leave one of them out"


LOWER_IS_BETTER = frozenset({"loss", "nll", "mse", "mae", "error"})
