"""FGSM with a random start: adversarial training at the price of one more gradient.

Wong, Rice and Kolter, Fast is better than free: revisiting adversarial training, 2020, algorithm 3. Deliberate
difference: the attack runs in evaluation mode (see `_at_rest.py`).

Entry: adversarial training; adversarial examples.
"""

from __future__ import annotations

from collections.abc import Sequence

from sonde.core import Batch, Run

from ._at_rest import check_numbers, check_run
from ._inputs import _Moves
from .pgd import attacked


class FGSM(_Moves):
    """Trains on inputs moved by one long signed gradient step from a random start.

        delta = Uniform(-eps, eps),    delta = clamp(delta + alpha sign(grad_delta L(x + delta, y)), -eps, eps)

    radius: eps, in units of the inputs (of a picture: 0.3 of the range [0, 1]; of a table: standard deviations). 0
        leaves the rows as they are.
    overstep: alpha / eps; 1.25 is the paper's, beyond about 1.5 such training overfits to the one step (sec. 5.4).
    bounds, scale: of a tensor x, its lowest and highest value; of a table, its columns' units. See `_inputs.py`.
    turn: the player whose loss is made large.

    Reads, returns and keeps what `PGD` does. A run costs twice the plain one.
    """

    def __init__(
        self,
        radius: float = 0.3,
        overstep: float = 1.25,
        bounds: tuple[float, float] = (0.0, 1.0),
        scale: Sequence[float] = (),
        turn: str = "model",
    ) -> None:
        super().__init__(bounds, scale)
        self.radius, self.overstep, self.turn = radius, overstep, turn
        check_numbers(self, radius, overstep, 1)

    def setup(self, run: Run) -> None:
        """See `Method.setup`; only checks."""
        check_run(self, run, self.turn)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, each moved within its box."""
        allowed = self.range(run, batch)
        # The start may leave the bounds, and only the result is brought within them: a black pixel's start would
        # otherwise be black half the time, the one step then always ends on the surface of the box, and the model
        # soon stands that step alone (catastrophic overfitting).
        step = self.overstep * self.radius
        return attacked(self, run, batch, allowed, self.radius, step, 1, "linf", self.turn, bounded=False)
