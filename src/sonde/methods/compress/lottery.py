"""Lottery tickets: train, prune the smallest weights, rewind the others to where they were early on, train again.

Frankle and Carbin, The lottery ticket hypothesis, 2019, sec. 1 and 2, iterative pruning; with steps > 0 it is late
rewinding (Frankle, Dziugaite, Roy and Carbin, Linear mode connectivity and the lottery ticket hypothesis, 2020,
Algorithm 2), without which larger nets have no tickets. Difference from the latter: the schedule of a new round starts
at its beginning, not at the rewound step.

Entry: pruning.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from sonde.core import Event, Finished, Grads, Method, Params, Run, SondeError, Started, Stepped
from sonde.core.engine import placed_like

from ._masks import (
    Masks,
    Scope,
    check_order,
    check_scope,
    hold,
    masked_gradient,
    prunable,
    smallest_out,
    trained,
    zeroed,
)


class LotteryTicket(Method):
    """Between stages, prune the smallest weights and rewind the rest to an early step (Frankle and Carbin, 2019).

    share: of the weights that are left, how many each stage after the first begins without, in [0, 1); with 0.2, 80 %
        are left in the second stage, 64 % in the third.
    steps: the step of the first stage to rewind to; 0 is where it started from.
    scope: `global` compares all weights with each other; `layer` takes the same share of every layer.

    Every stage trains one ticket: give the recipe as many stages as tickets, or call `fit` as often. The update rule
    begins each without memory of the one before. Averages of weights (EMA, SWA) belong before it in the list.
    """

    def __init__(self, share: float = 0.2, steps: int = 0, scope: Scope = "global") -> None:
        if not 0 <= share < 1:
            raise ValueError(f"share is of the weights that are left, in [0, 1); got {share}")
        if steps < 0:
            raise ValueError(f"steps is the step to rewind to, 0 or more; got {steps}")
        check_scope(scope)
        self.share, self.steps, self.scope = share, steps, scope
        self.masks: Masks = {}
        self.kept = 1.0  # the share of weights that is left
        self.early: dict[str, Tensor] = {}
        self.stage = 0  # the stage that the masks are of

    def setup(self, run: Run) -> None:
        """Refuse a list in which unpruned weights would be shipped."""
        check_order(run, self)

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        first = run.stage == 0
        if isinstance(event, Started) and run.stage > self.stage:
            self.stage = run.stage
            self._next_ticket(run)
        elif isinstance(event, Started | Stepped) and first and run.done == self.steps and not self.early:
            self.early = {k: v.detach().clone() for k, v in _rewindable(run).items()}
        elif isinstance(event, Finished):
            with torch.no_grad():  # another method may have put earlier weights back
                for player in run.objective.players():
                    hold(self.masks, run.params(player))
            if not self.early:
                raise SondeError(
                    f"LotteryTicket rewinds to step {self.steps}, and the first stage ended at step {run.step}",
                    "choose fewer steps: lottery_ticket(steps=...)",
                )

    def _next_ticket(self, run: Run) -> None:
        params = prunable(run)
        self.kept *= 1 - self.share
        if self.share:
            # What is zero already is the smallest, so the share of all weights counts from nothing.
            self.masks = smallest_out(params, 1 - self.kept, self.scope)
        now = run.objective.state_dict()
        early = {k: placed_like(v, now[k]) for k, v in zeroed(self.masks, self.early).items()}
        run.load_weights({**now, **early})
        run.renew()

    def grads(self, run: Run, turn: str, grads: Grads) -> Grads:
        """See `Method.grads`."""
        return masked_gradient(self.masks, grads)

    def project(self, run: Run, turn: str) -> None:
        """See `Method.project`."""
        hold(self.masks, run.params(turn))

    def weights(self, run: Run, weights: Params) -> Params:
        """See `Method.weights`."""
        return zeroed(self.masks, weights) if self.masks else weights

    def state_dict(self) -> dict[str, Any]:
        """The masks, and what is rewound to."""
        return {"stage": self.stage, "kept": self.kept, "masks": self.masks, "early": self.early}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.stage, self.kept = state["stage"], state["kept"]
        self.masks = {k: m.clone() for k, m in state["masks"].items()}
        self.early = {k: v.clone() for k, v in state["early"].items()}


def _rewindable(run: Run) -> Params:
    """What training moves: the trained parameters, and BatchNorm's running statistics."""
    found = trained(run)
    for name, module in run.objective.named_modules():
        if isinstance(module, _BatchNorm):
            found |= {f"{name}.{k}" if name else k: b for k, b in module.named_buffers(recurse=False)}
    return found
