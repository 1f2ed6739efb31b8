"""Reading files that came from elsewhere: refused kinds, size limits, paths that stay in their folder, hashes."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

from sonde.core.errors import Refused, SondeError

LIMIT = 4 << 30  # bytes that one data set may take in memory unless the caller says otherwise
PICKLED = {".pkl", ".pickle", ".p", ".joblib", ".dill", ".pt", ".pth", ".ckpt", ".bin", ".h5", ".hdf5", ".keras"}
GZIP = b"\x1f\x8b"


def refuse_pickled(path: Path) -> None:
    """Refuse file kinds that can run code when they are read.

    Raises:
        Refused: for pickles, PyTorch and Keras files.
    """
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if suffixes & PICKLED:
        raise Refused(
            f"{path.name} is of a kind that can run code when it is read, so it is not opened",
            "write the data as CSV, Parquet or .npz with the program that made it, and open that",
        )


def size_of(path: Path) -> int:
    """The size of a regular file in bytes; directories, devices and missing files get an error that says so."""
    try:
        if not path.exists():
            raise SondeError(f"{path} does not exist", "check the path")
        if not path.is_file():
            raise SondeError(f"{path} is not a regular file", "give a file, or a folder of images")
        return path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> SondeError:
    """What to say when the system does not let us read."""
    return SondeError(f"{path} cannot be read: {error.strerror or error}", "check the path and its permissions")


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """The content of a file, unzipped when it is gzip, never more than `limit` bytes of it.

    Raises:
        SondeError: missing, unreadable, empty, larger than `limit`, or a broken gzip stream.
    """
    if size_of(path) > limit:
        raise too_large(path.name, limit)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if data[:2] == GZIP:
        data = gunzip(data, path.name, limit)
    if not data:
        raise SondeError(f"{path.name} is empty", "give a file with data in it")
    return data


def gunzip(data: bytes, name: str, limit: int) -> bytes:
    """Unzip a gzip stream of one or more members, stopping at `limit` bytes before they are allocated."""
    parts, total = [], 0
    try:
        while data:
            stream = zlib.decompressobj(wbits=31)
            part = stream.decompress(data, limit - total + 1)
            total += len(part)
            if total > limit:
                raise too_large(name, limit)
            if not stream.eof:
                raise SondeError(f"{name} ends before its gzip stream does", "copy or download the file again")
            parts.append(part)
            data = stream.unused_data.lstrip(b"\0")  # zero padding after a member is allowed by the format
    except zlib.error as error:
        raise SondeError(f"{name} is not a readable gzip file: {error}", "copy or download the file again") from error
    return b"".join(parts)


def too_large(name: str, limit: int) -> SondeError:
    """The error for data above the limit."""
    return SondeError(
        f"{name} holds more than the limit of {limit:,} bytes",
        "open a part of it, or raise the limit with limit=BYTES if memory allows",
    )


def under(root: Path, name: str) -> Path:
    """The path of `name` inside `root`, links followed.

    Raises:
        ValueError: with the reason when the name is absolute, climbs out with '..', or a link leaves the folder.
    """
    if not name or "\0" in name:
        raise ValueError("is not a file name")
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or (len(parts[0]) > 1 and parts[0][1] == ":"):
        raise ValueError("is an absolute path; names must be relative to the data folder")
    if ".." in parts:
        raise ValueError("climbs out of the data folder with '..'")
    path = root / name
    if not inside(path, root):
        raise ValueError("is a link that leaves the data folder")
    return path


def inside(path: str | Path, root: str | Path) -> bool:
    """Whether `path`, links followed, lies in `root`."""
    real, base = os.path.realpath(path), os.path.realpath(root)
    try:
        return os.path.commonpath([real, base]) == base
    except ValueError:  # on another drive
        return False


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error
