"""Labelling a sequence whose alignment with its labels nobody knows.

Graves, Fernandez, Gomez and Schmidhuber, Connectionist temporal classification, 2006, sec. 3 and 4.

Entry: speech recognition.
"""

# N rows, F frames, S labels of the longest row, C classes, the blank included

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from sonde.core import SondeError

from ._numbers import wide


@dataclass(frozen=True, slots=True)
class CTC:
    """The negative log of the summed probability of every way to spell the labels, a class or a blank each frame.

        -log sum_{paths pi that spell y} prod_f softmax(z_f)_{pi_f}

    A path spells what is left of it when repeats are merged and blanks then dropped (eq. 2, 3 and 8). A row whose
    frames are too few for its labels has no path: its loss is infinite, which a run reports with the row's record.

    blank: the class that stands for no label.
    """

    blank: int = 0

    def __post_init__(self) -> None:
        if self.blank < 0:
            raise SondeError(f"CTC(blank={self.blank}) is no class", "choose a class from 0 on")

    def __call__(self, output: Tensor, y: Tensor, frames: Tensor | None = None) -> Tensor:
        """Logits (N, F, C), labels (N, S) padded at their end with -1, and how many frames each row has (N,), to (N,).

        Without `frames`, every row has F.
        """
        log_p = wide(output).log_softmax(2)
        if not self.blank < log_p.shape[2]:
            raise SondeError(f"CTC(blank={self.blank}) is not among {log_p.shape[2]} classes", "choose a class below")
        frames = torch.full((len(y),), output.shape[1], device=y.device) if frames is None else frames
        lengths = (y >= 0).sum(1)  # (N,)
        return F.ctc_loss(log_p.transpose(0, 1), y.clamp_min(0), frames, lengths, self.blank, reduction="none")
