"""Equal rates for groups as constraints on the loss, with multipliers that are learned in the same loop.

Cotter, Jiang and Sridharan, Two-player games for efficient non-convex constrained optimization, 2019, section 4: the
multipliers see the constraint itself, on decisions (theirs is the "lambda player"), the model sees a proxy with a
gradient, on probabilities. Deliberate differences:

- Multipliers move by gradient ascent and are cut at 0 (the paper's external-regret variant), and the model sees
  max(0, lambda + rho c), as in the method of multipliers (Hestenes, 1969; Rockafellar, 1973), which damps the swing.
- A batch holds few rows of a small group, so rates are counted over a window of batches that fades exponentially.
- One run gives one model, the last (or averaged, with EMA), not a mixture of models.

Entry: fairness in training; demographic parity; equal opportunity; equalised odds.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from sonde.core import At, Batch, Event, Finished, Loss, Method, Run, SondeError, Started, Stepped, Term

from ._groups import MINIMUM, codes, grown, labels

# N rows, G groups, K kinds of rate (1, or 2 for equalised odds), C classes, M members

Constraint = Literal["demographic_parity", "equal_opportunity", "equalised_odds"]


class GroupConstraint(Method):
    """Holds the difference of a rate between groups at no more than a bound.

        min_theta L(theta) + sum_gk s_k mu_gk r~_gk(theta),
        c+_gk = r_gk - mean_g r_gk - bound / 2,   lambda+_gk <- max(0, lambda+_gk + eta c+_gk),   likewise c-, lambda-
        mu_gk = max(0, lambda+_gk + rho c+_gk) - max(0, lambda-_gk + rho c-_gk), less its mean over g

    where r_gk is the share of the rows of group g (and of label kind k) that is decided for the favourable class, and
    r~ the mean of their probabilities of it. s_k, the harmonic mean over g of the share of rows that are of g and k,
    gives multipliers a unit: at 1 they weigh about as much as the rows' own losses, however rare g or k.

    group: the field with the group codes. constraint: whose rate it is: "demographic_parity" of all rows,
        "equal_opportunity" of those with the favourable label, "equalised_odds" of both kinds of label.
    bound: the largest difference allowed. favourable: the class.
    rate: eta, of the multipliers, per step. damping: rho, against their swinging.
    window: batches over which rates are counted. minimum: rows of a group (and kind) that a window must hold; a group
        with fewer is left out for as long, and at the end of the stage that is said in a warning.

    A `batch` term: it depends on the rows jointly, so private training and microbatches refuse it.
    """

    def __init__(
        self,
        group: str = "group",
        constraint: Constraint = "equal_opportunity",
        bound: float = 0.02,
        favourable: int = 1,
        rate: float = 0.1,
        damping: float = 5.0,
        window: int = 100,
        minimum: int = MINIMUM,
    ) -> None:
        if constraint not in get_args(Constraint):
            raise SondeError(f"there is no constraint {constraint!r}", f"choose from {', '.join(get_args(Constraint))}")
        if not 0 <= bound < 1:
            raise SondeError(f"bound={bound} is no difference of shares", "choose bound in [0, 1); 0.02 is strict")
        if not (rate >= 0 and damping >= 0 and window >= 1 and minimum >= 1):
            raise SondeError("rate and damping are at least 0, window and minimum at least 1", "leave them out")
        self.group, self.constraint, self.bound, self.favourable = group, constraint, bound, favourable
        self.rate, self.damping, self.window, self.minimum = rate, damping, window, minimum
        kinds = 2 if constraint == "equalised_odds" else 1
        self.multipliers = torch.zeros(2, 0, kinds, dtype=torch.float64)  # lambda+ and lambda-, (2, G, K)
        self.chosen = torch.zeros(0, kinds, dtype=torch.float64)  # decided for the favourable class, faded (G, K)
        self.rows = torch.zeros(0, kinds, dtype=torch.float64)  # of each group and kind, faded (G, K)

    def setup(self, run: Run) -> None:
        """See `Method.setup`: the constraint is on the first player's answers."""
        self._turn = next(iter(run.objective.players()))

    # ------------------------------------------------------------ the model's side
    def loss(self, at: At, loss: Loss) -> Loss:
        """3: the loss, with the multipliers' share."""
        if at.turn != self._turn:
            return loss
        p, kinds = self._favoured(loss)[1], self._kinds(at.batch)
        g = codes(at.batch, self.group, self)
        mine = self._coefficients().to(p)  # (G, K)
        known = (g >= 0) & (g < len(mine))
        each = (
            torch.where(known[:, None], mine[torch.where(known, g, 0)], 0.0) if len(mine) else torch.zeros_like(kinds)
        )
        value = (p * (each * kinds).sum(1)).mean()
        return loss.with_term("group_constraint", Term(value, "batch"))

    def _coefficients(self) -> Tensor:
        """s_k mu_gk over the share of rows that g and k have, so that a mean over all rows gives s_k mu_gk r~_gk."""
        c, kept = self._violations()
        mu = (self.multipliers + self.damping * c).clamp_min(0)
        mu = torch.where(kept, mu[0] - mu[1], 0.0)  # (G, K)
        mu = torch.where(kept, mu - mu.sum(0) / kept.sum(0).clamp_min(1), 0.0)
        inverse = torch.where(kept, 1 / self.rows.clamp_min(1), 0.0)
        harmonic = kept.sum(0) / inverse.sum(0).clamp_min(1e-12)  # mean number of rows; 1e-12: where no group is kept
        return mu * harmonic * inverse

    def _violations(self) -> tuple[Tensor, Tensor]:
        """c+ and c-, (2, G, K), and which groups and kinds have rows enough, (G, K)."""
        kept = self.rows >= self.minimum
        kept = kept & (kept.sum(0) > 1)  # one group alone differs from nobody
        r = self.chosen / self.rows.clamp_min(1)
        mean = torch.where(kept, r, 0.0).sum(0) / kept.sum(0).clamp_min(1)
        c = torch.stack([r - mean, mean - r]) - self.bound / 2
        return torch.where(kept, c, 0.0), kept

    # ------------------------------------------------------------ the multipliers' side
    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Stepped) and self._turn in event.losses:
            self._count(event.batch, event.losses[self._turn])
            c, _ = self._violations()
            self.multipliers = (self.multipliers + self.rate * c).clamp_min(0)
        elif isinstance(event, Started) and run.done == 0:  # another stage's data has other rates
            self.chosen, self.rows = torch.zeros_like(self.chosen), torch.zeros_like(self.rows)
        elif isinstance(event, Finished) and (left := self.left_out):
            groups = ", ".join(map(str, left))
            warnings.warn(
                f"GroupConstraint: groups of {self.group!r} with too few rows were left out: {groups}", stacklevel=2
            )

    @property
    def left_out(self) -> list[int]:
        """The codes of the groups that have rows, but too few to be held to the constraint."""
        return ((self.rows < self.minimum).any(1) & (self.rows > 0).any(1)).nonzero().flatten().tolist()

    def _count(self, batch: Batch, loss: Loss) -> None:
        g = codes(batch, self.group, self).cpu()
        decided, kinds = self._favoured(loss)[0].cpu().double(), self._kinds(batch).cpu().double()
        known = g >= 0
        size = int(g.max()) + 1 if len(g) else 0
        fade = 1 - 1 / self.window
        self.multipliers = grown(self.multipliers, size)
        new = torch.zeros(2, *grown(self.rows, size).shape, dtype=torch.float64)
        new[0].index_add_(0, g[known], (kinds * decided[:, None])[known])
        new[1].index_add_(0, g[known], kinds[known])
        self.chosen = fade * grown(self.chosen, size) + new[0]
        self.rows = fade * grown(self.rows, size) + new[1]

    # ------------------------------------------------------------ rows
    def _favoured(self, loss: Loss) -> tuple[Tensor, Tensor]:
        """Whether each row is decided for the favourable class, (N,) bool, and its probability of it, (N,)."""
        if "logits" not in loss.out:
            raise SondeError("GroupConstraint compares decisions for a class, and this objective has no classes",
                             "remove GroupConstraint from the methods, or train a classifier")  # fmt: skip
        logits = loss.out["logits"]
        p = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)  # (N, C) or (N, M, C)
        p = p if p.dim() == 2 else p.mean(1)
        if not 0 <= self.favourable < p.shape[1]:
            raise SondeError(f"there is no class {self.favourable}", f"choose favourable in 0..{p.shape[1] - 1}")
        return p.detach().argmax(1) == self.favourable, p[:, self.favourable]

    def _kinds(self, batch: Batch) -> Tensor:
        """Which rows each kind of rate is a share of, (N, K) of 0 and 1."""
        y = labels(batch, self)
        right = y == self.favourable
        if self.constraint == "demographic_parity":
            return torch.ones(len(y), 1, device=y.device)
        return torch.stack([right] if self.constraint == "equal_opportunity" else [right, ~right], 1).float()

    def state_dict(self) -> dict[str, Any]:
        """The multipliers and the counts of the window."""
        return {name: getattr(self, name) for name in ("multipliers", "chosen", "rows")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name in ("multipliers", "chosen", "rows"):
            setattr(self, name, state[name])
