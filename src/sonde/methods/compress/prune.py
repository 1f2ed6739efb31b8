"""Pruning while training: the smallest weights go to zero, a few at a time, and stay there.

Zhu and Gupta, To prune, or not to prune: exploring the efficacy of pruning for model compression, 2018, eq. 1, from
an initial sparsity of zero. Differences from the paper: the share is of all weights together unless asked (the paper
prunes each layer alike), and begin and end are fractions of the stage.

Entry: pruning.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from sonde.core import Event, Finished, Grads, Method, Params, Run

from ._masks import Masks, Scope, check_order, check_scope, hold, masked_gradient, prunable, smallest_out, zeroed


class Prune(Method):
    """Set a growing share of the smallest weights to zero, for good (Zhu and Gupta, 2018).

        s_t = sparsity (1 - (1 - (t - start) / (end - start))^3)

    sparsity: the share of zeros at the end, in [0, 1), of the matrices and kernels; 0 prunes nothing.
    start, end: fractions of the stage between which the share grows; the rest of it trains what is left.
    every_steps: steps between two looks at the weights.
    scope: `global` compares all weights with each other; `layer` takes the same share of every layer.

    Zeros are exact, in the trained and in the shipped weights: they get no gradient, and are put back after every
    step whatever the update rule's momentum did. Averages of weights (EMA, SWA) belong before it in the list.
    """

    def __init__(
        self,
        sparsity: float = 0.8,
        start: float = 0.1,
        end: float = 0.7,
        every_steps: int = 10,
        scope: Scope = "global",
    ) -> None:
        if not 0 <= sparsity < 1:
            raise ValueError(f"sparsity is a share of weights, in [0, 1); got {sparsity}")
        if not 0 <= start < end <= 1:
            raise ValueError(f"start and end are fractions of the stage, 0 <= start < end <= 1; got {start}, {end}")
        if every_steps < 1:
            raise ValueError(f"every_steps is 1 or more; got {every_steps}")
        check_scope(scope)
        self.sparsity, self.start, self.end, self.every_steps, self.scope = sparsity, start, end, every_steps, scope
        self.reached = 0.0  # the share that is pruned by now: what is pruned stays so
        self.masks: Masks = {}

    def setup(self, run: Run) -> None:
        """Refuse a list in which unpruned weights would be shipped."""
        check_order(run, self)

    def at(self, fraction: float) -> float:
        """The share of zeros at a fraction of the stage, eq. 1."""
        t = min(1.0, max(0.0, (fraction - self.start) / (self.end - self.start)))
        return self.sparsity * (1 - (1 - t) ** 3)

    def project(self, run: Run, turn: str) -> None:
        """See `Method.project`."""
        last = turn == run.objective.turns(run.step)[-1]
        if last and ((run.done + 1) % self.every_steps == 0 or run.done + 1 >= run.total):
            share = self.at((run.done + 1) / run.total)
            if share > self.reached:
                self.reached, self.masks = share, smallest_out(prunable(run), share, self.scope)
                for player in run.objective.players():
                    hold(self.masks, run.params(player))
        hold(self.masks, run.params(turn))

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Finished):
            with torch.no_grad():  # another method may have put earlier weights back
                for player in run.objective.players():
                    hold(self.masks, run.params(player))
            if self.reached < self.sparsity:
                short = f"the stage ended early: {self.reached:.1%} of the weights are pruned, not {self.sparsity:.1%}"
                warnings.warn(short, stacklevel=2)

    def grads(self, run: Run, turn: str, grads: Grads) -> Grads:
        """See `Method.grads`."""
        return masked_gradient(self.masks, grads)

    def weights(self, run: Run, weights: Params) -> Params:
        """See `Method.weights`."""
        return zeroed(self.masks, weights) if self.masks else weights

    def state_dict(self) -> dict[str, Any]:
        """The masks."""
        return {"reached": self.reached, "masks": self.masks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.reached, self.masks = state["reached"], {k: m.clone() for k, m in state["masks"].items()}
