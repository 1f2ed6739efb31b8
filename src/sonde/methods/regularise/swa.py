"""Stochastic weight averaging: the mean of the weights along the end of a run.

Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, Averaging weights leads to wider optima and better generalization,
2018, Algorithm 1. Differences from the paper:

- The learning rate is the run's own business: a constant or cyclical one makes the weights worth averaging, and one
  that goes to zero leaves little to average.
- Statistics of BatchNorm are recomputed over the training rows as they are, without augmentation and dropout: those
  are the inputs of an evaluation.

Entry: weight averaging.
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from sonde.core import Event, Finished, Method, Params, Refused, Run, SondeError, Source, Started, Stepped
from sonde.core.engine import placed_like

from ..optimise.statistics import keeps_statistics, renew_statistics
from .ema import EMA


class SWA(Method):
    """Ship the mean of the weights over the end of the stage, taken once an epoch (Izmailov et al., 2018).

        w_SWA <- (n w_SWA + w) / (n + 1)

    start: the fraction of the stage after which weights are averaged, in [0, 1).
    every_steps: steps between two captures; 0 for once an epoch.

    What is evaluated is the mean so far, with averaged running statistics. When the stage ends, those of BatchNorm are
    computed anew by one pass over the source, since no average of statistics is that of the averaged weights; the
    pass is announced, so private training refuses it. Every stage has a mean of its own.
    """

    def __init__(self, start: float = 0.75, every_steps: int = 0) -> None:
        if not 0 <= start < 1:
            raise ValueError(f"start is a fraction of the stage, in [0, 1); got {start}")
        if every_steps < 0:
            raise ValueError(f"every_steps is a number of steps, 0 for an epoch; got {every_steps}")
        self.start, self.every_steps = start, every_steps
        self.count = 0  # n
        self.mean: dict[str, Tensor] = {}

    def setup(self, run: Run) -> None:
        """Refuse a second average, of which one would be computed for nothing."""
        if any(isinstance(method, EMA) for method in run.methods):
            raise Refused("SWA and EMA each ship an average of their own, and a run ships one", "leave SWA or EMA out")

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started):
            self._begin(run, event.source)
        elif isinstance(event, Stepped) and run.fraction >= self.start:
            source = run.source
            every = self.every_steps or (source.steps_per_epoch if source else None) or 1
            if run.done % every == 0:
                self._capture(run)
        elif isinstance(event, Finished):
            if not self.count:
                warnings.warn("SWA averaged nothing: the stage ended before the first capture", stacklevel=2)
            elif keeps_statistics(run.objective):
                self._renew_statistics(run, event.source)

    def _begin(self, run: Run, source: Source) -> None:
        if source.steps_per_epoch is None:
            if not self.every_steps:
                raise SondeError("SWA averages once an epoch, and this source has none", "give SWA(every_steps=...)")
            if keeps_statistics(run.objective):
                what = "SWA computes BatchNorm's statistics anew by a pass over the source, which has no passes"
                raise SondeError(what, "use a net without BatchNorm")
        if run.done == 0:
            self.count, self.mean = 0, {}
        else:  # loaded, from wherever it was kept
            own = run.objective.state_dict()
            self.mean = {k: placed_like(v, own[k]) for k, v in self.mean.items()}

    def _capture(self, run: Run) -> None:
        now = run.objective.state_dict()
        if not self.count:
            self.mean = {k: v.detach().clone() for k, v in now.items()}
        else:
            for k, v in now.items():
                if v.is_floating_point():
                    self.mean[k].lerp_(v.detach(), 1 / (self.count + 1))
                else:
                    self.mean[k].copy_(v)
        self.count += 1

    def _renew_statistics(self, run: Run, source: Source) -> None:
        """Put the statistics of the training rows under the averaged weights into the mean."""
        with run.evaluating() as objective:
            run.load_weights(self.mean)
            renew_statistics(run, source, self)
            self.mean = {k: v.detach().clone() for k, v in objective.state_dict().items()}

    def weights(self, run: Run, weights: Params) -> Params:
        """See `Method.weights`."""
        return self.mean or weights

    def state_dict(self) -> dict[str, Any]:
        """The mean so far, and of how many."""
        return {"count": self.count, "mean": self.mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.count, self.mean = state["count"], {k: v.clone() for k, v in state["mean"].items()}
