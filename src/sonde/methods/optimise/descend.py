"""The usual update rule: a torch optimiser for each player, with a schedule and decay where decay belongs.

Entry: gradient descent; SGD; momentum; Nesterov; Adam; weight decay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sonde.core import Gradient, Method, Run
from sonde.core.engine import placed_like
from sonde.optim.schedules import Constant, Schedule

Make = Callable[[Iterable[dict[str, Any]]], torch.optim.Optimizer]


class Descend(Method):
    """One step of a torch optimiser per turn.

    make: builds the optimiser from parameter groups, e.g. `partial(torch.optim.SGD, lr=0.1)`.
    schedule: the factor on the learning rate, a function of (step, total steps) of the stage.

    Weight decay applies to matrices and kernels only: a bias or a norm's scale has no direction to shrink, and
    decaying it hurts (He et al., 2019, sec. 3.1). Each player has an optimiser of its own.
    """

    def __init__(self, make: Make, schedule: Schedule = Constant()) -> None:  # noqa: B008 - frozen, so safe to share
        self.make, self.schedule = make, schedule

    def setup(self, run: Run) -> None:
        """Build one optimiser per player."""
        self.optimisers = {
            turn: _optimiser(self.make, run.params(turn), run.sharded) for turn in run.objective.players()
        }
        self._base = {turn: [g["lr"] for g in o.param_groups] for turn, o in self.optimisers.items()}

    def update(self, run: Run, turn: str, gradient: Gradient) -> None:
        """See `Method.update`."""
        optimiser, grads = self.optimisers[turn], gradient()
        for name, p in run.params(turn).items():
            g = grads.get(name)  # None for one that the loss does not reach: no step, whatever an earlier one left
            if p.grad is not g:
                # Fused optimisers pair numbers by their place in memory: a gradient laid out otherwise goes wrong.
                p.grad = g if g is None or g.stride() == p.stride() else torch.empty_like(p).copy_(g)
        factor = self.schedule(run.done, run.total)
        for group, lr in zip(optimiser.param_groups, self._base[turn], strict=True):
            group["lr"] = factor * lr
        optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """The optimisers' state."""
        return {turn: o.state_dict() for turn, o in self.optimisers.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for turn, o in self.optimisers.items():
            saved, params = state[turn], [p for g in o.param_groups for p in g["params"]]
            # One entry a parameter, in the order of the groups; a moment has its parameter's shape, and its sharding.
            entries = {
                i: {k: placed_like(v, params[i]) if _moment(v, params[i]) else v for k, v in entry.items()}
                for i, entry in saved["state"].items()
            }
            o.load_state_dict({**saved, "state": entries})


def _moment(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape and value.dim() > 0


def _optimiser(make: Make, params: dict[str, Tensor], sharded: bool) -> torch.optim.Optimizer:
    optimiser = make([{"params": list(params.values())}])
    vectors = [p for p in params.values() if p.dim() <= 1]
    decays = bool(optimiser.defaults.get("weight_decay")) and bool(vectors)
    plain = {"fused": False} if sharded and optimiser.defaults.get("fused") else {}  # torch fuses no sharded step
    if not decays and not plain:
        return optimiser  # one group, so that a fused optimiser is called once
    matrices = [p for p in params.values() if p.dim() > 1]
    groups: list[dict[str, Any]] = [{"params": matrices, **plain}] if matrices else []
    undecayed = {"weight_decay": 0.0} if decays else {}
    return make([*groups, *([{"params": vectors, **undecayed, **plain}] if vectors else [])])


def sgd(
    lr: float,
    momentum: float = 0.9,
    nesterov: bool = True,
    weight_decay: float = 0.0,
    schedule: Schedule = Constant(),  # noqa: B008
) -> Descend:
    """Stochastic gradient descent with (Nesterov) momentum (Sutskever et al., 2013), fused where torch has it."""
    make = partial(
        torch.optim.SGD,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov and momentum > 0,
        weight_decay=weight_decay,
        fused=True,
    )
    return Descend(make, schedule)


def adam(
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    schedule: Schedule = Constant(),  # noqa: B008
) -> Descend:
    """Adam (Kingma and Ba, 2015, Algorithm 1), fused."""
    return Descend(partial(torch.optim.Adam, lr=lr, betas=(betas[0], betas[1]), eps=eps, fused=True), schedule)


def adamw(
    lr: float,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    schedule: Schedule = Constant(),  # noqa: B008
) -> Descend:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, Algorithm 2), fused; matrices alone decay."""
    make = partial(torch.optim.AdamW, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]), eps=eps, fused=True)
    return Descend(make, schedule)
