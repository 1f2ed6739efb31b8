"""Schedule-free learning as an update rule: trained at one point, evaluated and shipped at another.

Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, The road less scheduled, 2024, Algorithm 1 (`sonde.optim`).
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from sonde.core import Event, Finished, Params, Refused, Run, SondeError
from sonde.optim.schedule_free import ScheduleFreeAdamW
from sonde.optim.schedules import Constant

from .descend import Descend, projecting
from .statistics import keeps_statistics, renew_statistics


class ScheduleFree(Descend):
    """AdamW without a schedule: an average of its steps is what is evaluated and shipped (Defazio et al., 2024).

        y = (1 - beta1) z + beta1 x,   z <- z - lr AdamW(grad L(y)),   x: the average of all z

    lr: constant but for a linear rise over the first `warmup` share of the steps; some 1 to 10 times Adam's.
    weight_decay: of matrices, at y. betas: beta1 in (0, 1], the decay of Adam's squares.

    The parameters of a run are y; `weights` are x. When a stage ends the parameters are moved to x, running statistics
    of BatchNorm are computed anew for it by one pass over the source (which private training refuses), and the next
    stage begins another average there. What averages weights itself (EMA, SWA), and what brings parameters into a set
    (pruning, whose zeros no average keeps), is refused.
    """

    def __init__(
        self,
        lr: float = 2.5e-3,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        warmup: float = 0.05,
    ) -> None:
        if not 0 < betas[0] <= 1:
            raise ValueError(f"betas[0] places the gradient between z and x, in (0, 1]; got {betas[0]}")
        make = partial(ScheduleFreeAdamW, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]), eps=eps)
        super().__init__(make, Constant(warmup))

    def setup(self, run: Run) -> None:
        """Refuse what would undo the average, or be undone by it."""
        from ..regularise.ema import EMA
        from ..regularise.swa import SWA

        for m in run.methods:
            name = type(m).__name__
            if isinstance(m, EMA | SWA):
                raise Refused(
                    f"ScheduleFree ships an average of the weights, and so does {name}",
                    f"leave {name} out, or use adamw",
                )
        for name in projecting(run):
            raise Refused(
                f"{name} brings the parameters into a set, which the average that ScheduleFree ships leaves again",
                f"use adamw with {name}",
            )
        super().setup(run)

    def on(self, run: Run, event: Event) -> None:
        """At the end of a stage the average becomes the parameters."""
        if isinstance(event, Finished):
            for optimiser in self.optimisers.values():
                cast(ScheduleFreeAdamW, optimiser).rest()
            if keeps_statistics(run.objective):
                if event.source.steps_per_epoch is None:
                    what = "ScheduleFree computes BatchNorm's statistics anew by a pass over the source, which has none"
                    raise SondeError(what, "use a net without BatchNorm")
                renew_statistics(run, event.source, self)

    def weights(self, run: Run, weights: Params) -> Params:
        """See `Method.weights`."""
        averaged: dict[str, Any] = {}
        for turn, optimiser in self.optimisers.items():
            found = cast(ScheduleFreeAdamW, optimiser).averages()
            averaged |= {k: found[p] for k, p in run.params(turn).items() if k in weights and p in found}
        return {**weights, **averaged}
