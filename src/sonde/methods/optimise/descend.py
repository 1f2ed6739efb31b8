"""The usual update rule: a torch optimiser for each player, with a schedule and decay where decay belongs.

Entry: gradient descent; SGD; momentum; Nesterov; AdaGrad; RMSProp; Adam; weight decay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from sonde.core import Gradient, Method, Refused, Run
from sonde.core.engine import placed_like
from sonde.core.method import Grads, defines
from sonde.optim.groups import Split, all_alike, hidden_matrices, parted
from sonde.optim.lion import Lion
from sonde.optim.muon import Muon, Scale
from sonde.optim.schedules import Constant, Schedule
from sonde.optim.soap import SOAP

Make = Callable[[Iterable[dict[str, Any]]], torch.optim.Optimizer]


@runtime_checkable
class Paces(Protocol):
    """A method that multiplies the learning rate: by `pace()` at this step, and by `paces` for single parameters."""

    def pace(self) -> float:
        """The factor on every rate."""

    def paces(self, run: Run, turn: str) -> dict[str, float]:
        """Factors of parameters by name, read once; none for a parameter at the common rate."""


class Descend(Method):
    """One step of a torch optimiser per turn.

    make: builds the optimiser from parameter groups, e.g. `partial(torch.optim.SGD, lr=0.1)`.
    schedule: the factor on the learning rate, a function of (step, total steps) of the stage.
    split: which parameters belong together, where the optimiser treats some in another way (Muon).

    Weight decay applies to matrices and kernels only: a bias or a norm's scale has no direction to shrink, and
    decaying it hurts (He et al., 2019, sec. 3.1). Each player has an optimiser of its own.
    """

    paced = True
    """Whether single parameters may have rates of their own."""

    def __init__(
        self,
        make: Make,
        schedule: Schedule = Constant(),  # noqa: B008 - frozen, so safe to share
        split: Split = all_alike,
    ) -> None:
        self.make, self.schedule, self.split = make, schedule, split

    def setup(self, run: Run) -> None:
        """Build one optimiser per player."""
        self.pacers = [m for m in run.methods if isinstance(m, Paces)]
        self.optimisers = {turn: self._optimiser(run, turn) for turn in run.objective.players()}
        self._base = {turn: [g["lr"] for g in o.param_groups] for turn, o in self.optimisers.items()}

    def update(self, run: Run, turn: str, gradient: Gradient) -> None:
        """See `Method.update`."""
        optimiser = self.optimisers[turn]
        self.hand_over(run, turn, gradient())
        self.set_rates(run, turn)
        optimiser.step()

    def hand_over(self, run: Run, turn: str, grads: Grads) -> None:
        """Put the gradient where a torch optimiser looks for it."""
        for name, p in run.params(turn).items():
            g = grads.get(name)  # None for one that the loss does not reach: no step, whatever an earlier one left
            if g is not None and g.layout is not p.layout:  # an embedding's rows: the rules are for all of them
                g = g.to_dense()
            if p.grad is not g:
                # Fused optimisers pair numbers by their place in memory: a gradient laid out otherwise goes wrong.
                p.grad = g if g is None or g.stride() == p.stride() else torch.empty_like(p).copy_(g)

    def set_rates(self, run: Run, turn: str) -> None:
        """Give every group its rate of this step."""
        factor = self.schedule(run.done, run.total)
        for m in self.pacers:
            factor *= m.pace()
        for group, lr in zip(self.optimisers[turn].param_groups, self._base[turn], strict=True):
            group["lr"] = factor * lr

    def _optimiser(self, run: Run, turn: str) -> torch.optim.Optimizer:
        params = run.params(turn)
        groups = self.split(run.objective.players()[turn], params)
        optimiser = self.make([dict(group) for group in groups])
        if run.sharded and getattr(optimiser, "whole", False):
            name = type(optimiser).__name__
            raise Refused(f"{name} needs each matrix whole, and fsdp shards them", "use parallel='ddp'")
        decays = bool(optimiser.defaults.get("weight_decay")) and any(p.dim() <= 1 for p in params.values())
        paces = {k: f for m in self.pacers for k, f in m.paces(run, turn).items()}
        plain = (
            {"fused": False} if run.sharded and optimiser.defaults.get("fused") else {}
        )  # torch fuses no sharded step
        if not decays and not paces and not plain:
            return optimiser  # as few groups as can be, so that a fused optimiser is called once
        for group, built in zip(groups, optimiser.param_groups, strict=True):
            group.setdefault("lr", built["lr"])
        return self.make(parted(groups, params, decays, paces, **plain))

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


def projecting(run: Run) -> list[str]:
    """The names of the methods that move the parameters after the update rule has."""
    from ..continual.synaptic import SynapticIntelligence  # which only watches there

    return [type(m).__name__ for m in run.methods if defines(m, "project") and not isinstance(m, SynapticIntelligence)]


def _moment(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape and value.dim() > 0


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


def adagrad(
    lr: float = 0.01,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
    schedule: Schedule = Constant(),  # noqa: B008
) -> Descend:
    """AdaGrad: each weight's rate falls with its own gradients so far (Duchi et al., 2011), for rare features."""
    return Descend(partial(torch.optim.Adagrad, lr=lr, eps=eps, weight_decay=weight_decay, foreach=True), schedule)


def rmsprop(
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
    schedule: Schedule = Constant(),  # noqa: B008
) -> Descend:
    """RMSProp: the gradient over its root mean square of late (Tieleman and Hinton, 2012, lecture 6.5)."""
    make = partial(
        torch.optim.RMSprop,
        lr=lr,
        alpha=alpha,
        eps=eps,
        momentum=momentum,
        centered=centered,
        weight_decay=weight_decay,
        foreach=True,
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


def lion(
    lr: float = 1e-4,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.99),
    schedule: Schedule = Constant(),  # noqa: B008
) -> Descend:
    """Lion: every weight moves by lr, along the sign of a momentum (Chen et al., 2023, Algorithm 2)."""
    return Descend(partial(Lion, lr=lr, betas=(betas[0], betas[1]), weight_decay=weight_decay), schedule)


def muon(
    lr: float = 0.02,
    weight_decay: float = 0.0,
    momentum: float = 0.95,
    nesterov: bool = True,
    scale: Scale = "original",
    adam_lr: float = 3e-4,
    head: str = "",
    schedule: Schedule = Constant(),  # noqa: B008
) -> Descend:
    """Muon: orthogonalised momentum for hidden matrices, AdamW at adam_lr for the rest (Jordan et al., 2024).

    The rest are embeddings, biases, norms and the output layer: `head`, or the last matrix (see
    `sonde.optim.groups.hidden_matrices`). With scale `match_rms_adamw` AdamW's rates and decays do for matrices.
    """
    make = partial(
        Muon, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, scale=scale, adam_lr=adam_lr
    )
    return Descend(make, schedule, partial(hidden_matrices, head=head))


def soap(
    lr: float = 3e-3,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.95, 0.95),
    eps: float = 1e-8,
    every: int = 10,
    largest: int = 10_000,
    schedule: Schedule = Constant(),  # noqa: B008
) -> Descend:
    """SOAP: Adam along the eigenvectors of each layer's gradients (Vyas et al., 2024, Algorithm 3)."""
    make = partial(
        SOAP, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]), eps=eps, every=every, largest=largest
    )
    return Descend(make, schedule)
