"""The adversarial patch: one sticker, learned on some pictures, that turns others into the class it was made for.

Brown, Mane, Roy, Abadi and Gilmer, Adversarial patch, 2017. The patch is learned on the training rows (on the first
half of the split where there are none) and tried on rows, at places, sizes and angles that it has not seen. A patch of
random colours, laid as often, shows what covering a part of the picture does by itself.

Entry: adversarial examples; audits.
"""

# N rows, C channels, H height, W width, S side of the patch

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sonde.attacks import Placing, adversarial_patch
from sonde.core import Audit, Batch, Clock, Figure, SondeError, Subject, Table
from sonde.core.finding import Shown
from sonde.drawing import COLOURS, INK, MUTED, SMALL, WHITE, style

from .._show import figure, short
from ..quality.intervals import left_out
from ._asking import drawn
from ._attacking import classes_of, logits_of, not_attacked, picture, range_of, share

SOURCE = "Brown et al., 2017, sec. 2"
SIZES = (0.2, 0.3, 0.4, 0.5)  # of the picture's shorter side, in the table
LEARNED_ON = 512  # rows
SMALLEST = 4  # pixels along a picture's side, for a patch to be more than a dot
SHOWN = 5


class Patch(Audit):
    """How often one sticker turns pictures into a class of its choice.

    scale: the least and most side of the patch, as a share of the picture's shorter side. target: the class, by its
        number; -1 takes the one that random patches most often lead to. rows: tried on, at most, drawn by `seed`.
    steps: of learning the patch.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.3, 0.5),
        target: int = -1,
        rows: int = 200,
        steps: int = 100,
        split: str = "test",
        seed: int = 0,
    ) -> None:
        low, high = scale
        if not 0 < low <= high <= 1 or min(rows, steps) < 1 or target < -1:
            raise SondeError(
                f"Patch(scale={tuple(scale)}, target={target}, rows={rows}, steps={steps}) is no patch",
                "choose 0 < least <= most <= 1, a class or -1, and at least one row and step",
            )
        self.scale, self.target, self.rows, self.steps = tuple(scale), target, rows, steps
        self.split, self.seed = split, seed

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        if reason := not_attacked(subject):
            return reason
        if self.target >= len(subject.classes):
            return f"there is no class {self.target}: {subject.name} has {len(subject.classes)}"
        if min(subject.rows(self.split).x.shape[-2:]) < SMALLEST:
            return f"its pictures are less than {SMALLEST} pixels high or wide: a patch would be a dot"
        return ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        logits, (bounds, _) = logits_of(subject), range_of(subject)
        tried = drawn(subject, self.split, self.rows, self.seed)
        learned = subject.splits.get("train")
        if learned is None or not len(learned) or learned.x.shape[1:] != tried.x.shape[1:]:
            learned, tried = tried[: len(tried) // 2], tried[len(tried) // 2 :]
        if not len(learned):
            yield left_out("robustness/patch/success_rate", "1", 1, "lower", SOURCE, self.split, "a single row")
            return
        learned = learned[torch.randperm(len(learned))[:LEARNED_ON]]
        least, most = self.scale
        placing = Placing((least, most))
        noise = bounds[0] + (bounds[1] - bounds[0]) * torch.rand_like(_square(tried, most))
        target = self.target if self.target >= 0 else _led_to(subject, learned, noise, placing)
        patch = adversarial_patch(logits, learned.x, target, placing, bounds, noise.shape[-1], self.steps)
        clock.at(0.8)
        y = classes_of(tried).cpu()
        others = y != target
        name = short(subject.classes[target])
        how = {
            "scale": list(self.scale),
            "angle": placing.angle,
            "target": name,
            "steps": self.steps,
            "seed": self.seed,
        }
        n = int(others.sum())
        if not n:
            why = f"every row is of the class that the patch leads to, {name}"
            yield left_out("robustness/patch/success_rate", "1", 0, "lower", SOURCE, self.split, why)
            return
        laid = placing.lay(patch, tried.x)
        answers = {
            "": subject.ask(tried.x).argmax(1), "noise_": subject.ask(placing.lay(noise, tried.x)).argmax(1),
            "patch_": subject.ask(laid).argmax(1),
        }  # fmt: skip
        hits = {key: int(((a == target) & others).sum()) for key, a in answers.items()}
        yield share("robustness/patch/success_rate", hits["patch_"], n, "lower", SOURCE, self.split, how)
        yield share("robustness/patch/random_patch_rate", hits["noise_"], n, "lower", SOURCE, self.split, how)
        right = int((answers["patch_"] == y)[others].sum())
        yield share("robustness/patch/accuracy", right, n, "higher", SOURCE, self.split, how)
        yield self._by_size(subject, tried[others.nonzero().squeeze(1)], patch, noise, target, name)
        yield _drawn(subject, patch, tried, laid, answers["patch_"], others, (name, bounds))

    def _by_size(self, subject: Subject, rows: Batch, patch: Tensor, noise: Tensor, target: int, name: str) -> Table:
        """The patch at fixed sizes, beside the random one."""
        lines: list[tuple[str | float | int | None, ...]] = []
        for size in SIZES:
            placing = Placing((size, size))
            hit = [
                float((subject.ask(placing.lay(p, rows.x)).argmax(1) == target).double().mean()) for p in (patch, noise)
            ]
            area = 3.14159 / 4 * size**2 * min(rows.x.shape[-2:]) ** 2 / (rows.x.shape[-2] * rows.x.shape[-1])
            lines.append((f"{size:g}", f"{100 * area:.0f} %", round(hit[0], 4), round(hit[1], 4)))
        caption = f"Share of {len(rows)} rows of other classes that are answered {name}, by the size of the patch."
        return Table("patch_by_size", caption, ("side", "of the picture", "patch", "random colours"), tuple(lines))


def _square(rows: Batch, most: float) -> Tensor:
    """Anything of the shape of a patch that is `most` of the picture's shorter side wide, (C, S, S)."""
    side = max(2, round(most * min(rows.x.shape[-2:])))
    return rows.x[0].new_empty(rows.x.shape[1], side, side)


def _led_to(subject: Subject, rows: Batch, noise: Tensor, placing: Placing) -> int:
    """The class that rows of other classes are most often taken for with a random patch; at a tie the first."""
    answers = subject.ask(placing.lay(noise, rows.x)).argmax(1)
    wrong = answers[answers != rows.y.cpu()]
    return int(wrong.bincount(minlength=len(subject.classes)).argmax())


def _drawn(
    subject: Subject, patch: Tensor, rows: Batch, laid: Tensor, answers: Tensor, others: Tensor, what: tuple[Any, ...]
) -> Figure:
    """The patch, and rows with it."""
    from matplotlib.figure import Figure as Drawing

    name, (low, high) = what
    some = others.nonzero().squeeze(1)[:SHOWN].tolist()
    drawing = Drawing(figsize=(7, 1.75), dpi=100, facecolor=WHITE, layout="constrained")
    grid = drawing.subplots(1, SHOWN + 1)
    for axes in grid:
        style(axes)
        axes.set_axis_off()
    step = (torch.arange(patch.shape[-1]) + 0.5) / patch.shape[-1] * 2 - 1
    disc = ((step[:, None] ** 2 + step**2) <= 1).to(patch)
    tiles = [((patch - low) / (high - low)).cpu() * disc + (1 - disc)]
    tiles += [((laid[i] - low) / (high - low)).cpu() for i in some]
    for axes, tile in zip(grid, tiles, strict=False):
        axes.imshow(picture(tile), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    grid[0].set_title("the patch", fontsize=SMALL, color=MUTED)
    for axes, i in zip(grid[1:], some, strict=False):
        code = int(answers[i])
        word = short(subject.classes[code] if code < len(subject.classes) else code, 12)
        axes.set_title(word, fontsize=SMALL, color=COLOURS[1] if word == short(name, 12) else INK)
    caption = f"The patch that leads to {name}, rows of other classes with it, and what the model answers."
    return figure("patch", caption, drawing)
