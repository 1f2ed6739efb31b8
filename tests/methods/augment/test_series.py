"""Augmentation of series, sounds and spectrograms: exact by hand and by slow versions, row by row, either layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sonde.core import Batch, Method, Refused, Run, SondeError
from sonde.methods import (
    AddNoise,
    Flip,
    Jitter,
    MagnitudeWarp,
    Permutation,
    Rotate,
    Scaling,
    SpecAugment,
    Speed,
    TimeShift,
    TimeWarp,
    WindowSlice,
    WindowWarp,
    sgd,
)
from sonde.methods.augment._series import read, smooth, spline
from sonde.methods.augment.add_noise import add_noise, coloured
from sonde.methods.augment.permutation import permute
from sonde.methods.augment.spec_augment import POLICIES, inside, time_warp
from sonde.methods.augment.speed import speed
from sonde.methods.augment.time_shift import time_shift
from sonde.methods.augment.time_warp import positions
from sonde.methods.augment.window_slice import window_slice
from sonde.methods.augment.window_warp import window_warp
from sonde.objectives import Classify

WITH_LAYOUT: list[Callable[[str], Method]] = [
    lambda layout: Scaling(0.3, layout),  # type: ignore[arg-type]
    lambda layout: MagnitudeWarp(0.3, layout=layout),  # type: ignore[arg-type]
    lambda layout: TimeWarp(0.3, layout=layout),  # type: ignore[arg-type]
    lambda layout: WindowSlice(0.6, layout),  # type: ignore[arg-type]
    lambda layout: WindowWarp(0.4, layout=layout),  # type: ignore[arg-type]
    lambda layout: Permutation(3, layout),  # type: ignore[arg-type]
    lambda layout: TimeShift(0.4, layout=layout),  # type: ignore[arg-type]
    lambda layout: AddNoise(0.0, 10.0, layout=layout),  # type: ignore[arg-type]
    lambda layout: Speed((0.7, 1.3), layout),  # type: ignore[arg-type]
]
SPECTRAL = SpecAugment(warp=3, band=3, bands=2, stretch=6, limit=0.5, stretches=2)
EVERY = [Jitter(0.1), SPECTRAL, *(make("NCT") for make in WITH_LAYOUT)]


def named(method: object) -> str:
    return type(method("NCT") if callable(method) else method).__name__


def sounds(*shape: int, dtype: torch.dtype = torch.float32) -> Batch:
    g = torch.Generator().manual_seed(7)
    n = shape[0]
    return Batch(
        torch.randn(shape, generator=g, dtype=dtype),
        torch.arange(n) % 5,
        records=torch.arange(n) + 100,
        fields={"group": torch.arange(n)},
        denominator=7.0,
    )


def apply(method: Method, batch: Batch, seed: int = 1) -> Batch:
    torch.manual_seed(seed)
    return method.batch(None, batch)  # type: ignore[arg-type]  # none of them reads the run


# ---------------------------------------------------------------- laws
@pytest.mark.parametrize("method", EVERY, ids=named)
def test_a_row_depends_on_itself_alone(method: Method) -> None:
    batch = sounds(6, 4, 20)
    other = replace(batch, x=torch.cat([torch.randn(1, 4, 20), batch.x[1:]]))
    a, b = apply(method, batch), apply(method, other)
    assert torch.equal(a.x[1:], b.x[1:]) and not torch.equal(a.x[0], b.x[0])
    assert a.records is batch.records and a.y is batch.y and a.fields is batch.fields and a.denominator == 7.0


@pytest.mark.parametrize("method", EVERY, ids=named)
@pytest.mark.parametrize("shape", [(5, 4, 30), (5, 2, 4, 30), (1, 3, 8), (0, 4, 30)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_shape_and_precision_stay_and_nothing_changes_in_place(
    method: Method, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    batch = sounds(*shape, dtype=dtype)
    before = batch.x.clone()
    out = apply(method, batch)
    assert out.x.shape == shape and out.x.dtype == dtype and out.x.isfinite().all()
    assert torch.equal(batch.x, before)


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_the_global_seed_decides_everything(method: Method) -> None:
    batch = sounds(16, 4, 30)
    assert torch.equal(apply(method, batch, 1).x, apply(method, batch, 1).x)
    assert not torch.equal(apply(method, batch, 1).x, apply(method, batch, 2).x)


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_every_row_is_changed_in_its_own_way(method: Method) -> None:
    batch = sounds(64, 4, 30)
    out = apply(method, replace(batch, x=batch.x[:1].expand(64, -1, -1)))
    assert not torch.equal(out.x.amin(0), out.x.amax(0))


@pytest.mark.parametrize("make", WITH_LAYOUT, ids=named)
def test_the_layouts_differ_in_where_time_stands_only(make: Callable[[str], Method]) -> None:
    batch = sounds(5, 3, 24)
    turned = replace(batch, x=batch.x.movedim(1, 2))
    # Noise is drawn in the order of memory, which a view keeps: all draws are the same.
    assert torch.equal(apply(make("NTC"), turned).x.movedim(1, 2), apply(make("NCT"), batch).x)


@pytest.mark.parametrize("make", WITH_LAYOUT, ids=named)
def test_series_of_one_channel_need_no_axis_for_it(make: Callable[[str], Method]) -> None:
    batch = sounds(5, 24)
    with_channel = replace(batch, x=batch.x[:, None])
    assert torch.equal(apply(make("NCT"), batch).x, apply(make("NCT"), with_channel).x[:, 0])


@pytest.mark.parametrize(
    "method",
    [TimeWarp(0.3), WindowSlice(0.6), WindowWarp(0.4), Permutation(3), TimeShift(0.4), Speed((0.7, 1.3))],
    ids=named,
)
def test_channels_stay_simultaneous(method: Method) -> None:
    one = torch.randn(8, 1, 25)
    out = apply(method, Batch(torch.cat([one, 2 * one], dim=1))).x
    torch.testing.assert_close(out[:, 1], 2 * out[:, 0])


# ---------------------------------------------------------------- oracles
def test_reading_between_samples_is_interp() -> None:
    x, at = torch.randn(4, 3, 11, dtype=torch.float64), torch.rand(4, 17, dtype=torch.float64) * 10
    at[:, 0], at[:, 1] = 0, 10
    expected = [[np.interp(at[i], np.arange(11), x[i, c]) for c in range(3)] for i in range(4)]
    torch.testing.assert_close(read(x, at), torch.tensor(np.array(expected)))


@pytest.mark.parametrize("knots", [4, 5, 6, 9])
def test_the_spline_is_the_not_a_knot_cubic(knots: int) -> None:
    from scipy.interpolate import CubicSpline

    y = np.random.default_rng(0).normal(size=knots)
    matrix = spline(knots, 31, torch.zeros((), dtype=torch.float64))
    expected = CubicSpline(np.linspace(0, 30, knots), y)(np.arange(31))
    np.testing.assert_allclose(matrix.numpy() @ y, expected, rtol=0, atol=1e-12)


def test_a_cubic_goes_through_the_spline_unchanged() -> None:
    matrix = spline(5, 41, torch.zeros((), dtype=torch.float64))
    cubic = lambda t: 2 * t**3 - t**2 + 3  # noqa: E731
    at = torch.linspace(-1, 1, 41, dtype=torch.float64)
    torch.testing.assert_close(matrix @ cubic(torch.linspace(-1, 1, 5, dtype=torch.float64)), cubic(at))


def test_smooth_curves_pass_through_values_of_the_deviation_asked() -> None:
    torch.manual_seed(0)
    curves = smooth((40_000,), 21, 0.2, 4, torch.zeros((), dtype=torch.float64))
    at_knots = curves[:, ::4]  # 6 knots over 20 steps
    # 240,000 draws: the standard error of a deviation of 0.2 is 0.2 / sqrt(480,000) < 0.0003, of the mean 0.0004
    assert abs(at_knots.std().item() - 0.2) < 0.0015 and abs(at_knots.mean().item() - 1) < 0.002


def test_jitter_and_scaling_have_the_deviation_asked() -> None:
    x = torch.full((1000, 50, 4), 3.0)
    noise = apply(Jitter(0.5), Batch(x)).x - 3
    assert abs(noise.std().item() - 0.5) < 0.005  # 200,000 draws: standard error 0.0008
    scaled = apply(Scaling(0.5), Batch(x)).x / 3
    assert torch.equal(scaled.amin(2), scaled.amax(2))  # one factor at all times
    assert abs(scaled[..., 0].std().item() - 0.5) < 0.01  # 50,000 draws: standard error 0.0016


def test_magnitude_warp_multiplies_every_channel_by_its_own_curve() -> None:
    x = torch.full((3, 2, 30), 2.0)
    out = apply(MagnitudeWarp(0.2), Batch(x)).x
    torch.manual_seed(1)
    torch.testing.assert_close(out, 2 * smooth((3, 2), 30, 0.2, 4, x))
    assert not torch.equal(out[:, 0], out[:, 1])


def test_time_warp_goes_from_end_to_end_and_never_back() -> None:
    torch.manual_seed(0)
    at = positions(smooth((500,), 40, 0.8, 4, torch.zeros(())).clamp_min(0))  # often at rest
    assert (at.diff(dim=1) >= 0).all() and at[:, 0].abs().max() == 0
    torch.testing.assert_close(at[:, -1], torch.full((500,), 39.0))


def test_time_warp_at_even_speed_changes_nothing() -> None:
    torch.testing.assert_close(positions(torch.full((1, 9), 0.3)), torch.arange(9.0)[None])


def test_window_slice_is_interp_of_the_slice() -> None:
    x, start = torch.randn(3, 2, 20, dtype=torch.float64), torch.tensor([0, 2, 4])
    expected = [
        [np.interp(np.linspace(0, 15, 20), np.arange(16), x[i, c, s : s + 16]) for c in range(2)]
        for i, s in enumerate(start.tolist())
    ]
    torch.testing.assert_close(window_slice(x, start, 16), torch.tensor(np.array(expected)))


def test_window_slice_reaches_both_ends() -> None:
    out = apply(WindowSlice(0.7), Batch(torch.arange(10.0).expand(300, 10))).x
    assert sorted(set(out[:, 0].tolist())) == [0, 1, 2, 3] and (out[:, -1] - out[:, 0] == 6).all()


@pytest.mark.parametrize("scale", [0.5, 2.0, 1.0, 3.7])
def test_window_warp_inverts_the_stretched_time(scale: float) -> None:
    samples, start, length = 21, 4.0, 6.0
    x = torch.arange(float(samples), dtype=torch.float64)[None]  # reads out where it was read
    at = window_warp(x, torch.tensor([start]), length, torch.tensor([scale]))[0].numpy()
    knots = [0, start, start + length, samples - 1]
    stretched = [0, start, start + scale * length, samples - 1 + (scale - 1) * length]
    np.testing.assert_allclose(np.interp(at, knots, stretched), np.linspace(0, stretched[-1], samples), atol=1e-12)


def test_permutation_moves_whole_pieces() -> None:
    x = torch.arange(10.0).expand(2, 1, 10)
    out = permute(x, torch.tensor([[1, 0, 2], [2, 1, 0]]))
    assert out[0, 0].tolist() == [4, 5, 6, 0, 1, 2, 3, 7, 8, 9]  # pieces of 4, 3 and 3
    assert out[1, 0].tolist() == [7, 8, 9, 4, 5, 6, 0, 1, 2, 3]


def test_permutation_draws_every_order() -> None:
    out = apply(Permutation(3), Batch(torch.arange(3.0).expand(600, 3))).x
    orders, counts = out.unique(dim=0, return_counts=True)
    assert len(orders) == 6 and counts.min() > 60  # expected 100, standard deviation 9.1


def test_shift_by_hand_and_to_both_ends() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0]]).expand(3, 3)
    offset = torch.tensor([-1, 0, 2])
    assert time_shift(x, offset).tolist() == [[2, 3, 0], [1, 2, 3], [0, 0, 1]]
    assert time_shift(x, offset, "wrap").tolist() == [[2, 3, 1], [1, 2, 3], [2, 3, 1]]
    spike = torch.zeros(400, 1, 100)
    spike[:, :, 50] = 1
    assert apply(TimeShift(0.29), Batch(spike)).x.flatten(1).argmax(1).aminmax() == (21, 79)


@pytest.mark.parametrize("colour", ["white", "pink", "brown"])
def test_the_measured_ratio_is_the_one_asked_for(colour: str) -> None:
    x, snr = sounds(50, 2, 999, dtype=torch.float64).x * 0.03, torch.linspace(-10, 40, 50, dtype=torch.float64)
    noise = coloured(x, colour)  # type: ignore[arg-type]
    difference = add_noise(x, noise, snr) - x
    measured = 10 * (x.pow(2).mean((1, 2)) / difference.pow(2).mean((1, 2))).log10()
    torch.testing.assert_close(measured, snr, rtol=0, atol=1e-8)
    clean = sounds(400, 1, 100).x
    out = apply(AddNoise(5.0, 15.0, colour), Batch(clean)).x  # type: ignore[arg-type]
    drawn = 10 * (clean.pow(2).mean((1, 2)) / (out - clean).pow(2).mean((1, 2))).log10()
    assert 4.99 < drawn.min() < 5.5 and 14.5 < drawn.max() < 15.01


@pytest.mark.parametrize(("colour", "slope"), [("white", 0.0), ("pink", -1.0), ("brown", -2.0)])
def test_the_power_of_noise_falls_with_frequency(colour: str, slope: float) -> None:
    torch.manual_seed(0)
    noise = coloured(torch.zeros(400, 1024, dtype=torch.float64), colour)  # type: ignore[arg-type]
    power = torch.fft.rfft(noise)[:, 1:512].abs().pow(2).mean(0)
    assert abs(np.polyfit(np.log(np.arange(1, 512)), power.log().numpy(), 1)[0] - slope) < 0.02


def test_silence_stays_silent() -> None:
    assert not apply(AddNoise(), Batch(torch.zeros(2, 1, 50))).x.any()


def test_speed_keeps_a_tone_a_tone_of_another_pitch() -> None:
    t = torch.arange(400, dtype=torch.float64)
    tone = torch.sin(2 * math.pi * t / 40)[None]
    out = speed(tone, torch.tensor([0.5], dtype=torch.float64))
    # Linear between samples: off by at most (2 pi / 40)^2 / 8 = 0.0031.
    torch.testing.assert_close(out[0], torch.sin(2 * math.pi * t / 80), rtol=0, atol=0.0032)
    assert not speed(tone, torch.tensor([2.0]))[0, 200:].any()


# ---------------------------------------------------------------- spectrograms
def test_warping_a_spectrogram_by_hand() -> None:
    x = torch.arange(9.0)[None, None]  # one frequency, nine frames: each tells where it was
    out = time_warp(x, torch.tensor([4.0]), torch.tensor([2.0]))[0, 0]
    torch.testing.assert_close(out, torch.tensor([0, 2 / 3, 4 / 3, 2, 8 / 3, 10 / 3, 4, 6, 8.0]))
    out = time_warp(x, torch.tensor([4.0]), torch.tensor([-2.0]))[0, 0]
    torch.testing.assert_close(out, torch.tensor([0, 2, 4, 14 / 3, 16 / 3, 6, 20 / 3, 22 / 3, 8.0]))


def test_masks_by_hand() -> None:
    found = inside(torch.tensor([0, 2, 3]), torch.tensor([2, 0, 1]), 4)
    assert found.int().tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def widths(x: Tensor, axis: int) -> Tensor:
    """How many lines along `axis` are wholly blank (the mean, here 0.5), per row."""
    blank = (x == 0.5).all(3 - axis)
    return blank.sum(1)


def test_a_band_is_as_wide_as_drawn_and_anywhere() -> None:
    x = torch.cat([torch.zeros(2000, 20, 15), torch.ones(2000, 20, 15)], dim=2)  # mean 0.5
    out = apply(SpecAugment(warp=0, band=6, bands=1, stretches=0), Batch(x)).x
    count = widths(out, 1).bincount(minlength=8)
    assert count[7] == 0 and count[:7].min() > 230  # 2000 / 7 = 286, standard deviation 15.6
    hit = (out[:, :, 0] == 0.5).float().mean(0)
    assert hit.min() > 0.02 and hit.argmax().item() not in (0, 19)  # ends are reached, the middle more often


def test_a_stretch_is_never_longer_than_the_limit() -> None:
    x = torch.cat([torch.zeros(500, 8, 20), torch.ones(500, 8, 20)], dim=1)  # (500, 16, 20), mean 0.5
    out = apply(SpecAugment(warp=0, bands=0, stretch=100, stretches=1, limit=0.2), Batch(x)).x
    assert widths(out, 2).unique().tolist() == [0, 1, 2, 3, 4]
    twice = apply(SpecAugment(warp=0, bands=0, stretch=3, stretches=2, limit=1.0), Batch(x)).x
    assert widths(twice, 2).unique().tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_channels_of_a_spectrogram_are_treated_alike() -> None:
    one = torch.randn(8, 1, 12, 40)
    out = apply(SpecAugment(warp=5, band=4, stretch=9), Batch(one.expand(-1, 3, -1, -1))).x
    assert torch.equal(out[:, 0], out[:, 1]) and torch.equal(out[:, 1], out[:, 2])
    flat = apply(SpecAugment(warp=5, band=4, stretch=9), Batch(one[:, 0])).x
    torch.testing.assert_close(flat, out[:, 0])


def test_the_published_policies_can_be_used_on_long_and_short_spectrograms() -> None:
    assert {name: (p["warp"], p["band"], p["bands"], p["stretch"], p["limit"], p["stretches"]) for name, p in
            POLICIES.items()} == {"LB": (80, 27, 1, 100, 1.0, 1), "LD": (80, 27, 2, 100, 1.0, 2),
                                  "SM": (40, 15, 2, 70, 0.2, 2), "SS": (40, 27, 2, 70, 0.2, 2)}  # fmt: skip
    for policy in POLICIES.values():
        for frames in (2, 3, 9, 300):
            assert apply(SpecAugment(**policy), sounds(4, 80, frames)).x.isfinite().all()  # type: ignore[arg-type]


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize("method", EVERY, ids=named)
def test_what_is_no_series_is_refused(method: Method) -> None:
    for x in (torch.rand(4), torch.zeros(4, 3, 9, dtype=torch.int64), {"numeric": torch.rand(4, 3)}):
        with pytest.raises(SondeError, match=f"{named(method)} changes s"):
            apply(method, Batch(x))


def test_time_must_be_long_enough_where_it_is_said_to_stand() -> None:
    with pytest.raises(SondeError, match="Permutation needs 4 samples in time, and x has 3 of them in the layout NCT"):
        apply(Permutation(4), Batch(torch.rand(2, 100, 3)))
    with pytest.raises(SondeError, match=r"shape \(N, T, C\)"):
        apply(Scaling(layout="NTC"), Batch(torch.rand(2, 100)))


@pytest.mark.parametrize("method", [Jitter(), Scaling(), MagnitudeWarp(), AddNoise()], ids=named)
def test_what_would_clip_the_new_values_must_come_before(method: Method) -> None:
    objective = Classify(torch.nn.Linear(4, 2))
    Run(objective, [Rotate(), Flip(), method, Flip(), sgd(0.1)])
    with pytest.raises(Refused, match=f"Rotate after {named(method)} cuts off"):
        Run(objective, [method, Rotate(), sgd(0.1)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Jitter(-1),
        lambda: Scaling(float("nan")),
        lambda: MagnitudeWarp(knots=1),
        lambda: TimeWarp(layout="TNC"),  # type: ignore[arg-type]
        lambda: WindowSlice(0.0),
        lambda: WindowWarp(1.0),
        lambda: WindowWarp(scales=()),
        lambda: WindowWarp(scales=(0.0,)),
        lambda: Permutation(0),
        lambda: TimeShift(2.0),
        lambda: TimeShift(fill="noise"),  # type: ignore[arg-type]
        lambda: AddNoise(20, 10),
        lambda: AddNoise(float("-inf"), 0),
        lambda: AddNoise(colour="blue"),  # type: ignore[arg-type]
        lambda: Speed((1.0, -1.0)),
        lambda: SpecAugment(band=-1),
        lambda: SpecAugment(warp=1.5),  # type: ignore[arg-type]
        lambda: SpecAugment(limit=2.0),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Method]) -> None:
    with pytest.raises(SondeError):
        make()
