"""Sequences to labels without an alignment: speech to letters, strokes to words.

Entry: speech recognition.
"""

# N rows, F frames, C classes with the blank, S labels

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective, Term
from sonde.losses import CTC


class Transcribe(Objective):
    """Connectionist temporal classification (Graves et al., 2006): see `sonde.losses.CTC`.

    net: x (N, ...) -> logits (N, F, C), a class or the blank for every frame. y: (N, S) labels, padded at their end
    with -1. The field `frames` (N,), if there, says how many frames of a row count. blank: the class of no label.
    """

    def __init__(self, net: nn.Module, blank: int = 0) -> None:
        super().__init__()
        self.net, self.loss = net, CTC(blank)

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds the logits of all frames."""
        logits = self.net(batch.x)
        value = self.loss(logits, batch.y, batch.fields.get("frames"))
        return Loss({"task": Term(value, "example", batch.fields.get("weight", 1.0))}, {"frame_logits": logits})

    def predict(self, x: Any) -> Tensor:
        """The labels of the likeliest path (sec. 3.2, best path decoding), (N, F) padded at their end with -1."""
        return self.read(self.net(x))

    def read(self, logits: Tensor, frames: Tensor | None = None) -> Tensor:
        """Labels (N, F) from logits (N, F, C): repeats merged, blanks dropped, padded at their end with -1."""
        path = logits.argmax(2)  # (N, F)
        place = torch.arange(path.shape[1], device=path.device).expand_as(path)
        kept = path != self.loss.blank
        kept &= torch.cat([torch.ones_like(kept[:, :1]), path[:, 1:] != path[:, :-1]], 1)
        if frames is not None:
            kept &= place < frames[:, None]
        order = torch.where(kept, place, path.shape[1]).argsort(dim=1, stable=True)  # what is kept comes first
        return torch.where(kept, path, -1).gather(1, order)

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: whether all labels of a row are right."""
        read = self.read(loss.out["frame_logits"], batch.fields.get("frames"))  # (N, F)
        width = max(read.shape[1], batch.y.shape[1])
        ours, theirs = (nn.functional.pad(t, (0, width - t.shape[1]), value=-1) for t in (read, batch.y))
        return {"exact": (ours == theirs).all(1).float()}
