"""RandAugment's and TrivialAugment's operations against Pillow's, and what they draw.

Pillow rounds to 256 levels after each operation, and cuts off some fractions; the tolerances say by how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from sonde.core import Batch, Method, SondeError
from sonde.methods.augment import RandAugment, TrivialAugment
from sonde.methods.augment._space import MOVES, OPERATIONS, STANDARD, WIDE, Space, augment

METHODS = [RandAugment(2, 15.0), RandAugment(3, 30.0, fill=0.5), TrivialAugment(), TrivialAugment("standard")]
SHAPES = [(32, 32, 3), (24, 40, 3), (28, 28)]


def named(method: Method) -> str:
    return type(method).__name__


def pixels(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A picture with structure: waves, a flat patch and some noise, over about 200 of 256 levels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape[:2])
    waves = np.stack([np.sin(rows / 3 + i) + np.cos(columns / (4 + i)) for i in range(3)], axis=-1)
    picture = 110 + 38 * waves + rng.normal(0, 8, waves.shape)
    picture[:6, :6] = 40
    picture = picture.clip(20, 220).astype(np.uint8)
    return picture if len(shape) == 3 else picture[..., 0].copy()


def tensor(picture: np.ndarray) -> Tensor:
    x = torch.tensor(picture) / 255  # torch.tensor copies: Pillow's arrays are read-only
    return x.permute(2, 0, 1) if x.ndim == 3 else x[None]


def applied(name: str, x: Tensor, strength: float, space: Space = STANDARD, fill: float = 0.0) -> Tensor:
    """The operation on one picture (C, H, W), as levels."""
    operation = torch.tensor([[OPERATIONS.index(name)]])
    return augment(x[None], operation, torch.tensor([[strength]]), space, fill)[0] * 255


def affine(picture: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def pillow(name: str, p: Image.Image, s: float, space: Space) -> Image.Image:
    """The published operation: torchvision's for Pillow pictures, in Pillow's own words."""
    factor = 1 + s * space.factor
    right, down = (math.trunc(s * space.reach(side)) for side in p.size)
    return {
        "identity": lambda: p,
        "autocontrast": lambda: ImageOps.autocontrast(p),
        "equalize": lambda: ImageOps.equalize(p),
        "posterize": lambda: ImageOps.posterize(p, 8 - round(abs(s) * (8 - space.bits))),
        "solarize": lambda: ImageOps.solarize(p, 256 * (1 - abs(s))),
        "brightness": lambda: ImageEnhance.Brightness(p).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(p).enhance(factor),
        "colour": lambda: ImageEnhance.Color(p).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(p).enhance(factor),
        "rotate": lambda: p.rotate(s * space.degrees, Image.Resampling.NEAREST),
        "shear_x": lambda: affine(p, (1, s * space.shear, 0, 0, 1, 0)),
        "shear_y": lambda: affine(p, (1, 0, 0, s * space.shear, 1, 0)),
        "translate_x": lambda: affine(p, (1, 0, -right, 0, 1, 0)),
        "translate_y": lambda: affine(p, (1, 0, 0, 0, 1, -down)),
    }[name]()


# Levels of 255. Pillow's autocontrast and blends cut fractions off; its contrast rounds the mean grey, its sharpness
# the smoothed picture, which the factor then multiplies.
TOLERANCE = {"autocontrast": 1.0, "brightness": 1.0, "contrast": 2.0, "colour": 2.0, "sharpness": 2.0}


# ---------------------------------------------------------------- parity with Pillow
@pytest.mark.parametrize("space", [STANDARD, WIDE], ids=["standard", "wide"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in MOVES])
def test_tones_are_those_of_pillow(name: str, shape: tuple[int, ...], space: Space) -> None:
    for seed, strength in enumerate([-1.0, -0.6, -0.1, 0.0, 0.3, 0.5, 1.0]):
        picture = pixels(shape, seed)
        wanted = tensor(np.asarray(pillow(name, Image.fromarray(picture), strength, space))) * 255
        found = applied(name, tensor(picture), strength, space)
        torch.testing.assert_close(found, wanted, rtol=0, atol=TOLERANCE.get(name, 0.0) + 1e-3)


@pytest.mark.parametrize("space", [STANDARD, WIDE], ids=["standard", "wide"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", MOVES)
def test_moved_pixels_are_those_of_pillow(name: str, shape: tuple[int, ...], space: Space) -> None:
    """All of them, but for the few whose source lies on the border of two pixels, to rounding."""
    for seed, strength in enumerate([-1.0, -0.6, -1 / 7, 0.0, 0.2, 1 / 3, 1.0]):
        picture = pixels(shape, seed)
        wanted = tensor(np.asarray(pillow(name, Image.fromarray(picture), strength, space))) * 255
        found = applied(name, tensor(picture), strength, space)
        differ = ((found - wanted).abs() > 1e-3).float().mean().item()
        diagonal = name == "rotate" and round(strength * space.degrees) % 90 == 45  # a whole one lies on such borders
        assert differ <= (0.0 if name.startswith("translate") else 0.03 if diagonal else 0.005), (strength, differ)


@pytest.mark.parametrize("strength", [-1.0, 1.0])
def test_a_position_between_two_pixels_belongs_to_the_later_one(strength: float) -> None:
    space = replace(WIDE, shear=1.0)  # every source lies on the border of two pixels
    picture = pixels((9, 12), 0)
    wanted = tensor(np.asarray(pillow("shear_x", Image.fromarray(picture), strength, space))) * 255
    torch.testing.assert_close(applied("shear_x", tensor(picture), strength, space), wanted, rtol=0, atol=1e-3)


def test_equalize_keeps_what_pillow_keeps() -> None:
    flat, dark = np.full((16, 16), 7, np.uint8), np.zeros((28, 28), np.uint8)
    dark[:3, :5] = 200  # too few pixels below the brightest level, or hardly any above the darkest
    few = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for picture in (flat, dark, 255 - dark, few):
        wanted = tensor(np.asarray(ImageOps.equalize(Image.fromarray(picture)))) * 255
        torch.testing.assert_close(applied("equalize", tensor(picture), 0.0), wanted, rtol=0, atol=1e-3)


def test_a_flat_picture_is_not_stretched() -> None:
    x = torch.full((3, 5, 5), 0.3) + 1e-4 * torch.rand(3, 5, 5)  # less than a level: noise of the arithmetic
    torch.testing.assert_close(applied("autocontrast", x, 0.0) / 255, x)


def test_tones_do_not_depend_on_the_rounding_of_a_level() -> None:
    """k / 255 in floating point may lie just below the level k."""
    x = (torch.arange(256.0) / 255).view(1, 16, 16)
    for bits in range(4, 9):
        found = applied("posterize", x, (8 - bits) / 4).flatten().round().long()
        assert torch.equal(found, torch.arange(256) >> (8 - bits) << (8 - bits))
    for step in range(31):
        level, threshold = torch.arange(256), 256 * (1 - step / 30)
        found = applied("solarize", x, step / 30).flatten().round().long()
        assert torch.equal(found, torch.where(level >= threshold - 1e-9, 255 - level, level)), step


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in ("autocontrast", "equalize", "posterize")])
def test_strength_zero_changes_nothing(name: str) -> None:
    x = torch.rand(3, 12, 9)
    torch.testing.assert_close(applied(name, x, 0.0) / 255, x)


def test_fill_stands_where_a_picture_was_moved_away() -> None:
    x = torch.rand(1, 8, 8)
    space = replace(WIDE, pixels=3.0)
    out = applied("translate_x", x, 1.0, space, fill=0.5) / 255
    assert torch.equal(out[..., :3], torch.full((1, 8, 3), 0.5))
    torch.testing.assert_close(out[..., 3:], x[..., :-3])


# ---------------------------------------------------------------- many rows at once
def test_a_batch_is_its_rows_one_by_one() -> None:
    torch.manual_seed(0)
    n = 90
    x = torch.rand(n, 3, 10, 13, dtype=torch.float64)
    operations = torch.randint(len(OPERATIONS), (3, n))
    strengths = torch.rand(3, n, dtype=torch.float64) * 2 - 1
    before = x.clone()
    whole = augment(x, operations, strengths, WIDE, fill=0.25)
    each = [augment(x[i : i + 1], operations[:, i : i + 1], strengths[:, i : i + 1], WIDE, 0.25) for i in range(n)]
    torch.testing.assert_close(whole, torch.cat(each))
    assert torch.equal(x, before)
    once = x
    for operation, strength in zip(operations, strengths, strict=True):
        once = augment(once, operation[None], strength[None], WIDE, 0.25)
    torch.testing.assert_close(whole, once)


@pytest.mark.parametrize("method", METHODS, ids=named)
@pytest.mark.parametrize("shape", [(9, 1, 8, 8), (9, 3, 9, 6), (9, 2, 1, 2), (1, 1, 2, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_pictures_stay_pictures(method: Method, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    for seed in range(12):
        torch.manual_seed(seed)
        x = torch.rand(shape, dtype=dtype)
        out = method.batch(None, Batch(x)).x  # type: ignore[arg-type]
        assert out.shape == shape and out.dtype == dtype and 0.0 <= out.min() and out.max() <= 1.0 + 1e-6


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_a_row_depends_on_itself_alone(method: Method) -> None:
    batch = Batch(torch.rand(40, 3, 8, 8), torch.arange(40), torch.arange(40) + 5)
    other = replace(batch, x=torch.cat([torch.rand(1, 3, 8, 8), batch.x[1:]]))
    outs = []
    for b in (batch, other):
        torch.manual_seed(1)
        outs.append(method.batch(None, b))  # type: ignore[arg-type]
    assert torch.equal(outs[0].x[1:], outs[1].x[1:])
    assert outs[0].records is batch.records and outs[0].y is batch.y


# ---------------------------------------------------------------- what is drawn
def drawn(monkeypatch: pytest.MonkeyPatch, method: Method, rows: int = 7000) -> tuple[Tensor, Tensor, Space]:
    """The operations and strengths (R, N) that the method draws."""
    seen: list[tuple[Tensor, Tensor, Space]] = []

    def watch(x: Tensor, operations: Tensor, strengths: Tensor, space: Space, fill: float) -> Tensor:
        seen.append((operations, strengths, space))
        return x

    for module in ("rand_augment", "trivial_augment"):
        monkeypatch.setattr(f"sonde.methods.augment.{module}.augment", watch)
    torch.manual_seed(3)
    method.batch(None, Batch(torch.rand(rows, 1, 2, 2)))  # type: ignore[arg-type]
    return seen[0]


def even(counts: Tensor) -> bool:
    """Whether counts could be draws from equal chances: chi-squared below its mean plus five deviations."""
    expected = counts.sum() / len(counts)
    return bool(((counts - expected) ** 2 / expected).sum() < len(counts) - 1 + 5 * math.sqrt(2 * (len(counts) - 1)))


def test_randaugment_draws_operations_evenly_and_holds_its_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    operations, strengths, space = drawn(monkeypatch, RandAugment(3, 12.0))
    assert operations.shape == strengths.shape == (3, 7000) and space is STANDARD
    assert all(even(torch.bincount(o, minlength=14)) for o in operations)
    torch.testing.assert_close(strengths.abs(), torch.full((3, 7000), 0.4))
    assert even(torch.bincount((strengths.flatten() > 0).long()))
    assert even(torch.bincount(14 * operations[0] + operations[1], minlength=196))  # and independently


def test_trivialaugment_draws_31_strengths_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    operations, strengths, space = drawn(monkeypatch, TrivialAugment())
    assert operations.shape == strengths.shape == (1, 7000) and space is WIDE
    assert even(torch.bincount(operations[0], minlength=14))
    steps = (strengths[0].abs() * 30).round().long()
    assert even(torch.bincount(steps, minlength=31))
    assert even(torch.bincount((strengths[0][steps > 0] > 0).long()))
    assert even(torch.bincount(31 * operations[0] + steps, minlength=14 * 31))


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RandAugment(0), "changes nothing"),
        (lambda: RandAugment(magnitude=31), r"magnitude=31 is outside \[0, 30\]"),
        (lambda: RandAugment(fill=-1.0), "fill=-1.0 is outside"),
        (lambda: TrivialAugment("huge"), "no space 'huge'"),  # type: ignore[arg-type]
        (lambda: TrivialAugment(fill=2.0), "fill=2.0 is outside"),
    ],
)
def test_nonsense_is_refused(make: Callable[[], Method], said: str) -> None:
    with pytest.raises(SondeError, match=said):
        make()


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_what_is_no_picture_is_refused(method: Method) -> None:
    with pytest.raises(SondeError, match=f"{named(method)} changes images"):
        method.batch(None, Batch(torch.rand(4, 3)))  # type: ignore[arg-type]
