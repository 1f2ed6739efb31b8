"""Adversarial debiasing: a classifier from whose answers an adversary cannot tell the group.

Zhang, Lemoine and Mitchell, Mitigating unwanted biases with adversarial learning, 2018, equation 1 and section 3. The
adversary is the second player of the game. Deliberate differences:

- The adversary that is told the label has an intercept for each label. With one for both, as in the paper, it gains by
  guessing how often each group has the label, and the model learns to deny it even that: it overshoots equalised odds.
- AI Fairness 360 (Bellamy et al., 2019) projects each weight matrix by itself; here the projection is the paper's, of
  all weights together.

Entry: adversarial debiasing; fairness in training; demographic parity; equal opportunity; equalised odds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn
from torch.func import functional_call

from sonde.core import Batch, Loss, Objective, SondeError, Term

from .classify import probabilities

# N rows, M members, C classes, G groups

Constraint = Literal["demographic_parity", "equal_opportunity", "equalised_odds"]


class Debias(Objective):
    """Trains a classifier against an adversary that guesses each row's group from the classifier's answer.

        grad_W L_P - proj_{grad_W L_A} grad_W L_P - alpha grad_W L_A          (the model's gradient)

    L_P: the base's loss; L_A: the adversary's cross-entropy. The projection takes out the part of the model's step that
    would help the adversary.

    base: a classifier's objective, whose `out` has `logits`. groups: G, how many. group: the field with their codes;
        rows with a negative code have no group and no part in L_A.
    constraint: what the adversary may know: "demographic_parity" the answer alone, "equalised_odds" the label too,
        "equal_opportunity" the rows with the favourable label only. favourable: that class.
    alpha: >= 0, the weight of the adversary. adversary_turns: its turns a step; a model that learns fast outruns an
        adversary that has one, and overshoots.

    Players: `model` (the base) and `adversary`. The model's term `adversary` is a `batch` term, since the projection
    depends on all rows: private training and microbatches refuse it.
    """

    def __init__(
        self,
        base: Objective,
        groups: int = 2,
        group: str = "group",
        constraint: Constraint = "demographic_parity",
        alpha: float = 0.1,
        favourable: int = 1,
        adversary_turns: int = 1,
    ) -> None:
        super().__init__()
        if constraint not in get_args(Constraint):
            raise SondeError(f"there is no constraint {constraint!r}", f"choose from {', '.join(get_args(Constraint))}")
        if groups < 2 or not 0 <= alpha < float("inf") or adversary_turns < 1:
            raise SondeError(
                f"Debias(groups={groups}, alpha={alpha}, adversary_turns={adversary_turns}) cannot debias",
                "give at least 2 groups, alpha >= 0 and at least 1 turn",
            )
        self.base, self.group, self.constraint = base, group, constraint
        self.groups, self.alpha, self.favourable, self.adversary_turns = groups, alpha, favourable, adversary_turns
        self.adversary = Adversary(groups, labels=constraint == "equalised_odds")

    def players(self) -> Mapping[str, nn.Module]:
        """The classifier moves first."""
        return {"model": self.base, "adversary": self.adversary}

    def turns(self, step: int) -> tuple[str, ...]:
        """See `Objective.turns`."""
        return ("model", *["adversary"] * self.adversary_turns)

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` is the base's."""
        if turn == "adversary":
            # It reads the answers of a model at rest: the step's running statistics have moved in the model's turn.
            buffers = {k: b.clone() for k, b in self.base.named_buffers()}
            with torch.no_grad():
                answers = functional_call(self.base, buffers, ("model", batch))
            value, mine = self._guessing(answers, batch)
            return Loss({"adversary": Term(value, "example", mine)}, answers.out)
        loss = self.base("model", batch)
        params = [p for p in self.base.parameters() if p.requires_grad]
        if not torch.is_grad_enabled() or not params:  # measured, or attacked: what is shipped is the base
            return loss
        value, mine = self._guessing(loss, batch)
        against = (mine * value).mean()
        share = projection(loss.total(denominator=batch.denominator), against, params)
        return loss.with_term("adversary", Term(against, "batch", -(share + self.alpha)))

    def _guessing(self, loss: Loss, batch: Batch) -> tuple[Tensor, Tensor]:
        """The adversary's cross-entropy for each row, (N,), and its weight: rows it does not see have weight 0."""
        if "logits" not in loss.out:
            raise SondeError("Debias reads class probabilities, and its base has none", "wrap a classifier: Classify")
        if self.group not in batch.fields:
            raise SondeError(
                f"Debias asks for the groups {self.group!r}, which the rows do not have",
                f"name the column when the data is opened: --sensitive {self.group}",
            )
        g, y = batch.fields[self.group], batch.y if batch.y.dim() == 1 else batch.y.argmax(1)
        if len(g) and int(g.max()) >= self.groups:
            raise SondeError(
                f"{self.group!r} has a group {int(g.max())}, but Debias was told of {self.groups}",
                f"say how many there are: groups={int(g.max()) + 1}",
            )
        right = (y == self.favourable).float()
        p = probabilities(loss.out["logits"])[:, self.favourable]
        guess = self.adversary(p, right)  # (N, G)
        value = F.cross_entropy(guess, g.clamp_min(0), reduction="none")
        mine = (g >= 0).to(value)
        if self.constraint == "equal_opportunity":
            mine = mine * right * (len(right) / right.sum().clamp_min(1))  # a mean over the rows it sees
        return value, mine

    def predict(self, x: Any) -> Tensor:
        """The base's class probabilities, (N, C)."""
        return self.base.predict(x)  # type: ignore[operator, no-any-return]

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """The base's scores."""
        return self.base.scores(batch, loss)  # type: ignore[operator, no-any-return]


class Adversary(nn.Module):
    """Guesses the group from the probability of the favourable class (section 3.1 and the experiments on UCI Adult).

        s = sigmoid((1 + |c|) logit(p)),    z = w_y s + b_y          (told y),    z = w s + b    (not told)

    groups: G. labels: whether it is told y. Reads p, y: (N,) each, y of 0 and 1. Returns logits (N, G).
    """

    def __init__(self, groups: int, labels: bool) -> None:
        super().__init__()
        self.groups, self.labels = groups, labels
        self.sharpness = nn.Parameter(torch.ones(()))  # c
        kinds = 2 if labels else 1
        self.slope = nn.Parameter(torch.empty(kinds * groups).uniform_(-1, 1))  # w; flat, as weight decay would bias it
        self.offset = nn.Parameter(torch.zeros(kinds * groups))  # b

    def forward(self, p: Tensor, y: Tensor) -> Tensor:
        """See the class."""
        s = torch.sigmoid((1 + self.sharpness.abs()) * torch.logit(p, eps=1e-6))  # 1e-6: float32's steps near 1
        kind = y.long() if self.labels else torch.zeros_like(y, dtype=torch.int64)
        z: Tensor = self.slope.view(-1, self.groups)[kind] * s[:, None] + self.offset.view(-1, self.groups)[kind]
        return z


def projection(task: Tensor, against: Tensor, params: Sequence[Tensor]) -> Tensor:
    """<grad task, grad against> / ||grad against||^2 over all parameters: a scalar without history."""
    scale = 2.0**10 if torch.is_autocast_enabled() else 1.0  # small gradients survive float16; the quotient is the same
    g, h = (
        torch.autograd.grad(scale * value, params, retain_graph=True, allow_unused=True) for value in (task, against)
    )
    both = [(a.float(), b.float()) for a, b in zip(g, h, strict=True) if a is not None and b is not None]
    if not both:
        return torch.zeros((), device=task.device)
    along = torch.stack([(a * b).sum() for a, b in both]).sum()
    square = torch.stack([b.float().square().sum() for b in h if b is not None]).sum()
    return (along / square.clamp_min(torch.finfo(torch.float32).tiny)).to(task.dtype)
