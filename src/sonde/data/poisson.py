"""Rows drawn by Poisson sampling: every record enters every step by its own coin, as private training's proofs ask.

Abadi et al., Deep learning with differential privacy, 2016, section 3 (lots); Mironov, Talwar and Zhang, 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde.core import Batch, Run, rank_and_world
from sonde.core.errors import Refused
from sonde.data.rows import Rows


class Poisson:
    """The rows of another source, each drawn independently with probability q = batch_size / N at each step.

    rows: a source in memory; its data, its `batch_size` (at most all rows) and its way to read rows are taken.
    seed: of the sampling, 0 to 2**128 - 1. A step's draw is a function of (seed, step), by a counter-based generator
        (Philox; Salmon et al., 2011), so that a run resumes at any step. **Who knows the seed knows who was in which
        step, and the privacy that sampling adds (amplification) is gone**: where it is counted on, draw the seed from
        the system's entropy, give every process the same one, and publish it nowhere; the training seed, which is
        printed, will not do. Philox is good for statistics and no cipher.

    A batch has as many rows as the coins gave, sometimes none; its `denominator` is what they give on average, q N, so
    that a sum over it divided by a constant is bounded for each record. Of several processes each takes its share of
    one draw, with q N / world as denominator.

    >>> drawn = Poisson(Rows(torch.arange(1000), batch_size=10), seed=5)
    >>> [(len(b), b.denominator) for b, _ in zip(drawn.batches(None), range(4))]
    [(12, 10.0), (14, 10.0), (5, 10.0), (14, 10.0)]
    """

    sampling = "poisson"

    def __init__(self, rows: Rows, seed: int) -> None:
        if not 0 <= seed < 2**128:
            raise ValueError(f"a sampling seed is a whole number from 0 to 2**128 - 1; got {seed}")
        self.rows, self.seed = rows, seed

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    @property
    def records(self) -> int:
        """N, the number of records that can be drawn."""
        return len(self.rows)

    @property
    def expected(self) -> float:
        """q N: how many rows a step has on average."""
        return float(min(self.rows.batch_size, self.records))

    @property
    def sampling_rate(self) -> float:
        """q: the probability with which a record is in a step."""
        return self.expected / self.records

    @property
    def steps_per_epoch(self) -> int:
        """As many steps as it takes to draw N rows on average."""
        return max(1, round(1 / self.sampling_rate))

    def draw(self, step: int) -> Tensor:
        """The places of a step's rows among all, (n,) int64, n binomial(N, q)."""
        # The step is the counter's highest word, so no two steps' numbers overlap.
        generator = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, step]))
        # N coins are a binomial number of heads, at places that are any subset of this size alike. Where q is small
        # this costs q N, not N: 18 us against 190 us for a mask of N = 60000 at q N = 256.
        heads = generator.binomial(self.records, self.sampling_rate)
        return torch.from_numpy(generator.choice(self.records, heads, replace=False, shuffle=False))

    def batches(self, run: Run | None, start: int = 0) -> Iterator[Batch]:
        """See `Source.batches`."""
        rank, world = (0, 1) if run is None else rank_and_world()
        denominator = self.expected / world
        for step in count(start):
            index = self.rows.index[self.draw(step)]
            yield replace(self.rows.take(index if world == 1 else index[rank::world]), denominator=denominator)


def poisson(source: Any, seed: int) -> Poisson:
    """The Poisson version of a source: the same records and expected batch size. seed: see `Poisson`.

    Raises:
        Refused: a source whose records cannot be drawn one by one.
    """
    if isinstance(source, Poisson):
        return Poisson(source.rows, seed)
    if isinstance(source, Rows) and type(source).batches is Rows.batches:
        return Poisson(source, seed)
    kind = type(source).__name__
    raise Refused(
        f"{kind} gives batches it has made already, so its records cannot be drawn independently of each other",
        "give the rows themselves: sonde.data.Rows(x, y, batch_size=...), or a data set opened by sonde.data.open",
    )
