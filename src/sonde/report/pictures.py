"""An image tensor as a PNG inside the page itself: a data URI, so that a report is one file."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def png(image: Tensor, side: int = 256) -> str:
    """The data URI of a picture, no longer than `side` pixels on its longer edge; smaller ones keep their own pixels.

    image: (C, H, W) floating point in [0, 1], C = 1 (grey), 3 (RGB) or 4 (RGBA). Values outside are clipped, NaN is 0.
    Raises ValueError for any other shape or type.

    >>> import torch
    >>> png(torch.zeros(1, 2, 2))[:22]
    'data:image/png;base64,'
    """
    from PIL import Image

    if image.ndim != 3 or image.shape[0] not in (1, 3, 4) or 0 in image.shape or not image.is_floating_point():
        raise ValueError(f"a picture is (1|3|4, H, W) floating point, not {tuple(image.shape)} {image.dtype}")
    x_HWC = image.detach().float().cpu().nan_to_num(0.0, 1.0, 0.0).clamp(0, 1).mul(255).round().byte().movedim(0, -1)
    pixels = x_HWC.numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)  # only ever shrinks
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
