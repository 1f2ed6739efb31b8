"""Small data sets written to disk for the tests."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> Image.Image:
    """Noise of a size (H, W)."""
    shape = (*size, len(mode)) if mode in ("RGB", "RGBA") else size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def photos(root: Path, classes: Sequence[str] = ("cat", "dog"), each: int = 10, **settings: object) -> Path:
    """A folder per class of PNG files."""
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            picture(1000 * c + i, **settings).save(root / name / f"{i:03}.png")  # type: ignore[arg-type]
    return root


def table(path: Path, rows: int = 60, separator: str = ",") -> Path:
    """People: age, city (text), height (float, some missing), joined (date), member (truth value), income (target)."""
    random = np.random.default_rng(0)
    lines = [separator.join(["age", "city", "height", "joined", "member", "income"])]
    for i in range(rows):
        height = "" if i % 7 == 0 else f"{150 + random.random() * 50:.1f}"
        city = ["Oslo", "Rome", "Lima"][int(random.integers(3))]
        cells = [str(20 + i % 45), city, height, f"20{10 + i % 10}-0{1 + i % 9}-1{i % 10}"]
        lines.append(separator.join([*cells, ["true", "false"][i % 2], ["low", "high"][int(random.integers(2))]]))
    path.write_text("\n".join(lines) + "\n")
    return path


def npz(path: Path, **arrays: np.ndarray) -> Path:
    """An .npz file; object arrays are pickled, as an attacker would."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=True)
            archive.writestr(f"{name}.npy", buffer.getvalue())
    return path


def idx(array: np.ndarray) -> bytes:
    """The bytes of an idx file of unsigned bytes."""
    sides = b"".join(int(side).to_bytes(4, "big") for side in array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + sides + array.astype(np.uint8).tobytes()
