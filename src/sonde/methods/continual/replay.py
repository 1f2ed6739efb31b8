"""Experience replay: remembered rows beside every batch.

Entry: replay; catastrophic forgetting.
"""

# N rows of the batch, M remembered rows

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from sonde.core import At, Batch, Event, Loss, Method, Refused, Run, Stepped
from sonde.methods.continual.memory import Keep, Memory, first_pass, joined, only_memory

SHARE = "replay weight"
"""The field that says what each row counts for."""


class Replay(Method):
    """Add remembered rows of the stream to every batch (Chaudhry et al., 2019, On tiny episodic memories, Algorithm 1).

        L = mean over the N new rows + strength * mean over the M remembered rows

    capacity: rows held. rows: M, drawn anew each step. keep: `reservoir` or `class-balanced`, see `Memory`.
    seed: of the memory's own generator.

    A record is offered to the memory once, in the first pass of its stage, as it is where this method stands in the
    list: put it before augmentations, and what is remembered is augmented anew each time it is replayed. The remembered
    rows join the batch with their record ids, so whatever acts on rows (attacks, augmentation) acts on them too.
    Private training is refused: its accountant counts one reading of each record at the sampling rate of the data.
    """

    remembers = True

    remembers = True

    def __init__(
        self, capacity: int = 1000, rows: int = 32, strength: float = 1.0, keep: Keep = "reservoir", seed: int = 0
    ) -> None:
        if rows < 1 or not strength >= 0:
            raise ValueError(f"rows is at least 1 and strength at least 0; got {rows} and {strength}")
        self.memory = Memory(capacity, keep, seed, owner="Replay")
        self.count, self.strength = rows, strength
        self._new: Batch | None = None  # the step's own rows, to be remembered once it is taken

    def setup(self, run: Run) -> None:
        """See `Method.setup`."""
        only_memory(run, self)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """See `Method.batch`."""
        self.memory.check(batch)
        drawn = self.memory.draw(self.count) if self.strength else None
        self._new = batch if first_pass(run) else None
        return batch if drawn is None else beside(batch, [(drawn, self.strength)])

    def loss(self, at: At, loss: Loss) -> Loss:
        """See `Method.loss`."""
        refuse_mixed(self._new, at.batch, "Replay")
        return shared_out(at.batch, loss)

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


def beside(batch: Batch, remembered: list[tuple[Batch, float]]) -> Batch:
    """The batch with remembered rows, each lot with its strength; the mean over all rows becomes the sum of means.

    A lot of M rows and strength s is to count s / M a row, and a mean over R rows gives each 1 / R, so
    its share is s R / M.
    """
    parts = [(batch, 1.0), *remembered]
    total = float(sum(len(b) for b, _ in parts))  # R
    share = [torch.full((len(b),), s * total / (b.denominator or len(b))) for b, s in parts]
    shares = torch.cat(share).to(_device(batch))  # (R,)
    whole = joined(batch, *(b for b, _ in remembered))
    return replace(whole, fields={**whole.fields, SHARE: shares})


def refuse_mixed(new: Batch | None, batch: Batch, owner: str) -> None:
    """Refuse where rows no longer are of one record each, though they were when `owner` added remembered ones."""
    if new is not None and new.records is not None and batch.records is None:
        raise Refused(
            f"a method after {owner} mixes remembered rows with new ones, which count differently",
            f"put the method that mixes rows (mixup, cutmix) before {owner}, or remove it",
        )


def shared_out(batch: Batch, loss: Loss) -> Loss:
    """The loss with each row's summands counted by its share."""
    share = batch.fields.get(SHARE)
    if share is None:
        return loss
    terms = {
        k: replace(t, weight=share.to(t.value) * t.weight) if t.kind == "example" else t for k, t in loss.terms.items()
    }
    return replace(loss, terms=terms)


def _device(batch: Batch) -> torch.device:
    return next(iter(batch.rows().values())).device
