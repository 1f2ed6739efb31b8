"""PGD adversarial training: each step is taken on inputs moved to where the loss is large.

Madry, Makelov, Schmidt, Tsipras and Vladu, Towards deep learning models resistant to adversarial attacks, 2018,
eq. 2.1; the inner maximum is searched as in sections 2.1 and 3.1: projected gradient ascent from a random start.
Deliberate difference: the attack runs in evaluation mode (see `_at_rest.py`).

Entry: adversarial training; adversarial examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from sonde.attacks import Ball, Norm, Range, ascend
from sonde.core import Batch, Method, Run, SondeError

from ._at_rest import at_rest, check_numbers, check_run
from ._inputs import _Moves, numbers, with_numbers


class PGD(_Moves):
    """Trains on worst-case inputs near each row, found by projected gradient ascent.

        min_theta E [ max_{||delta|| <= eps} L(theta, x + delta, y) ]

    radius: eps, in units of the inputs (of a picture: 0.3 of the range [0, 1]; of a table: standard deviations). 0
        leaves the rows as they are.
    step: alpha, length of a step, in the same units. steps: K, gradients of the attack a training step.
    norm: "linf" bounds each number's change, "l2" the length of the whole row's.
    bounds, scale: of a tensor x, its lowest and highest value; of a table, its columns' units. See `_inputs.py`.
    turn: the player whose loss is made large.
    warmup: the share of the stage in which radius and step grow from 0: a net that meets the whole radius at once may
        stay at chance for long (the same growth as in Gowal et al., 2018, sec. 4).

    Reads and returns x: (N, ...) floating point, or a table's {"numeric": (N, F)}; categories and missing numbers are
    left alone. L is the objective's own loss, without the terms of other methods. Only dL/dx is computed. Rows stay
    independent: `records` is kept. The defaults are the paper's for MNIST; a run costs K + 1 times the plain one.
    """

    def __init__(
        self,
        radius: float = 0.3,
        step: float = 0.01,
        steps: int = 40,
        norm: Norm = "linf",
        bounds: tuple[float, float] = (0.0, 1.0),
        scale: Sequence[float] = (),
        turn: str = "model",
        warmup: float = 0.0,
    ) -> None:
        super().__init__(bounds, scale)
        self.radius, self.step, self.steps, self.norm, self.turn = radius, step, steps, norm, turn
        if not 0 <= warmup < 1:
            raise SondeError(f"PGD(warmup={warmup}) is no share of a stage", "choose 0 <= warmup < 1, e.g. 0.2")
        self.warmup = warmup
        check_numbers(self, radius, step, steps, norm)

    def setup(self, run: Run) -> None:
        """See `Method.setup`; only checks."""
        check_run(self, run, self.turn)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, each moved within its ball."""
        allowed = self.range(run, batch)
        share = min(1.0, run.fraction / self.warmup) if self.warmup else 1.0
        radius, step = share * self.radius, share * self.step
        return attacked(self, run, batch, allowed, radius, step, self.steps, self.norm, self.turn)


def attacked(
    method: Method,
    run: Run,
    batch: Batch,
    allowed: Range,
    radius: float,
    step: float,
    steps: int,
    norm: Norm,
    turn: str,
    bounded: bool = True,
) -> Batch:
    """The batch, its inputs moved up the loss of `turn` from a random start; bounded: which obeys the bounds."""
    if radius == 0.0 or not len(batch):
        return batch
    ball = Ball(numbers(batch.x, method), radius, norm, allowed)
    with at_rest(run) as params:

        def loss_of(v: Tensor) -> Tensor:
            moved = replace(batch, x=with_numbers(batch.x, v))
            # A sum, not a mean: a row's gradient must not shrink with the number of rows, least of all in float16.
            return run.forward(turn, params, moved).total("example", denominator=1.0)

        v = ascend(loss_of, ball, ball.start(bounded), step, steps)
    return replace(batch, x=with_numbers(batch.x, v))
