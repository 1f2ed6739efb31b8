"""Gradient surgery for losses of several terms that pull in opposite directions.

Yu, Kumar, Gupta, Levine, Hausman and Finn, Gradient surgery for multi-task learning, 2020, Algorithm 1. A task of the
paper is a term of the loss here, with its weight, so the sum of the projected gradients is the sum of the paper.
"""

# K terms

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sonde.core import Batch, Grads, Method, Params, Refused, Run, SondeError
from sonde.core.backprop import nonfinite_loss


class PCGrad(Method):
    """Project each term's gradient off those of the terms it conflicts with (Yu et al., 2020).

        g_i <- g_i - (g_i . g_j) / |g_j|^2 g_j   where g_i . g_j < 0,   for the other terms j in random order

    and the sum of the results is descended. Terms are those of the loss (`task`, and what methods add to it), whether
    they depend on one row or on several. Penalties are no tasks: their gradient is added as it is.

    seed: of the random order, which has a generator of its own.

    It costs one backward pass a term. A loss with one term is refused: there is nothing to project.
    """

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def setup(self, run: Run) -> None:
        """Refuse what would not give the gradient of the whole batch."""
        if run.shared:
            raise Refused(
                "PCGrad compares gradients of the whole batch, of which each process has a part", "train in one process"
            )
        if run.engine.precision == "16-mixed":
            raise SondeError("PCGrad does not scale the terms, whose gradients vanish in float16", "use bf16-mixed")

    def estimate(self, run: Run, turn: str, batch: Batch, record: bool) -> Grads:
        """See `Method.estimate`."""
        params = run.params(turn)
        loss = run.loss(turn, params, batch, record)
        totals = {k: t.reduce(batch.denominator) for k, t in loss.terms.items()}
        if run.checks and not math.isfinite(sum(v.detach() for v in totals.values())):
            raise nonfinite_loss(run.step, loss, batch)
        tasks = [k for k, t in loss.terms.items() if t.kind != "penalty"]
        if len(tasks) < 2 and run.alone:  # in a game, a player with one term is left as it is
            raise Refused(
                f"PCGrad projects the terms of a loss off each other, and this one has only {tasks}",
                "leave PCGrad out, or add a term that is no penalty (distillation, say)",
            )
        reached: set[str] = set()
        parts = [_gradient(totals[k], params, reached) for k in tasks]  # K x (P,)
        parts = projected(parts, self._order(record))
        if penalties := [v for k, v in totals.items() if k not in tasks]:
            parts.append(_gradient(torch.stack(penalties).sum(), params, reached))
        return _split(torch.stack(parts).sum(0), params, reached)

    def _order(self, record: bool) -> torch.Generator:
        """The generator of the order; a probe looks at what comes without taking it."""
        return self.generator if record else self.generator.clone_state()

    def state_dict(self) -> dict[str, Any]:
        """The generator of the order."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.generator.set_state(state["generator"])


def projected(gradients: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Each of K gradients (P,) without what it has against the others; Algorithm 1, lines 2 to 8."""
    lengths = [g.square().sum() for g in gradients]
    surgery = []
    for i, g in enumerate(gradients):
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            if j != i:
                against = (g @ gradients[j]).clamp_max(0)  # 0 where they agree, and where g_j is zero
                g = g - against / lengths[j].clamp_min(torch.finfo(g.dtype).tiny) * gradients[j]
        surgery.append(g)
    return surgery


def _gradient(total: Tensor, params: Params, reached: set[str]) -> Tensor:
    """The gradient of a scalar as one vector (P,); adds the names of the parameters that it reaches to `reached`."""
    if not total.requires_grad:
        return torch.cat([torch.zeros_like(p).flatten() for p in params.values()])
    found = torch.autograd.grad(total, list(params.values()), retain_graph=True, allow_unused=True)
    named = dict(zip(params, found, strict=True))
    reached |= {k for k, g in named.items() if g is not None}
    return torch.cat(
        [torch.zeros_like(p).flatten() if (g := named[k]) is None else g.flatten() for k, p in params.items()]
    )


def _split(gradient: Tensor, params: Params, reached: set[str]) -> Grads:
    parts = gradient.split([p.numel() for p in params.values()])
    return {k: g.view_as(p) for (k, p), g in zip(params.items(), parts, strict=True) if k in reached}
