"""Elastic weight consolidation: parameters are held by how much earlier experiences' answers depend on them.

Entry: EWC; catastrophic forgetting; continual learning.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from sonde.core import At, Event, Finished, Loss, Method, Params, Refused, Run, Started, Term
from sonde.methods.continual import fisher as information

Form = Literal["offline", "online"]


class EWC(Method):
    """Hold the parameters near where earlier stages left them, each by its Fisher information.

        offline:  L + lambda/2 sum_s sum_k F_sk (theta_k - theta*_sk)^2      (Kirkpatrick et al., 2017, eq. 3)
        online:   L + lambda/2 sum_k Fbar_k (theta_k - theta*_k)^2          (Schwarz et al., 2018, eq. 9)

    with s the finished stages and theta* their ends; online, theta* is the last one's, and Fbar <- gamma Fbar + F.

    strength: lambda. form: `offline` or `online`. decay: gamma, for `online`.
    fisher: `true` or `empirical`, see `sonde.methods.continual.fisher`; both are exact means of per-record squares.
    rows: records that F is measured on when a stage ends; 0 for all.
    cap: the most that lambda sum_s F_sk may be, 0 for no limit (the papers').

    The sum of quadratics is one quadratic, kept as its curvature, its lowest point and its height there, so a step
    costs the same after ten stages as after one. It reads records outside the step: private training refuses it.

    Gradient descent overshoots where learning rate times lambda F is above 2: what should be held best is then thrown
    about. With `cap` at about (1 - momentum) / learning rate, lambda may be large: what is held so tightly hardly
    moves.
    """

    def __init__(
        self,
        strength: float = 100.0,
        form: Form = "offline",
        decay: float = 1.0,
        fisher: information.Kind = "true",
        rows: int = 0,
        cap: float = 0.0,
    ) -> None:
        if not strength >= 0 or not 0 <= decay <= 1 or rows < 0 or not cap >= 0:
            given = f"{strength}, {rows}, {cap} and {decay}"
            raise ValueError(f"strength, rows and cap are at least 0, decay in [0, 1]; got {given}")
        for value, kinds in ((form, get_args(Form)), (fisher, get_args(information.Kind))):
            if value not in kinds:
                raise ValueError(f"choose one of {', '.join(kinds)}; got {value!r}")
        if form == "offline" and decay != 1.0:
            raise ValueError("decay belongs to form='online': offline, every stage keeps its own quadratic")
        self.strength, self.form, self.decay = strength, form, decay
        self.fisher, self.rows, self.cap = fisher, rows, cap
        self.curvature: dict[str, Params] = {}  # by turn: sum of F
        self.anchor: dict[str, Params] = {}  # the lowest point of the sum of quadratics
        self.height: dict[str, Tensor] = {}  # its value there

    def setup(self, run: Run) -> None:
        """See `Method.setup`."""
        if run.sharded:
            raise Refused("EWC needs whole parameters, and fsdp shards them", "use --parallel ddp")

    def loss(self, at: At, loss: Loss) -> Loss:
        """See `Method.loss`."""
        if at.turn not in self.curvature:
            return loss
        curvature, anchor = self.curvature[at.turn], self.anchor[at.turn]
        if self.cap and self.strength:
            curvature = {k: c.clamp_max(self.cap / self.strength) for k, c in curvature.items()}
        parts = [(curvature[k] * (p - anchor[k]).square()).sum() for k, p in at.params.items() if k in anchor]
        value = torch.stack(parts).sum() + self.height[at.turn]
        return loss.with_term("ewc", Term(value, "penalty", self.strength / 2))

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started):
            if run.done == 0:  # it will read when the stage ends: what would be refused then is refused now
                for turn in run.objective.players():
                    information.check(run, turn, event.source, self, self.fisher)
        elif isinstance(event, Finished):
            for turn in run.objective.players():
                found = information.diagonal(run, turn, event.source, self, self.fisher, self.rows)
                self._add(turn, found, {k: p.detach().clone() for k, p in run.params(turn).items()})

    def _add(self, turn: str, fisher: Params, now: Params) -> None:
        zero = next(iter(now.values())).new_zeros(())
        if self.form == "online" or turn not in self.curvature:
            earlier = self.curvature.get(turn, {})
            self.curvature[turn] = {k: self.decay * earlier[k] + f if k in earlier else f for k, f in fisher.items()}
            self.anchor[turn], self.height[turn] = now, zero
            return
        curvature, anchor, height = dict(self.curvature[turn]), dict(self.anchor[turn]), self.height[turn]
        for k, f in fisher.items():
            c, a = curvature.get(k, torch.zeros_like(f)), anchor.get(k, now[k])
            total = c + f
            share = f / total.clamp_min(torch.finfo(f.dtype).tiny)  # 0 where neither holds
            curvature[k], anchor[k] = total, a + share * (now[k] - a)
            height = height + (c * share * (now[k] - a).square()).sum()
        self.curvature[turn], self.anchor[turn], self.height[turn] = curvature, anchor, height

    def state_dict(self) -> dict[str, Any]:
        """The quadratics of the finished stages."""
        return {"curvature": self.curvature, "anchor": self.anchor, "height": self.height}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name in ("curvature", "anchor"):
            saved = state[name]
            setattr(self, name, {turn: {k: v.clone() for k, v in values.items()} for turn, values in saved.items()})
        self.height = {turn: v.clone() for turn, v in state["height"].items()}
