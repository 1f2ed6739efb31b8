"""Synaptic intelligence: parameters are held by what moving them has gained.

Entry: catastrophic forgetting; continual learning.
"""

from __future__ import annotations

from typing import Any

import torch

from sonde.core import At, Event, Finished, Grads, Loss, Method, Params, Refused, Run, Started, Term

ByTurn = dict[str, Params]


class SynapticIntelligence(Method):
    """Hold each parameter by its share in the fall of earlier stages' loss (Zenke et al., 2017, eqs. 3 to 5).

        L + c sum_k Omega_k (theta~_k - theta_k)^2,    Omega_k = sum over stages of  omega_k / (Delta_k^2 + xi)

    with omega_k = -sum_t g_k(t) (theta_k(t + 1) - theta_k(t)) along the stage, g the gradient of the loss without this
    penalty, Delta_k the way the parameter went in the stage, and theta~ its value at the stage's end.

    strength: c. damping: xi, which bounds Omega where a parameter hardly moved.

    A stage's omega below 0 counts as 0, since it would push the parameter away. g is the gradient as it is where this
    method stands in the list: put it before those that clip. It reads no records and needs no second pass, so under
    private training its importance is made of noised gradients and costs no privacy.
    """

    def __init__(self, strength: float = 0.1, damping: float = 0.1) -> None:
        if not strength >= 0 or not damping > 0:
            raise ValueError(f"strength is at least 0 and damping above 0; got {strength} and {damping}")
        self.strength, self.damping = strength, damping
        self.importance: ByTurn = {}  # Omega, by turn
        self.anchor: ByTurn = {}  # theta~, where the last stage ended
        self.path: ByTurn = {}  # omega so far in this stage
        self.start: ByTurn = {}  # where this stage began
        self._last: ByTurn = {}  # where the parameters were before the step
        self._gradient: ByTurn = {}

    def setup(self, run: Run) -> None:
        """See `Method.setup`."""
        if run.sharded:
            raise Refused("SynapticIntelligence needs whole parameters, and fsdp shards them", "use --parallel ddp")

    def loss(self, at: At, loss: Loss) -> Loss:
        """See `Method.loss`."""
        if at.turn not in self.importance:
            return loss
        importance, anchor = self.importance[at.turn], self.anchor[at.turn]
        parts = [(importance[k] * (p - anchor[k]).square()).sum() for k, p in at.params.items() if k in anchor]
        return loss.with_term("synaptic", Term(torch.stack(parts).sum(), "penalty", self.strength))

    def grads(self, run: Run, turn: str, grads: Grads) -> Grads:
        """See `Method.grads`; keeps the gradient of the step's last evaluation until the parameters have moved."""
        kept = {k: g.detach().clone() for k, g in grads.items()}
        if self.strength and turn in self.importance:
            importance, anchor, params = self.importance[turn], self.anchor[turn], run.params(turn)
            for k in kept.keys() & anchor.keys():  # the penalty's own gradient is no part of the loss's fall
                kept[k] -= 2 * self.strength * importance[k] * (params[k].detach() - anchor[k])
        self._gradient[turn] = kept
        return grads

    def project(self, run: Run, turn: str) -> None:
        """See `Method.project`; adds the step to the path, and moves nothing."""
        path, last, gradient = self.path[turn], self._last[turn], self._gradient.pop(turn, {})
        for k, p in run.params(turn).items():
            if k in gradient and k in path:
                path[k].addcmul_(gradient[k], p.detach() - last[k], value=-1.0)
                last[k].copy_(p.detach())

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started):
            now = {turn: _now(run.params(turn)) for turn in run.objective.players()}
            if run.done == 0:
                self.start = {turn: {k: v.clone() for k, v in values.items()} for turn, values in now.items()}
                self.path = {turn: {k: torch.zeros_like(v) for k, v in p.items()} for turn, p in now.items()}
            self._last = now
        elif isinstance(event, Finished):
            for turn in run.objective.players():
                self._consolidate(turn, _now(run.params(turn)))

    def _consolidate(self, turn: str, now: Params) -> None:
        earlier, found = self.importance.get(turn, {}), {}
        for k, omega in self.path[turn].items():
            way = now[k] - self.start[turn][k]  # Delta
            found[k] = omega.clamp_min(0) / (way.square() + self.damping) + earlier.get(k, torch.zeros_like(omega))
        self.importance[turn], self.anchor[turn] = found, now

    def state_dict(self) -> dict[str, Any]:
        """The importances, where stages ended and began, and the path so far."""
        return {k: getattr(self, k) for k in ("importance", "anchor", "path", "start")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name, turns in state.items():
            setattr(self, name, {turn: {k: v.clone() for k, v in values.items()} for turn, values in turns.items()})


def _now(params: Params) -> Params:
    return {k: p.detach().clone() for k, p in params.items()}
