"""Averaged gradient episodic memory: no step may raise the loss on remembered rows.

Entry: catastrophic forgetting; replay.
"""

# M remembered rows

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sonde.core import Batch, Event, Grads, Method, Run, Stepped
from sonde.methods.continual.memory import Keep, Memory, first_pass, only_memory


class AGEM(Method):
    """Turn the gradient so that it does not oppose that of earlier experiences (Chaudhry et al., 2019, eq. 11).

        g <- g - (g . r) / (r . r) r    where g . r < 0,    r the gradient of the mean loss on M remembered rows

    capacity: rows held, of all stages. rows: M, drawn anew each step among the rows of earlier stages; in the first
        stage there are none, and nothing is changed.
    keep: `class-balanced` (the paper's holds as many rows of each class) or `reservoir`. seed: of the memory's own
        generator.

    r is of the objective's own loss, without other methods' terms. Methods that clip the gradient come after this one.
    Private training is refused: r is a gradient of raw records, without noise.
    """

    remembers = True

    remembers = True

    def __init__(self, capacity: int = 1000, rows: int = 128, keep: Keep = "class-balanced", seed: int = 0) -> None:
        if rows < 1:
            raise ValueError(f"rows is a number of remembered rows, at least 1; got {rows}")
        self.memory, self.count = Memory(capacity, keep, seed, owner="AGEM"), rows
        self._new: Batch | None = None  # the step's own rows, to be remembered once it is taken
        self._reference: Batch | None = None  # this step's remembered rows

    def setup(self, run: Run) -> None:
        """See `Method.setup`."""
        only_memory(run, self)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """See `Method.batch`."""
        self.memory.check(batch)
        self._reference = self.memory.draw(self.count, before=run.stage)
        self._new = batch if first_pass(run) else None
        return batch

    def grads(self, run: Run, turn: str, grads: Grads) -> Grads:
        """See `Method.grads`."""
        if self._reference is None:
            return grads
        params = run.params(turn)
        rows = self._reference.to(run.device)
        with run.engine.autocast(run.device):
            loss = run.forward(turn, params, rows)
        reference = run.differentiate(loss.total("example"), params)
        reference = {k: g.to(grads[k]) for k, g in reference.items() if k in grads}
        along, length = _dot(grads, reference), _dot(reference, reference)
        factor = torch.where((along < 0) & (length > 0), along / length.clamp_min(torch.finfo(length.dtype).tiny), 0.0)
        return {k: g - factor.to(g) * reference[k] for k, g in grads.items()}

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Stepped) and self._new is not None:
            self.memory.offer(self._new, run.stage)
            self._new = None

    def state_dict(self) -> dict[str, Any]:
        """The memory."""
        return {"memory": self.memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.memory.load_state_dict(state["memory"])


def _dot(a: Grads, b: Grads) -> Tensor:
    """The inner product over all parameters, in float64: a difference of large summands decides its sign."""
    return torch.stack([(a[k].double() * b[k].double()).sum() for k in a]).sum()
