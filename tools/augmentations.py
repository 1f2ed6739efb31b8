"""Draw every image augmentation on sample pictures, and the operations that some of them draw from, into docs/images.

Run it after one was added or changed: `python tools/augmentations.py`. The pictures come with scikit-learn: windows of
two photographs, and a digit. The same methods give the same files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sonde.core import Batch, Method
from sonde.methods import (
    Colour,
    Crop,
    CutMix,
    Erase,
    Flip,
    MixUp,
    RandAugment,
    Rotate,
    Scale,
    Shift,
    TrivialAugment,
)
from sonde.methods.augment._space import OPERATIONS, WIDE, augment

ROOT = Path(__file__).resolve().parent.parent
SIDE = 96  # pixels of a picture
INK, MUTED = "#16191d", "#565e68"
FONT = {"family": "DejaVu Sans Mono"}  # comes with matplotlib
SEED = 40

# As they are typed, and made; stronger than the defaults where those are hard to see.
METHODS: dict[str, Method] = {
    "shift(most=0.2)": Shift(0.2),
    "flip": Flip(),
    "rotate(degrees=30)": Rotate(30.0),
    "scale(most=0.4)": Scale(0.4),
    "crop(least=0.3)": Crop(0.3),
    "colour(0.5, 0.5, 0.9)": Colour(0.5, 0.5, 0.9),
    "erase(side=0.4)": Erase(0.4),
    "rand_augment": RandAugment(),
    "trivial_augment": TrivialAugment(),
    "cutmix": CutMix(3),
    "mixup(alpha=1.0)": MixUp(3, alpha=1.0),
}


def pictures() -> Tensor:
    """A temple, a flower and a digit: (3, 3, SIDE, SIDE) in [0, 1]."""
    from PIL import Image
    from sklearn.datasets import load_digits, load_sample_images

    china, flower = load_sample_images().images
    digit = np.pad((255 * load_digits().images[5] / 16).astype(np.uint8), 1)
    whole = [
        Image.fromarray(china[20:360, 190:530]),
        Image.fromarray(flower[60:400, 150:490]),
        Image.fromarray(digit).convert("RGB"),
    ]
    small = [np.asarray(p.resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for p in whole]
    return torch.tensor(np.stack(small)).permute(0, 3, 1, 2) / 255


def table(rows: dict[str, list[Tensor]], columns: list[str], path: Path) -> None:
    """Pictures in rows and columns, with the rows' names at the left and the columns' above."""
    n = max(len(row) for row in rows.values())
    figure = Figure(figsize=(1.65 + 0.84 * n, 0.3 + 0.84 * len(rows)), dpi=110, facecolor="white")
    axes = figure.subplots(len(rows), n, squeeze=False)
    top = 1 - 0.3 / (0.3 + 0.84 * len(rows))
    figure.subplots_adjust(1.65 / (1.65 + 0.84 * n), 0.0, 1.0, top, wspace=0.05, hspace=0.05)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.axis("off")
        for axis, x in zip(line, row, strict=False):
            axis.imshow(x.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="nearest")
        middle = {"transform": line[0].transAxes, "ha": "right", "va": "center"}
        line[0].text(-0.08, 0.5, name, fontsize=7.5, color=INK, **middle, **FONT)
    for axis, name in zip(axes[0], columns, strict=False):
        axis.text(0.5, 1.06, name, transform=axis.transAxes, ha="center", fontsize=7.5, color=MUTED, **FONT)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, pil_kwargs={"quality": 75, "method": 6})


def drawn() -> dict[str, list[Tensor]]:
    """Five draws of each method, two of the temple, two of the flower and one of the digit."""
    which = torch.tensor([0, 0, 1, 1, 2])
    x = pictures()
    rows = {"as it is": list(x[which])}
    for i, (name, method) in enumerate(METHODS.items()):
        torch.manual_seed(SEED + i)
        rows[name] = list(method.batch(None, Batch(x[which], which)).x)  # type: ignore[arg-type]
    return rows


def strengths() -> dict[str, list[Tensor]]:
    """Each of the fourteen operations over TrivialAugment's wide space, on the flower and the temple by turns."""
    x = pictures()
    at = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    rows: dict[str, list[Tensor]] = {}
    for i, name in enumerate(OPERATIONS):
        some = x[i % 2].expand(len(at), -1, -1, -1)
        rows[name] = list(augment(some, torch.full((1, len(at)), i), at[None], WIDE))
    return rows


if __name__ == "__main__":
    folder = ROOT / "docs" / "images"
    table(drawn(), [], folder / "augmentations.webp")
    table(strengths(), ["-1", "-1/2", "0", "1/2", "1"], folder / "augmentation_operations.webp")
