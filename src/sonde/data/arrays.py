"""Arrays from hostile hands: .npz and idx files read member by member, sizes judged before memory is taken."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from sonde.core.errors import Refused, SondeError
from sonde.data.files import GZIP, LIMIT, gunzip, size_of, too_large, unreadable
from sonde.data.problems import listed, quoted

KINDS = "buifSU"  # truth values, integers, floats, byte and text strings
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
MEMBERS = 100


def read_npz(path: Path, limit: int = LIMIT) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, by name.

    Raises:
        Refused: an array of Python objects, which only unpickling could read.
        SondeError: damaged, or larger than `limit` bytes once unpacked (judged before unpacking).
    """
    size_of(path)
    try:
        with path.open("rb") as file:
            return _read_npz(file, path.name, limit)
    except OSError as error:
        raise unreadable(path, error) from error


def parse_npz(data: bytes, name: str, limit: int = LIMIT) -> dict[str, np.ndarray]:
    """As `read_npz`, from bytes in memory."""
    return _read_npz(io.BytesIO(data), name, limit)


def _read_npz(file: IO[bytes], name: str, limit: int) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS:
                raise SondeError(f"{name} has {len(members)} members; at most {MEMBERS} are read", "keep x and y")
            if sum(member.file_size for member in members) > limit:
                raise too_large(name, limit)
            return {m.filename.removesuffix(".npy"): _member(archive, m, name) for m in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise SondeError(f"{name} is not a readable .npz file: {error}", "write or copy it again") from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    """One array: its header is checked against the member's size before the data are read."""
    if not member.filename.endswith(".npy"):
        raise SondeError(f"{name} holds {quoted(member.filename)}, which is not an array", "keep only arrays in it")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise Refused(
                f"{name}: array {quoted(member.filename)} holds Python objects, which can run code when they are read",
                "save numbers or text: np.savez(file, x=x.astype('float32'), y=np.asarray(y, dtype='U'))",
            )
        if dtype.kind not in KINDS:
            raise SondeError(f"{name}: array {quoted(member.filename)} is of type {dtype}", "save numbers or text")
        wanted = math.prod(shape) * dtype.itemsize
        if wanted > member.file_size:
            raise ValueError(f"{quoted(member.filename)} says it has {wanted} bytes but holds {member.file_size}")
        data = file.read(wanted)
        if len(data) != wanted or file.read(1):
            raise ValueError(f"{quoted(member.filename)} does not have the {wanted} bytes it says")
    array = np.frombuffer(data, dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def read_idx(path: Path, limit: int = LIMIT) -> np.ndarray:
    """The array of an idx file (the format of MNIST), gzipped or not.

    Raises:
        SondeError: wrong magic number, or not exactly the bytes that its header says.
    """
    if size_of(path) > limit:
        raise too_large(path.name, limit)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if data[:2] == GZIP:
        data = gunzip(data, path.name, limit)
    return parse_idx(data, path.name)


def parse_idx(data: bytes, name: str) -> np.ndarray:
    """The array in the bytes of an idx file: two zeros, type, rank, big-endian sides, data."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES or not 1 <= data[3] <= 4:
        raise SondeError(f"{name} is not an idx file: it begins with {data[:4].hex() or 'nothing'}", "give an idx file")
    rank = data[3]
    if len(data) < 4 + 4 * rank:
        raise SondeError(f"{name} ends within its header", "copy or download the file again")
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    dtype = np.dtype(IDX_TYPES[data[2]])
    wanted, held = math.prod(shape) * dtype.itemsize, len(data) - 4 - 4 * rank
    if wanted != held:
        raise SondeError(
            f"{name} holds {held} bytes where its header says {wanted} ({' x '.join(map(str, shape))})",
            "copy or download the file again",
        )
    return np.frombuffer(data, dtype, offset=4 + 4 * rank).reshape(shape)


def idx_pair(path: Path) -> tuple[Path, Path]:
    """The image and label files that belong together, given one of them."""
    stem = re.sub(r"(images|labels)([-.]idx\d)", r"{}\2", path.name)
    for images, labels in (("idx3", "idx1"), ("idx4", "idx1")):
        a = path.with_name(re.sub(r"idx\d", images, stem).replace("{}", "images"))
        b = path.with_name(re.sub(r"idx\d", labels, stem).replace("{}", "labels"))
        x, y = (_plain_or_zipped(p.with_name(p.name.removesuffix(".gz"))) for p in (a, b))
        if x and y:
            return x, y
    raise SondeError(
        f"{path.name} has no partner: idx images and labels come in pairs",
        "name them such as train-images-idx3-ubyte and train-labels-idx1-ubyte, in one folder",
    )


def _plain_or_zipped(path: Path) -> Path | None:
    return next((p for p in (path, path.with_name(path.name + ".gz")) if p.is_file()), None)


def idx_folder(root: Path) -> dict[str, tuple[Path, Path]]:
    """The idx pairs in a folder by split: {"train": (images, labels), "test": …}; {} when there are none."""
    found = {}
    for path in sorted(root.iterdir()):
        match = re.fullmatch(r"(.*?)[-_.]?images[-.]idx[34]-ubyte(\.gz)?", path.name)
        if match and path.is_file():
            split = {"": "train", "t10k": "test"}.get(match[1], match[1])
            found[split] = idx_pair(path)
    return found


PARTS = {"": "train", "_train": "train", "_val": "val", "_valid": "val", "_test": "test"}
PAIRS = (("x", "y"), ("X", "y"), ("X", "Y"), ("images", "labels"), ("image", "label"), ("data", "target"))


def npz_parts(arrays: dict[str, np.ndarray], name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The (x, y) pairs among named arrays, by split: x and y, or x_train, y_train, x_test, y_test and the like.

    Raises:
        SondeError: no such pair, or x and y of different lengths.
    """
    found = {}
    for first, second in PAIRS:
        for suffix, split in PARTS.items():
            options = [(first + suffix, second + suffix), (suffix[1:] + "_" + first, suffix[1:] + "_" + second)]
            for a, b in options:
                if split not in found and a in arrays and b in arrays:
                    found[split] = (arrays[a], arrays[b])
    if "train" not in found:
        raise SondeError(
            f"{name} has no arrays x and y among {listed(list(arrays)) or 'none'}",
            "name them x and y, or x_train, y_train, x_test, y_test",
        )
    for split, (x, y) in found.items():
        if x.ndim < 2 or y.ndim < 1 or len(x) != len(y):
            raise SondeError(
                f"{name}: {split} x has shape {x.shape} and y {y.shape}", "give one row of y for every row of x"
            )
    return found


def as_pixels(array: np.ndarray, what: str) -> np.ndarray:
    """Pictures as (N, C, H, W), uint8 or float32 in [0, 1]; C is 1 or 3, and transparency is laid on white.

    array: (N, H, W), (N, H, W, C) or (N, C, H, W); uint8 or other integers in 0..255, truth values, floats in [0, 1].

    Raises:
        SondeError: another shape or range.
    """
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3, 4) and not (array.shape[1] in (1, 3) and array.shape[3] == 4):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3, 4) or 0 in array.shape[2:]:
        raise SondeError(
            f"{what} has shape {array.shape}, which is no pile of pictures",
            "give (N, H, W), (N, H, W, C) or (N, C, H, W)",
        )
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind in "ui" and array.dtype != np.uint8:
        if array.size and (array.min() < 0 or array.max() > 255):
            raise SondeError(f"{what} holds {array.min()}..{array.max()}", "scale the pixels to 0..255 or to [0, 1]")
        array = array.astype(np.uint8)
    elif array.dtype.kind == "f":
        if array.size and not (array.min() >= 0 and array.max() <= 1):  # false for NaN too
            rows = np.flatnonzero(~((array >= 0) & (array <= 1)).all((1, 2, 3)))
            raise SondeError(
                f"{what} holds floats outside [0, 1], first in picture {rows[0]}",
                "divide the pixels by their largest value",
            )
        array = array.astype(np.float32)
    elif array.dtype != np.uint8:
        raise SondeError(f"{what} is of type {array.dtype}", "give uint8, or floats in [0, 1]")
    if array.shape[1] == 4:
        top = 1.0 if array.dtype == np.float32 else 255.0
        alpha = array[:, 3:].astype(np.float32) / top
        blend = array[:, :3] * alpha + top * (1 - alpha)
        array = blend if array.dtype == np.float32 else np.round(blend).astype(np.uint8)
    return np.ascontiguousarray(array)
