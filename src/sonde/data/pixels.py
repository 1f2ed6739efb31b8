"""From image files to pixels: headers are judged before anything is decoded; every format ends as 8 bits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

Fit = Literal["crop", "pad"]
FITS: tuple[Fit, ...] = ("crop", "pad")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
MAX_PIXELS = 1 << 26  # 67 million: a larger picture is taken for a decompression bomb
MAX_FILE = 1 << 28  # bytes of one image file
ORIENTATION = 0x0112  # EXIF tag; values 5 to 8 swap the sides
GRAY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
WORKERS = 4  # decoding releases the interpreter's lock

T = TypeVar("T")
R = TypeVar("R")


class Unusable(Exception):
    """An image that cannot be used; the text is the reason."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself: sides in pixels as it is to be shown, and whether it has no colour."""

    width: int
    height: int
    gray: bool


@contextmanager
def bombs_are_errors() -> Iterator[None]:
    """Pillow only warns of pictures up to twice its limit; inside this block it refuses them."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata; the pixels are judged for themselves
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`function` of every item, in order, on a few threads."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(function, items))


def header(path: Path) -> Header:
    """Size and kind from the file's first bytes.

    Raises:
        Unusable: not an image of an accepted format, too large, or unreadable.
    """
    with _opened(path) as image:
        width, height = image.size
        if image.format in ("JPEG", "MPO", "TIFF", "WEBP") and image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8):
            width, height = height, width
        return Header(width, height, image.mode in GRAY)


def read(path: Path, channels: int, size: tuple[int, int], fit: Fit) -> np.ndarray:
    """The picture in a file as uint8 (C, H, W).

    Raises:
        Unusable: as `header`, or when the pixels cannot be decoded.
    """
    with _opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            image.draft(None, (2 * max(size), 2 * max(size)))  # type: ignore[arg-type]  # decode no finer than needed
        return pixels(image, channels, size, fit)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    from PIL import Image, UnidentifiedImageError

    try:
        length = path.stat().st_size
        if not length:
            raise Unusable("is empty")
        if length > MAX_FILE:
            raise Unusable(f"is larger than {MAX_FILE:,} bytes")
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Unusable(f"claims {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
            yield image
    except UnidentifiedImageError:
        raise Unusable(f"is not an image ({', '.join(FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable(f"claims more than {MAX_PIXELS:,} pixels") from None
    except Unusable:
        raise
    except Exception as error:  # decoders of eight formats fail in their own ways, all of them about this one file
        raise Unusable(f"cannot be decoded: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:120] if text else type(error).__name__


def pixels(image: Image.Image, channels: int, size: tuple[int, int], fit: Fit) -> np.ndarray:
    """A picture as uint8 (C, H, W): upright, without transparency, gray or RGB, resampled to (H, W).

    Transparent parts become white. 16-bit gray is scaled to 8. "crop" fills the frame and cuts what sticks out in equal
    parts; "pad" shows all of the picture on black.
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    image = image.convert("L" if channels == 1 else "RGB")
    height, width = size
    if image.size != (width, height):
        image = _fitted(image, width, height, fit)
    array = np.asarray(image)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))  # (C, H, W)


def _fitted(image: Image.Image, width: int, height: int, fit: Fit) -> Image.Image:
    from PIL import Image

    w, h = image.size
    if fit == "crop":
        scale = min(w / width, h / height)
        cut_w, cut_h = width * scale, height * scale
        left, top = (w - cut_w) / 2, (h - cut_h) / 2
        box = (left, top, min(w, left + cut_w), min(h, top + cut_h))
        return image.resize((width, height), Image.Resampling.BICUBIC, box=box)
    scale = max(w / width, h / height)
    inner = (max(1, round(w / scale)), max(1, round(h / scale)))
    frame = Image.new(image.mode, (width, height))
    frame.paste(image.resize(inner, Image.Resampling.BICUBIC), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return frame


def _to_8_bits(array: np.ndarray) -> np.ndarray:
    """Gray of 16 or 32 bits or floats, as 8 bits: 0 is black and the top of the type (or 1.0) white."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
            raise Unusable("has float pixels that are neither in 0..1 nor in 0..255")
        return np.round(array * (255 if array.max() <= 1 else 1)).astype(np.uint8)
    if array.min() < 0 or array.max() > 65535:
        raise Unusable("has pixels that are not in 0..65535")
    return np.round(array.astype(np.float64) / 257).astype(np.uint8)
