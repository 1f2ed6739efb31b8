"""Averages of the weights along training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sonde.core import Event, Method, Params, Run, Started, Stepped
from sonde.core.engine import placed_like


class EMA(Method):
    """Exponential moving average of the weights, which is what is evaluated and shipped (Polyak and Juditsky, 1992).

        shadow_t = d_t shadow_{t-1} + (1 - d_t) theta_t,    d_t = min(decay, (1 + t) / (10 + t))

    The ramp of d_t (as in TensorFlow's ExponentialMovingAverage) keeps the first steps from weighing on a short run.
    Running statistics of normalisation layers are averaged too; integer buffers are copied.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay lies in [0, 1); got {decay}")
        self.decay, self.count = decay, 0
        self.shadow: dict[str, Tensor] = {}

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started):
            now = run.objective.state_dict()
            if self.shadow:  # loaded, from wherever it was kept
                self.shadow = {k: placed_like(self.shadow[k], v) for k, v in now.items()}
            else:
                self.shadow = {k: v.detach().clone() for k, v in now.items()}
        elif isinstance(event, Stepped):
            self.count += 1
            decay = min(self.decay, (1 + self.count) / (10 + self.count))
            now = run.objective.state_dict()
            floats = [k for k, v in now.items() if v.is_floating_point()]
            torch._foreach_lerp_(_local(self.shadow, floats), _local(now, floats), 1 - decay)
            for k in now.keys() - set(floats):
                self.shadow[k].copy_(now[k])

    def weights(self, run: Run, weights: Params) -> Params:
        """See `Method.weights`."""
        return self.shadow or weights

    def state_dict(self) -> dict[str, Any]:
        """The averages."""
        return {"count": self.count, "shadow": self.shadow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.count, self.shadow = state["count"], {k: v.clone() for k, v in state["shadow"].items()}


def _local(tensors: dict[str, Tensor], names: list[str]) -> list[Tensor]:
    """The tensors by name; of a sharded one, the part that this process holds."""
    return [t.to_local() if hasattr(t := tensors[k], "to_local") else t for k in names]
