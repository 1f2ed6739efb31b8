"""Images: the schema that reads pictures into pixels of one size, and the data set made of files or arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sonde.core.errors import SondeError
from sonde.data import splits
from sonde.data.arrays import as_pixels
from sonde.data.dataset import Dataset
from sonde.data.files import refuse_pickled
from sonde.data.groups import Groups
from sonde.data.outputs import decode
from sonde.data.pixels import FITS, Fit, Header, Unusable, bombs_are_errors, header, in_threads, pixels, read
from sonde.data.problems import Problem, bad_data, closest, listed, quoted
from sonde.data.strict import Reader
from sonde.data.targets import Target, Task

if TYPE_CHECKING:
    from PIL import Image

# N pictures, C channels, H height, W width

LARGEST_NATIVE = 96  # px: pictures that all have the same size are kept as they are up to this side
DEFAULT_SIDE = 64  # px: what others are resampled to
MAX_SIDE = 4096  # px


@dataclass(frozen=True)
class ImageSchema:
    """How a picture becomes x (N, C, H, W) float32 in [0, 1], and what the outputs mean.

    channels: 1 gray, 3 RGB. size: (H, W) in pixels. target: what is predicted. fields: the sensitive columns.
    fit: "crop" fills the frame and cuts what sticks out; "pad" shows the whole picture on black.
    """

    channels: int
    size: tuple[int, int]
    target: Target
    fields: tuple[Groups, ...] = ()
    fit: Fit = "crop"
    kind: ClassVar[str] = "image"

    @property
    def task(self) -> Task:
        """What is learned."""
        return self.target.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes or labels; () for regression."""
        return self.target.classes

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what is predicted: the classes, the labels, or the targets of a regression."""
        return self.target.classes or self.target.columns

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Names of the groups of each sensitive column, in the order of their codes."""
        return {field.column: field.names for field in self.fields}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one picture."""
        return (self.channels, *self.size)

    def encode(self, raw: Any) -> Tensor:
        """x (N, C, H, W) float32 in [0, 1] for new pictures.

        raw: a file or a folder of files; a PIL image; an array or tensor (N, H, W[, C]) or (N, C, H, W), or one picture
            (H, W[, C]), uint8 or floats in [0, 1]; or a list of any of these.

        Raises:
            BadData: files that cannot be read, all of them.
            SondeError: arrays of another shape or range.
        """
        return self.encode_named(raw)[0]

    def encode_named(self, raw: Any) -> tuple[Tensor, Sequence[str]]:
        """x as in `encode`, and what a person calls each picture."""
        if isinstance(raw, np.ndarray | Tensor):
            x = self._from_array(raw.detach().cpu().numpy() if isinstance(raw, Tensor) else raw)
            return x, [f"image {i}" for i in range(len(x))]
        if isinstance(raw, str | Path):
            path = Path(raw)
            refuse_pickled(path)
            if not path.is_dir():
                raw = [path]
            else:
                from sonde.data.folders import walk

                found, problems = walk(path)
                if problems:
                    raise bad_data(path.name, problems, "move or delete them")
                if not found:
                    raise SondeError(f"{path} holds no files", "give a folder of images")
                x = self._from_files([path / name for name in found], found)
                return x, found
        if not isinstance(raw, Sequence) or isinstance(raw, bytes):
            raw = [raw]
        if raw and all(isinstance(item, str | Path) for item in raw):
            paths = [Path(item) for item in raw]
            names = [str(item) for item in raw]
            return self._from_files(paths, names), names
        pictures = [self._one(item, f"image {i}") for i, item in enumerate(raw)]
        x = torch.cat(pictures) if pictures else torch.zeros(0, *self.shape)
        return x, [f"image {i}" for i in range(len(x))]

    def _from_files(self, paths: Sequence[Path], names: Sequence[str]) -> Tensor:
        array, problems = read_files(paths, names, self)
        if problems:
            raise bad_data("images", problems, "mend or remove them")
        return torch.from_numpy(array).to(torch.float32).div_(255)

    def _one(self, item: Any, name: str) -> Tensor:
        from PIL import Image

        if isinstance(item, Image.Image):
            with bombs_are_errors():
                return torch.from_numpy(_picture(item, name, self)[None].copy()).to(torch.float32).div_(255)
        if isinstance(item, str | Path):
            return self._from_files([Path(item)], [str(item)])
        if isinstance(item, np.ndarray | Tensor):
            return self._from_array(item.detach().cpu().numpy() if isinstance(item, Tensor) else item)
        raise SondeError(f"{name} is a {type(item).__name__}, not a picture", "give paths, PIL images or arrays")

    def _from_array(self, array: np.ndarray) -> Tensor:
        single = array.ndim == 2 or (array.ndim == 3 and self.channels == 3 and 3 in (array.shape[0], array.shape[2]))
        single |= array.ndim == 3 and (array.shape == (*self.size, 1) or array.shape == self.shape)
        if single and array.ndim == 3 and array.shape[2] not in (1, 3, 4):
            array = array.transpose(1, 2, 0)
        x = as_pixels(array[None] if single else array, "the array")
        x = resampled(x, self.channels, self.size, self.fit)
        tensor = torch.from_numpy(x if x.flags.writeable else x.copy())
        return tensor.to(torch.float32).div_(255) if tensor.dtype == torch.uint8 else tensor

    def decode(self, values: Tensor) -> list[Any]:
        """What the model answers, in words: see `outputs.decode`."""
        return decode(self.target, values)

    def to_data(self) -> dict[str, Any]:
        """JSON; `from_data` is its inverse."""
        return {
            "kind": self.kind, "channels": self.channels, "size": list(self.size), "target": self.target.to_data(),
            "fields": [field.to_data() for field in self.fields], "fit": self.fit,
        }  # fmt: skip

    @staticmethod
    def from_data(data: object) -> ImageSchema:
        """Read what `to_data` wrote, trusting none of it."""
        read_ = Reader(data, "image schema", ("kind", "channels", "size", "target", "fields", "fit"))
        read_.choice("kind", ("image",))
        size = read_.items("size", 2)
        if len(size) != 2 or not all(type(side) is int and 1 <= side <= MAX_SIDE for side in size):
            raise read_.error(f"'size' is not two whole numbers from 1 to {MAX_SIDE}")
        channels = read_.whole("channels", 1, 3)
        if channels == 2:
            raise read_.error("'channels' is neither 1 nor 3")
        fields = tuple(Groups.from_data(field) for field in read_.items("fields", 10_000))
        if len({field.column for field in fields}) != len(fields):
            raise read_.error("a sensitive column stands in it twice")
        return ImageSchema(
            channels, (size[0], size[1]), Target.from_data(read_.data["target"]), fields, read_.choice("fit", FITS)
        )


def _picture(image: Image.Image, name: str, schema: ImageSchema) -> np.ndarray:
    try:
        return pixels(image, schema.channels, schema.size, schema.fit)
    except Exception as error:  # the decoders of a lazily opened picture fail in their own ways
        raise bad_data("images", [Problem(name, f"cannot be decoded: {error}")], "mend or remove it") from error


def read_files(paths: Sequence[Path], names: Sequence[str], schema: ImageSchema) -> tuple[np.ndarray, list[Problem]]:
    """The files as uint8 (N, C, H, W), and every file that cannot be used (its row is zero)."""
    array = np.zeros((len(paths), *schema.shape), np.uint8)

    def one(i: int) -> str:
        try:
            if not paths[i].is_file():
                return "does not exist" if not paths[i].exists() else "is not a regular file"
            array[i] = read(paths[i], schema.channels, schema.size, schema.fit)
        except Unusable as error:
            return str(error)
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        return ""

    with bombs_are_errors():
        reasons = in_threads(one, range(len(paths)))
    return array, [Problem(name, reason) for name, reason in zip(names, reasons, strict=True) if reason]


def headers(paths: Sequence[Path], names: Sequence[str]) -> tuple[list[Header | None], list[Problem]]:
    """What each file says of itself, None and a problem where it cannot be used."""

    def one(path: Path) -> Header | str:
        try:
            return header(path)
        except Unusable as error:
            return str(error)

    with bombs_are_errors():
        found = in_threads(one, paths)
    problems = [Problem(name, f) for name, f in zip(names, found, strict=True) if isinstance(f, str)]
    return [None if isinstance(f, str) else f for f in found], problems


def choose_size(asked: int | Sequence[int] | None, sizes: set[tuple[int, int]]) -> tuple[tuple[int, int], str]:
    """(H, W) to resample to, and a note: as asked; else the size all pictures share if small; else 64 x 64."""
    if asked is not None:
        sides = (asked, asked) if isinstance(asked, int) else tuple(asked)
        if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in sides):
            raise SondeError(
                f"size={asked!r} is not a size", f"give pixels from 1 to {MAX_SIDE}: size=64 or size=(48, 64)"
            )
        return (sides[0], sides[1]), f"size: {sides[0]} x {sides[1]} px, as asked"
    if len(sizes) == 1 and max(next(iter(sizes))) <= LARGEST_NATIVE:
        (size,) = sizes
        return size, f"size: {size[0]} x {size[1]} px, as all pictures are"
    low = f"{min(h for h, _ in sizes)} x {min(w for _, w in sizes)}"
    high = f"{max(h for h, _ in sizes)} x {max(w for _, w in sizes)}"
    side = DEFAULT_SIDE
    return (side, side), f"size: {side} x {side} px, resampled from {low} to {high}; another with size="


def resampled(x: np.ndarray, channels: int, size: tuple[int, int], fit: Fit) -> np.ndarray:
    """Pictures (N, C, H, W) with the channels and size asked for; those that fit already are returned as they are.

    What must be resampled goes through 8 bits, as files do.
    """
    if x.shape[1:] == (channels, *size):
        return x
    if x.shape[2:] == size and x.shape[1] == 1 and channels == 3:
        return np.repeat(x, 3, 1)
    from PIL import Image

    raw = x if x.dtype == np.uint8 else np.round(x * 255).astype(np.uint8)

    def one(i: int) -> np.ndarray:
        picture = Image.fromarray(raw[i, 0] if raw.shape[1] == 1 else np.ascontiguousarray(raw[i].transpose(1, 2, 0)))
        return pixels(picture, channels, size, fit)

    found = in_threads(one, range(len(raw)))
    return np.stack(found) if found else np.zeros((0, channels, *size), np.uint8)


def check_fit(fit: str) -> Fit:
    """ "crop" or "pad"."""
    if fit not in FITS:
        raise SondeError(f"fit {quoted(fit)} is not known{closest(fit, FITS)}", f"choose from {listed(FITS)}")
    return FITS[FITS.index(fit)]  # type: ignore[arg-type]


def check_memory(rows: int, channels: int, size: tuple[int, int], limit: int, name: str, bytes_each: int = 1) -> None:
    """Refuse pictures that would not fit in `limit` bytes, before any is decoded."""
    total = rows * channels * size[0] * size[1] * bytes_each
    if total > limit:
        side = max(1, int((limit / (rows * channels * bytes_each)) ** 0.5))
        raise SondeError(
            f"{name}: {rows:,} pictures of {size[0]} x {size[1]} take {total:,} bytes, above the limit of {limit:,}",
            f"pass a smaller size (size={side} fits), or raise the limit with limit=BYTES if memory allows",
        )


def image_dataset(
    x: np.ndarray,
    y: np.ndarray,
    schema: ImageSchema,
    *,
    name: str,
    names: Sequence[str],
    notes: Sequence[str] = (),
    given: np.ndarray | None = None,
    fields: Mapping[str, np.ndarray] | None = None,
    test: float = 0.2,
    val: float = 0.1,
    seed: int = 0,
    source: Mapping[str, Any] | None = None,
) -> Dataset:
    """The data set of decoded pictures x (N, C, H, W) and targets y (N, ...), split and checked for duplicates."""
    pictures, targets = torch.from_numpy(x if x.flags.writeable else x.copy()), torch.from_numpy(y)
    split = splits.make(targets, schema.task, test, val, seed, None if given is None else torch.from_numpy(given))
    found = splits.duplicate_notes(pictures, targets, split, names)
    codes = {key: torch.from_numpy(value) for key, value in (fields or {}).items()}
    return Dataset(
        name, schema.task, schema, pictures, targets, split, codes, names, (*notes, *found), dict(source or {})
    )
