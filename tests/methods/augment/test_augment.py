"""Augmentations: exact on cases a hand can compute, row by row where they say so, and quiet about everything else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sonde.core import Batch, Method, SondeError
from sonde.methods.augment import Colour, Crop, CutMix, Erase, Flip, MixUp, Rotate, Scale, Shift
from sonde.methods.augment.colour import colour
from sonde.methods.augment.crop import crop
from sonde.methods.augment.cutmix import cutmix
from sonde.methods.augment.erase import erase
from sonde.methods.augment.flip import flip
from sonde.methods.augment.mixup import mixup
from sonde.methods.augment.rotate import rotate
from sonde.methods.augment.scale import scale
from sonde.methods.augment.shift import shift

ROW_BY_ROW = [
    Shift(0.2),
    Rotate(30),
    Scale(0.3),
    Crop(0.3),
    Flip(),
    Flip("vertical"),
    Colour(0.5, 0.5, 0.5),
    Erase(0.5),
]
JOINING = [MixUp(5), CutMix(5)]
SHAPES = [(6, 1, 8, 8), (6, 3, 9, 6), (6, 2, 5, 12), (1, 1, 4, 4)]


def named(method: Method) -> str:
    return type(method).__name__


def pictures(*shape: int, dtype: torch.dtype = torch.float32) -> Batch:
    n = shape[0]
    return Batch(
        torch.rand(shape, dtype=dtype),
        torch.arange(n) % 5,
        records=torch.arange(n) + 100,
        fields={"group": torch.arange(n)},
        denominator=7.0,
    )


def apply(method: Method, batch: Batch, seed: int = 1) -> Batch:
    torch.manual_seed(seed)
    return method.batch(None, batch)  # type: ignore[arg-type]  # none of them reads the run


# ---------------------------------------------------------------- laws
@pytest.mark.parametrize("method", ROW_BY_ROW, ids=named)
def test_a_row_depends_on_itself_alone(method: Method) -> None:
    batch = pictures(6, 3, 8, 8)
    other = replace(batch, x=torch.cat([torch.rand(1, 3, 8, 8), batch.x[1:]]))
    a, b = apply(method, batch), apply(method, other)
    assert torch.equal(a.x[1:], b.x[1:])
    assert not torch.equal(a.x[0], b.x[0])
    assert a.records is batch.records and a.y is batch.y and a.fields is batch.fields


@pytest.mark.parametrize("method", JOINING, ids=named)
def test_joining_rows_clears_their_records(method: Method) -> None:
    batch = pictures(64, 1, 8, 8)
    out = apply(method, batch)
    assert out.records is None and out.denominator == 7.0 and out.fields is batch.fields
    assert out.y.shape == (64, 5)
    torch.testing.assert_close(out.y.sum(1), torch.ones(64))
    assert 0 < (out.y.amax(1) < 1).sum()  # something was mixed


@pytest.mark.parametrize("method", ROW_BY_ROW + JOINING, ids=named)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_pictures_stay_pictures(method: Method, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    batch = pictures(*shape, dtype=dtype)
    before = batch.x.clone()
    out = apply(method, batch)
    assert out.x.shape == shape and out.x.dtype == dtype and out.denominator == 7.0
    assert 0.0 <= out.x.min() and out.x.max() <= 1.0
    assert torch.equal(batch.x, before)  # nothing is changed in place


@pytest.mark.parametrize("method", ROW_BY_ROW + JOINING, ids=named)
def test_the_global_seed_decides_everything(method: Method) -> None:
    batch = pictures(16, 3, 8, 8)
    assert torch.equal(apply(method, batch, 1).x, apply(method, batch, 1).x)
    assert not torch.equal(apply(method, batch, 1).x, apply(method, batch, 2).x)


@pytest.mark.parametrize("method", ROW_BY_ROW, ids=named)
def test_every_row_is_changed_in_its_own_way(method: Method) -> None:
    batch = pictures(64, 3, 8, 8)
    out = apply(method, replace(batch, x=batch.x[:1].expand(64, -1, -1, -1)))
    assert not torch.equal(out.x.amin(0), out.x.amax(0))


@pytest.mark.parametrize(
    "method",
    [Shift(0.0), Rotate(0.0), Scale(0.0), Crop(1.0), Flip(probability=0.0), Colour(0.0, 0.0, 0.0)],
    ids=named,
)
def test_zero_strength_is_the_identity(method: Method) -> None:
    batch = pictures(8, 3, 6, 9)
    torch.testing.assert_close(apply(method, batch).x, batch.x, rtol=0, atol=1e-6)  # one interpolation in float32


# ---------------------------------------------------------------- oracles
def row_by_row(x: Tensor, offset: Tensor) -> Tensor:
    out = torch.empty_like(x)
    height, width = x.shape[2:]
    for i in range(len(x)):
        for r in range(height):
            for c in range(width):
                source = (r - int(offset[i, 0])), (c - int(offset[i, 1]))
                out[i, :, r, c] = x[i, :, min(max(source[0], 0), height - 1), min(max(source[1], 0), width - 1)]
    return out


def test_shift_copies_pixels_one_by_one() -> None:
    x, offset = torch.rand(20, 2, 5, 7), torch.randint(-2, 3, (20, 2))
    assert torch.equal(shift(x, offset, reach=2), row_by_row(x, offset))


def test_shift_inside_a_frame_of_zeros_is_a_roll() -> None:
    x = torch.nn.functional.pad(torch.rand(1, 1, 4, 4), [2] * 4)
    assert torch.equal(shift(x, torch.tensor([[2, -1]]), reach=2), x.roll((2, -1), dims=(2, 3)))


def test_shift_reaches_both_ends_and_no_further() -> None:
    x = torch.zeros(400, 1, 10, 20)
    x[:, :, 5, 10] = 1
    where = apply(Shift(0.1), Batch(x)).x.flatten(1).argmax(1)
    assert (where // 20).unique().tolist() == [4, 5, 6]
    assert (where % 20).unique().tolist() == [8, 9, 10, 11, 12]


def test_shift_never_moves_further_than_asked() -> None:
    x = torch.rand(8, 1, 8, 8)
    assert torch.equal(apply(Shift(0.1), Batch(x)).x, x)  # a tenth of 8 pixels is less than one
    x = torch.zeros(400, 1, 1, 100)
    x[:, :, :, 50] = 1
    assert apply(Shift(0.29), Batch(x)).x.flatten(1).argmax(1).aminmax() == (21, 79)


@pytest.mark.parametrize("turns", [-1, 0, 1, 2])
def test_rotating_by_right_angles_is_rot90(turns: int) -> None:
    x = torch.rand(3, 2, 6, 6, dtype=torch.float64)
    angle = torch.full((3,), turns * torch.pi / 2, dtype=torch.float64)
    torch.testing.assert_close(rotate(x, angle), x.rot90(turns, dims=(2, 3)))


def test_rotating_by_half_a_turn_keeps_an_oblong_picture_whole() -> None:
    x = torch.rand(2, 1, 4, 9, dtype=torch.float64)
    torch.testing.assert_close(rotate(x, torch.full((2,), torch.pi, dtype=torch.float64)), x.flip((2, 3)))


def test_scaling_down_to_a_half_averages_four_pixels() -> None:
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    small = scale(x, torch.full((2,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(small[:, :, 1:3, 1:3], torch.nn.functional.avg_pool2d(x, 2))


def test_scaling_rows_by_their_own_factors() -> None:
    x = torch.rand(2, 1, 6, 6)
    both = scale(x, torch.tensor([1.0, 1.3]))
    torch.testing.assert_close(both[:1], x[:1])
    assert torch.equal(both[1:], scale(x[1:], torch.tensor([1.3])))


def test_cropping_a_quarter_is_resizing_that_quarter() -> None:
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    half = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    out = crop(x, corner=torch.tensor([[0.5, 0.0]], dtype=torch.float64), size=half)
    whole = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[:, :, 8:, :8]
    torch.testing.assert_close(out, whole)


def test_cropping_keeps_at_least_the_area_asked_for() -> None:
    ramp = torch.linspace(0, 1, 100)[:, None].expand(200, 1, 100, 100)
    out = apply(Crop(0.25), Batch(ramp)).x
    seen = out[:, 0, -1, 0] - out[:, 0, 0, 0]  # the vertical extent of each window
    assert 0.48 < seen.min() < 0.55 and 0.9 < seen.max() <= 1.0


def test_flipping_mirrors_the_chosen_rows_only() -> None:
    x, chosen = torch.rand(3, 2, 4, 5), torch.tensor([True, False, True])
    out = flip(x, chosen, axis=3)
    assert torch.equal(out[chosen], x[chosen].flip(3)) and torch.equal(out[1], x[1])
    assert torch.equal(apply(Flip("vertical", 1.0), Batch(x)).x, x.flip(2))


def test_colour_by_hand() -> None:
    one = torch.ones(1)
    grey = torch.tensor([[[[0.2, 0.6]]]])
    double, none = torch.tensor([2.0]), torch.zeros(1)
    torch.testing.assert_close(colour(grey, double, one, one).flatten(), torch.tensor([0.4, 1.0]))  # cut off at 1
    torch.testing.assert_close(colour(grey, one, none, one).flatten(), torch.tensor([0.4, 0.4]))
    torch.testing.assert_close(colour(grey, one, one, none), grey)  # grey has no saturation
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(colour(red, one, one, none).flatten(), torch.full((3,), 0.299))


def test_erasing_fills_a_square_with_the_mean() -> None:
    x = torch.rand(1, 2, 6, 6)
    out = erase(x, torch.tensor([-1]), torch.tensor([4]), side=3)
    inside = torch.zeros(6, 6, dtype=torch.bool)
    inside[:2, 4:] = True
    assert torch.equal(out[:, :, ~inside], x[:, :, ~inside])
    assert torch.equal(out[:, :, inside], x.mean((2, 3))[:, :, None].expand(1, 2, 4))


def test_mixup_mixes_pictures_and_answers_alike() -> None:
    batch = Batch(torch.eye(6), torch.arange(6))  # a row's picture is its one-hot answer
    out = apply(MixUp(6, alpha=1.0), batch)
    torch.testing.assert_close(out.x, out.y)
    assert (out.y.diagonal() >= 0.5).all()  # a row stays mostly itself


def test_mixup_with_one_row_by_hand() -> None:
    x = torch.tensor([[0.0, 4.0], [8.0, 0.0]])
    out = mixup(x, torch.tensor([1, 1]), torch.tensor([0.75, 0.6]))
    torch.testing.assert_close(out, torch.tensor([[2.0, 3.0], [8.0, 0.0]]))


def test_mixing_twice_mixes_probabilities() -> None:
    out = apply(MixUp(5), apply(CutMix(5), pictures(16, 1, 8, 8)))
    torch.testing.assert_close(out.y.sum(1), torch.ones(16))


def test_cutmix_shares_answers_by_the_area_pasted() -> None:
    x = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 10, 20) / 4  # each picture has one colour: its number
    partner = torch.tensor([1, 2, 3, 0])
    window = torch.tensor([[0, 5, 0, 10], [0, 10, 0, 20], [3, 3, 0, 20], [9, 10, 19, 20]])
    out, share = cutmix(x, partner, window)
    torch.testing.assert_close(share, torch.tensor([0.75, 0.0, 1.0, 1 - 1 / 200]))
    torch.testing.assert_close(out.mean((1, 2, 3)), share * x[:, 0, 0, 0] + (1 - share) * x[partner, 0, 0, 0])


def test_cutmix_answers_match_what_is_seen() -> None:
    colours = torch.arange(5.0) / 4
    batch = Batch(colours.view(5, 1, 1, 1).expand(5, 1, 16, 16), torch.arange(5))
    out = apply(CutMix(5), batch, seed=3)
    torch.testing.assert_close(out.x.mean((1, 2, 3)), out.y @ colours)
    assert out.y.amax(1).min() < 0.999


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize("method", ROW_BY_ROW + [CutMix(5)], ids=named)
def test_what_is_no_picture_is_refused(method: Method) -> None:
    for x in (torch.rand(4, 3), torch.zeros(4, 1, 5, 5, dtype=torch.uint8), {"numeric": torch.rand(4, 3)}):
        with pytest.raises(SondeError, match=f"{named(method)} changes images"):
            apply(method, Batch(x, torch.zeros(4, dtype=torch.int64)))


def test_mixing_refuses_what_cannot_be_mixed() -> None:
    with pytest.raises(SondeError, match="not one floating-point tensor"):
        apply(MixUp(2), Batch({"categorical": torch.zeros(4, 2, dtype=torch.int64)}, torch.zeros(4)))
    for method in JOINING:
        with pytest.raises(SondeError, match="mixes answers, but the batch has none"):
            apply(method, Batch(torch.rand(4, 1, 5, 5)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Shift(0.6),
        lambda: Rotate(-1),
        lambda: Scale(1.0),
        lambda: Crop(1.5),
        lambda: Flip(probability=2),
        lambda: Colour(brightness=float("nan")),
        lambda: Erase(-0.1),
    ],
)
def test_strengths_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(SondeError, match="is outside"):
        make()  # type: ignore[operator]


def test_other_nonsense_is_refused() -> None:
    with pytest.raises(SondeError, match="no direction 'sideways'"):
        Flip("sideways")  # type: ignore[arg-type]
    for joining in (MixUp, CutMix):
        with pytest.raises(SondeError, match="alpha=0.0 is not positive"):
            joining(5, alpha=0.0)
