"""Accuracy on corrupted pictures: noise, blur, weather and file formats at five severities.

Hendrycks and Dietterich, Benchmarking neural network robustness to common corruptions and perturbations, 2019, sec. 4.
See `sonde.corruptions` for what is done to the pictures and where it differs. The paper's mCE divides by the errors of
AlexNet, which small pictures do not have; here it is the plain mean over kinds and severities.

Entry: audits; distribution shift.
"""

# N rows, K kinds, S severities

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sonde.core import Batch, Clock, SondeError, Subject
from sonde.core.finding import Figure, Shown
from sonde.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from sonde.drawing import INK, WHITE, style

from ._asking import affordable, decided, drawn, no_classes, no_pictures
from ._severities import BySeverity, clean_accuracy, heat_map, measures, table

SOURCE = "Hendrycks and Dietterich, 2019, sec. 4"
COST_OF_CORRUPTING = 1.5  # passes through a small net that one corrupted picture costs, with the net's own
SHOWN = (1, 3, 5)  # severities in the drawing of examples


class Corruptions(BySeverity):
    """Accuracy under noise, blur, weather and compression.

    rows: of the split at most, drawn by `seed`. split: which.
    """

    cost = 3.0

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        return no_classes(subject) or no_pictures(subject)

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        assert subject.bounds is not None  # noqa: S101 - see `refuses`
        low, high = subject.bounds
        chosen = drawn(subject, self.split, self.rows, self.seed)
        chosen = affordable(subject, chosen, COST_OF_CORRUPTING * len(CORRUPTIONS) * len(SEVERITIES), clock)
        unit = (chosen.x.detach().cpu() - low) / (high - low)  # (N, C, H, W) in [0, 1]
        clean = self._right(subject, chosen, chosen.x)
        if not torch.equal(clean, self._right(subject, chosen, chosen.x)):
            raise SondeError("asked again, the model decides differently on the same rows", "make it deterministic")
        n, how = len(clean), {"rows": len(clean), "seed": self.seed}
        yield clean_accuracy("corruptions", clean.numpy(), SOURCE, self.split, how)
        right = np.zeros((n, len(CORRUPTIONS), len(SEVERITIES)))
        for k, name in enumerate(CORRUPTIONS):
            for s, severity in enumerate(SEVERITIES):
                moved = corrupt(unit, name, severity, self.seed) * (high - low) + low
                right[:, k, s] = self._right(subject, chosen, moved.to(chosen.x)).numpy()
            clock.at((k + 1) / len(CORRUPTIONS))
        known = clean.double().numpy()
        kinds = [spoken(name) for name in CORRUPTIONS]
        yield from measures("corruptions", list(CORRUPTIONS), known, right, SOURCE, self.split, how)
        yield table("corruptions", "corruption", kinds, SEVERITIES, known, right)
        yield heat_map("corruptions", "severity", kinds, SEVERITIES, known, right)
        yield examples(unit[int(clean.int().argmax())], self.seed)

    def _right(self, subject: Subject, rows: Batch, x: Tensor) -> Tensor:
        return decided(subject, rows, x) == rows.y.cpu()


def spoken(name: str) -> str:
    """A corruption's name as a reader sees it.

    >>> spoken("jpeg_compression"), spoken("defocus_blur")
    ('JPEG compression', 'defocus blur')
    """
    return name.replace("_", " ").replace("jpeg", "JPEG").replace("gaussian", "Gaussian")


def examples(picture: Tensor, seed: int) -> Figure:
    """One picture (C, H, W) in [0, 1] under every corruption, at three severities."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(7, 7.2), dpi=100, facecolor=WHITE, layout="constrained")
    drawing.get_layout_engine().set(w_pad=0.14, h_pad=0.05)  # type: ignore[union-attr, call-arg]
    grid = drawing.subplots(6, 3)
    for axes in grid.flat:
        style(axes)
        axes.set_axis_off()
    names = list(CORRUPTIONS)
    tiles = [("clean", [picture])]
    tiles += [(spoken(k), [corrupt(picture[None], k, s, seed)[0] for s in SHOWN]) for k in names]
    for axes, (name, pictures) in zip(grid.flat, tiles, strict=False):
        gap = torch.ones(picture.shape[0], picture.shape[1], max(1, picture.shape[2] // 14))
        strip = torch.cat([part for p in pictures for part in (p, gap)][:-1], 2)
        strip = torch.cat([strip, torch.ones(*strip.shape[:2], _width(picture) - strip.shape[2])], 2)
        colours = strip.mean(0) if strip.shape[0] != 3 else strip.movedim(0, 2)
        axes.imshow(colours.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(name, loc="left", fontsize=9.5, color=INK)
    shown = ", ".join(map(str, SHOWN[:-1])) + f" and {SHOWN[-1]}"
    return Figure.of("corrupted", f"One row of the split under every corruption, at severities {shown}.", drawing)


def _width(picture: Tensor) -> int:
    """Of the widest strip: three pictures and the gaps between."""
    return len(SHOWN) * picture.shape[2] + (len(SHOWN) - 1) * max(1, picture.shape[2] // 14)
