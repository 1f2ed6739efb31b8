"""Corruptions: in range, seeded, stronger with severity, and each what its name says, against slow versions of it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import Tensor

from sonde.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from sonde.corruptions._space import factor, gaussian_blur, plasma, sample, streaked
from sonde.corruptions.blur import disc
from sonde.corruptions.digital import shares


def pictures(n: int = 6, channels: int = 3, side: int = 32, seed: int = 0) -> Tensor:
    """Smooth coloured pictures, so that blur and pixels matter."""
    clouds = plasma(n * channels, (side, side), 2.0, torch.Generator().manual_seed(seed))
    return clouds.view(n, channels, side, side)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 16, 20), (2, 2, 1, 1), (1, 1, 5, 40)])
def test_every_picture_stays_a_picture(name: str, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for severity in SEVERITIES:
        v = corrupt(x, name, severity)
        assert v.shape == x.shape and v.dtype == x.dtype and 0 <= v.min() <= v.max() <= 1
    assert corrupt(x[:0], name, 3).shape == (0, *shape[1:])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_seed_decides_and_the_global_generator_has_no_part(name: str) -> None:
    x = pictures()
    torch.manual_seed(1)
    first, kept = corrupt(x, name, 4, seed=3), x.clone()
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    assert torch.equal(corrupt(x, name, 4, seed=3), first) and torch.equal(x, kept)
    assert torch.equal(torch.random.get_rng_state(), before)
    drawn = {"brightness", "contrast", "pixelate", "jpeg_compression", "defocus_blur", "zoom_blur"}
    assert torch.equal(corrupt(x, name, 4, seed=4), first) == (name in drawn)


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"glass_blur", "elastic_transform", "snow", "frost"}))
def test_a_higher_severity_changes_more(name: str) -> None:
    x = pictures(20)
    moved = [float((corrupt(x, name, s) - x).pow(2).mean()) for s in SEVERITIES]
    assert moved[0] < moved[2] < moved[4]


def test_noise_has_the_size_it_should() -> None:
    x = torch.full((40, 1, 32, 32), 0.5)
    assert float((corrupt(x, "gaussian_noise", 5) - x).std()) == pytest.approx(0.10, rel=0.02)
    assert float((corrupt(x, "shot_noise", 5) - x).std()) == pytest.approx((0.5 / 50) ** 0.5, rel=0.02)
    v = corrupt(x, "impulse_noise", 5)
    assert float((v == 0).float().mean()) == pytest.approx(0.035, abs=0.003)
    assert float((v == 1).float().mean()) == pytest.approx(0.035, abs=0.003)
    assert float((v == 0.5).float().mean()) == pytest.approx(0.93, abs=0.005)


def test_brightness_keeps_hue_and_saturation() -> None:
    import colorsys

    x = 0.6 * torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 0.05
    v = corrupt(x, "brightness", 4)
    for old, new in zip(x[0].flatten(1).T.tolist(), v[0].flatten(1).T.tolist(), strict=True):
        (h, s, value), found = colorsys.rgb_to_hsv(*old), colorsys.rgb_to_hsv(*new)
        assert found == pytest.approx((h, s, value + 0.2), abs=1e-5)


def test_contrast_keeps_the_mean_and_shrinks_the_spread() -> None:
    x = pictures()
    v = corrupt(x, "contrast", 5)
    assert torch.allclose(v.mean((2, 3)), x.mean((2, 3)), atol=1e-5)
    assert torch.allclose(v.std((2, 3)), 0.15 * x.std((2, 3)), atol=1e-5)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.3])
def test_the_gaussian_blur_is_scipys(sigma: float) -> None:
    from scipy.ndimage import gaussian_filter

    x = torch.rand(1, 1, 12, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter(x[0, 0].numpy(), sigma, mode="nearest", radius=int(np.ceil(4 * sigma)))
    assert np.allclose(gaussian_blur(x, sigma)[0, 0].numpy(), expected, atol=1e-12)


def test_a_disc_covers_its_area_and_one_inside_a_pixel_is_no_blur() -> None:
    for radius in (0.8, 1.5, 4.2):
        covered = disc(radius)
        assert float(covered.sum()) == pytest.approx(1.0)
        assert 1 / float(covered.max()) == pytest.approx(np.pi * radius**2, rel=0.05)
    assert disc(0.3).tolist() == [[1.0]]


def test_motion_smears_along_its_angle_only() -> None:
    x = torch.zeros(2, 1, 21, 21)
    x[:, :, 10, 10] = 1
    v = streaked(x, 6, 2, torch.tensor([0.0, np.pi / 2]))
    across, down = v[0, 0], v[1, 0]
    assert across[10, 10:17].sum() > 0.99 and torch.allclose(across, down.T, atol=1e-6)
    expected = sum(np.exp(-0.5 * (k / 2 / 2) ** 2) * max(0, 1 - abs(k / 2 - 3)) for k in range(13))
    expected /= sum(np.exp(-0.5 * (k / 2 / 2) ** 2) for k in range(13))
    assert float(across[10, 13]) == pytest.approx(expected, rel=1e-4)


def test_sampling_where_pixels_are_changes_nothing() -> None:
    x = pictures(2)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    assert torch.allclose(sample(x, rows[None], columns[None]), x, atol=1e-5)
    assert torch.allclose(sample(x, rows[None], columns[None] + 1)[..., :-1], x[..., 1:], atol=1e-5)


def test_glass_shows_what_stood_near() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8) / 64
    v = 64 * corrupt(x, "glass_blur", 1)
    moved = (v - 64 * x).round().flatten()
    assert set(moved.tolist()) <= {0.0, -1.0, -8.0, -9.0} and (moved != 0).any()
    rim = torch.ones(8, 8, dtype=torch.bool)
    rim[2:, 2:] = False
    assert torch.equal(v[0, 0][rim], 64 * x[0, 0][rim])


def test_pieces_of_pixels_add_up() -> None:
    for side, fewer in ((8, 5), (32, 20), (7, 7), (9, 1)):
        weights = shares(side, fewer)
        assert torch.allclose(weights.sum(1), torch.ones(fewer)) and (weights >= 0).all()
        assert torch.allclose(weights.sum(0), torch.full((side,), fewer / side))
    x = pictures(1, 1)
    assert len(corrupt(x, "pixelate", 5).unique()) <= 20 * 20


def test_jpeg_is_pillows() -> None:
    from PIL import Image

    x = pictures(1)
    buffer = io.BytesIO()
    Image.fromarray((255 * x[0]).round().byte().movedim(0, 2).numpy()).save(buffer, "JPEG", quality=40)
    expected = torch.from_numpy(np.array(Image.open(buffer))).movedim(2, 0) / 255
    assert torch.allclose(corrupt(x, "jpeg_compression", 5)[0], expected, atol=1e-6)


def test_lengths_grow_with_the_picture_and_shrink_no_further_than_half() -> None:
    sides = {side: factor(torch.zeros(1, 1, side, side)) for side in (8, 16, 32, 64)}
    assert sides == {8: 0.5, 16: 0.5, 32: 1.0, 64: 2.0}


def test_clouds_reach_from_nought_to_one_and_are_smoother_with_a_larger_decay() -> None:
    rough, smooth = (plasma(20, (32, 32), d, torch.Generator().manual_seed(0)) for d in (1.5, 3.0))
    assert torch.allclose(rough.amin((2, 3)), torch.zeros(20, 1)) and torch.allclose(
        rough.amax((2, 3)), torch.ones(20, 1)
    )
    steps = [float((m[..., 1:] - m[..., :-1]).abs().mean()) for m in (rough, smooth)]
    assert steps[0] > 1.7 * steps[1]


def test_a_severity_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="severities go from 0 to 5; got 6"):
        corrupt(torch.zeros(1, 1, 4, 4), "fog", 6)
