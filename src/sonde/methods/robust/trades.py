"""TRADES: accuracy on the rows, and answers that stay the same around them.

Zhang, Yu, Jiao, Xing, El Ghaoui and Jordan, Theoretically principled trade-off between robustness and accuracy, 2019,
equation 5 and algorithm 1, with the Kullback-Leibler divergence in both places as in the authors' experiments.

Entry: adversarial training; adversarial examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sonde.attacks import Ball, ascend
from sonde.core import At, Batch, Loss, Refused, Run, SondeError, Term, defines

from ._at_rest import at_rest, check_numbers, check_run
from ._inputs import _Moves, numbers, with_numbers

# N rows, M members, C classes

NEAR = 0.001  # algorithm 1: the attack starts this many units from the row, where the divergence has a gradient
FIELD = "trades"  # of the batch: the attacked numbers


class TRADES(_Moves):
    """Adds to each row's loss how far its answer can be pushed nearby.

        L(f(x), y) + beta max_{||x' - x||_inf <= eps} KL(p(x) || p(x'))

    beta: 1 / lambda in eq. 5; 1 favours accuracy, 6 robustness (the paper's choices).
    radius: eps, in units of the inputs (of a picture: 0.3 of the range [0, 1]; of a table: standard deviations). With
        beta or radius 0 there is no such term.
    step: length of a step of the attack, in the same units. steps: K, its steps; the paper's for MNIST are 0.01 and 40.
    bounds, scale: of a tensor x, its lowest and highest value; of a table, its columns' units. See `_inputs.py`.
    turn: the player whose loss it is.

    The attack is made once a step, in evaluation mode; both terms are `example` terms. Needs an objective whose `out`
    has `logits`, (N, C) or (N, M, C) for M members, whose divergences are averaged. It must come after all methods
    that change rows: they would change x and not x'.
    """

    def __init__(
        self,
        beta: float = 6.0,
        radius: float = 0.3,
        step: float = 0.01,
        steps: int = 40,
        bounds: tuple[float, float] = (0.0, 1.0),
        scale: Sequence[float] = (),
        turn: str = "model",
    ) -> None:
        super().__init__(bounds, scale)
        if not 0 <= beta < float("inf"):
            raise SondeError(f"TRADES(beta={beta}) is no weight", "choose beta >= 0; 6 is usual")
        self.beta, self.radius, self.step, self.steps, self.turn = beta, radius, step, steps, turn
        check_numbers(self, radius, step, steps)

    def setup(self, run: Run) -> None:
        """See `Method.setup`; only checks."""
        check_run(self, run, self.turn)
        mine = run.methods.index(self)
        if after := [type(m).__name__ for m in run.methods[mine + 1 :] if defines(m, "batch")]:
            raise Refused(
                f"{after[0]} comes after TRADES and would change the rows but not their attacked copies",
                f"put TRADES after {', '.join(after)}",
            )

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, with their attacked numbers in a field."""
        allowed = self.range(run, batch)
        if self.beta == 0.0 or self.radius == 0.0:
            return batch
        x = numbers(batch.x, self)
        ball = Ball(x, self.radius, "linf", allowed)
        with at_rest(run) as params:
            with torch.no_grad():
                clean = self._log_p(run.forward(self.turn, params, batch))

            def loss_of(v: Tensor) -> Tensor:
                moved = replace(batch, x=with_numbers(batch.x, v))
                return divergence(clean, self._log_p(run.forward(self.turn, params, moved))).sum()

            start = ball.project(x + NEAR * allowed.unit * torch.randn_like(x))
            v = ascend(loss_of, ball, start, self.step, self.steps)
        return replace(batch, fields={**batch.fields, FIELD: v})

    def loss(self, at: At, loss: Loss) -> Loss:
        """3: the loss, with the divergence as one more term."""
        if at.turn != self.turn or self.beta == 0.0 or self.radius == 0.0:
            return loss
        if FIELD not in at.batch.fields:
            if at.record:
                raise Refused("TRADES is given rows that it has not attacked", "train on the rows of the step")
            return loss  # a probe on rows of some method's own
        moved = at.evaluate(replace(at.batch, x=with_numbers(at.batch.x, at.batch.fields[FIELD])))
        return loss.with_term("trades", Term(divergence(self._log_p(loss), self._log_p(moved)), "example", self.beta))

    def _log_p(self, loss: Loss) -> Tensor:
        if "logits" not in loss.out:
            raise SondeError(
                "TRADES compares class probabilities, and this objective has none",
                "use PGD, which raises any loss, or train a classifier",
            )
        logits = loss.out["logits"]
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)  # (N, C) or (N, M, C)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row, (N,), averaged over members. log_p, log_q: (N, C) or (N, M, C).

    >>> p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    >>> round(divergence(p.log(), q.log()).item(), 4)  # 0.5 log 2 + 0.5 log(2/3)
    0.1438
    """
    value = (log_p.exp() * (log_p - log_q)).sum(-1)  # (N,) or (N, M)
    return value if value.dim() == 1 else value.mean(1)
