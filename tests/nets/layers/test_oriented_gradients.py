"""Histograms of oriented gradients: equal to counting pixel by pixel, blind to brightness, and they tell directions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sonde.core import SondeError
from sonde.nets.layers.oriented_gradients import CLIP, TINY, OrientedGradients


def slow(picture: Tensor, cell: int, block: int, bins: int) -> Tensor:
    """The same by a loop over pixels, votes and blocks: picture (C, H, W)."""
    _, height, width = picture.shape
    rows, columns = height // cell, width // cell
    histograms = torch.zeros(rows, columns, bins, dtype=picture.dtype)
    for i in range(rows * cell):
        for j in range(columns * cell):
            best = (-1.0, 0.0, 0.0)
            for channel in picture:
                right = float(channel[i, min(j + 1, width - 1)] - channel[i, max(j - 1, 0)])
                down = float(channel[min(i + 1, height - 1), j] - channel[max(i - 1, 0), j])
                best = max(best, (math.hypot(right, down), right, down), key=lambda found: found[0])
            length, right, down = best
            degrees = math.degrees(math.atan2(down, right)) % 180
            place = degrees / (180 / bins) - 0.5
            low = math.floor(place)
            histograms[i // cell, j // cell, low % bins] += length * (1 - (place - low))
            histograms[i // cell, j // cell, (low + 1) % bins] += length * (place - low)
    found = []
    for i in range(rows - block + 1):
        for j in range(columns - block + 1):
            v = histograms[i : i + block, j : j + block].flatten()
            v = (v / (v.square().sum() + TINY).sqrt()).clamp_max(CLIP)
            found.append(v / (v.square().sum() + TINY).sqrt())
    return torch.cat(found)


@pytest.mark.parametrize(("shape", "cell", "block", "bins"), [((1, 12, 8), 4, 2, 9), ((3, 11, 10), 3, 1, 6)])
def test_it_equals_counting_pixel_by_pixel(
    shape: tuple[int, int, int], cell: int, block: int, bins: int, generator: torch.Generator
) -> None:
    x = torch.rand(2, *shape, generator=generator, dtype=torch.float64)
    found = OrientedGradients(cell, block, bins)(x)
    assert torch.allclose(found, torch.stack([slow(one, cell, block, bins) for one in x]), atol=1e-10)


def test_brightness_and_contrast_hardly_matter(generator: torch.Generator) -> None:
    x = torch.rand(3, 1, 28, 28, generator=generator)
    describe = OrientedGradients()
    assert torch.allclose(describe(x), describe(0.5 * x + 0.3), atol=1e-3)
    assert describe(torch.full((1, 1, 28, 28), 0.7)).abs().max() == 0


def test_an_edge_votes_for_its_direction_whichever_side_is_bright() -> None:
    upright = torch.zeros(1, 1, 8, 8)
    upright[..., 4:] = 1
    describe = OrientedGradients(cell=4, block=2, orientations=9)
    votes = describe(upright).view(4, 9).sum(0)
    assert votes[0] + votes[8] > 0.99 * votes.sum()  # the gradient points right: around 0 degrees, which is 180
    assert torch.allclose(describe(upright), describe(1 - upright), atol=1e-6)
    votes = describe(upright.transpose(2, 3)).view(4, 9).sum(0)
    assert votes[4] == votes.sum()  # down: 90 degrees


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SondeError, match="does not fit into 6 x 28"):
        OrientedGradients()(torch.rand(1, 1, 6, 28))
    with pytest.raises(SondeError, match="counts nothing"):
        OrientedGradients(orientations=0)
