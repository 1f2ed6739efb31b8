from __future__ import annotations

import base64
import io

import pytest
import torch
from PIL import Image
from torch import Tensor

from sonde.report.pictures import png


def decoded(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(body, validate=True)))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_small_pictures_keep_every_pixel(channels: int, mode: str) -> None:
    x_CHW = torch.randint(0, 256, (channels, 5, 7)).float() / 255
    picture = decoded(png(x_CHW))
    assert picture.mode == mode and picture.size == (7, 5)
    pixels = torch.tensor(list(picture.tobytes())).view(5, 7, channels).movedim(-1, 0)
    assert torch.equal(pixels, (x_CHW * 255).round().long())


def test_large_pictures_are_made_smaller_in_proportion() -> None:
    assert decoded(png(torch.rand(3, 600, 300), side=100)).size == (50, 100)


def test_values_outside_the_range_are_clipped() -> None:
    nan, inf = float("nan"), float("inf")
    picture = decoded(png(torch.tensor([[[-3.0, 2.0, nan, inf, -inf, 0.5]]])))
    assert list(picture.tobytes()) == [0, 255, 0, 255, 0, 128]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_and_gradients_will_do(dtype: torch.dtype) -> None:
    assert decoded(png(torch.ones(1, 2, 2, dtype=dtype, requires_grad=True))).size == (2, 2)


@pytest.mark.parametrize(
    "x",
    [torch.rand(2, 4, 4), torch.rand(4, 4), torch.ones(3, 4, 4).byte(), torch.rand(3, 0, 4)],
    ids=["two channels", "no channels", "whole numbers", "no rows"],
)
def test_anything_else_is_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match="a picture is"):
        png(x)
