"""Gaussian augmentation, the training that randomised smoothing asks for.

Cohen, Rosenfeld and Kolter, Certified adversarial robustness via randomized smoothing, 2019, section 3.4: train on rows
with the noise under which the smoothed model will vote. As there, the noisy inputs are not clipped to their bounds: the
certificate is about the Gaussian as it is.

Entry: adversarial training; regularisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from sonde.core import Batch, Refused, Run, SondeError

from ._inputs import _Moves, numbers, with_numbers


class GaussianNoise(_Moves):
    """Adds independent Gaussian noise to the numbers of each row, for randomised smoothing.

        x' = x + sigma N(0, I)

    sigma: standard deviation, in units of the inputs (of a picture in [0, 1]: 0.25 is usual; of a table: the columns'
        standard deviations). 0 leaves the rows as they are.
    bounds, scale: of a tensor x, the lowest and highest value it may have before the noise; of a table, its columns'
        units. See `_inputs.py`.
    Reads and returns x: (N, ...) floating point, or a table's {"numeric": (N, F)}. Rows stay independent: `records` is
    kept.
    """

    def __init__(
        self, sigma: float = 0.25, bounds: tuple[float, float] = (0.0, 1.0), scale: Sequence[float] = ()
    ) -> None:
        super().__init__(bounds, scale)
        if not 0 <= sigma < float("inf"):
            raise SondeError(f"GaussianNoise(sigma={sigma}) is no deviation", "choose sigma >= 0; 0.25 is usual")
        self.sigma = sigma

    def setup(self, run: Run) -> None:
        """Refuse what would clip or average the noise."""
        for method in run.methods[run.methods.index(self) + 1 :]:
            if type(method).__module__.startswith("sonde.methods.augment."):
                name = type(method).__name__
                raise Refused(
                    f"{name} after GaussianNoise changes the noise, which is then no longer the one that is certified",
                    f"put {name} before GaussianNoise in the list of methods",
                )

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows with noise."""
        allowed = self.range(run, batch)
        if self.sigma == 0.0:
            return batch
        v = numbers(batch.x, self)
        return replace(batch, x=with_numbers(batch.x, v + self.sigma * allowed.unit * torch.randn_like(v)))
