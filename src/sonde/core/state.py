"""State on disk: safetensors for tensors, JSON for the rest, a manifest that proves both whole.

A state is written into a temporary sibling, flushed to the disk, and only then renamed into place; the state it
replaces stays beside it as `NAME.previous`. Killed at any moment, a folder holds a whole state. Nothing is pickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import Refused, SondeError

FORMAT = 1
MAX_JSON_BYTES = 256 * 2**20  # a run's scalars and structure; far above any real state, far below memory
PICKLES = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".joblib"}


class Corrupt(SondeError):
    """A state on disk is not what its manifest says."""


# ---------------------------------------------------------------- nested state <-> tensors and JSON
def flatten(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Split nested state into a flat dict of tensors and a JSON structure that refers to them.

    >>> tensors, structure = flatten({"a": [torch.ones(2), 3], 7: (None, float("inf"))})
    >>> sorted(tensors), unflatten(tensors, structure)[7]
    (['t0'], (None, inf))
    """
    tensors: dict[str, Tensor] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, Tensor):
            key = f"t{len(tensors)}"
            tensors[key] = _whole(value)
            return {"$tensor": key}
        if isinstance(value, Mapping):
            plain = all(isinstance(k, str) and not k.startswith("$") for k in value)
            if plain:
                return {k: walk(v) for k, v in value.items()}
            return {"$map": [[walk(k), walk(v)] for k, v in value.items()]}
        if isinstance(value, tuple):
            return {"$tuple": [walk(v) for v in value]}
        if isinstance(value, list):
            return [walk(v) for v in value]
        if isinstance(value, float) and not math.isfinite(value):
            return {"$float": repr(value)}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(
            f"state may hold tensors, numbers, strings, None, dicts, lists and tuples; got {type(value).__name__}"
        )

    return tensors, walk(state)


def unflatten(tensors: Mapping[str, Tensor], structure: Any) -> Any:
    """The inverse of `flatten`."""

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(v) for v in value]
        if not isinstance(value, dict):
            return value
        if "$tensor" in value:
            return tensors[value["$tensor"]]
        if "$map" in value:
            return {walk(k): walk(v) for k, v in value["$map"]}
        if "$tuple" in value:
            return tuple(walk(v) for v in value["$tuple"])
        if "$float" in value:
            return float(value["$float"])
        return {k: walk(v) for k, v in value.items()}

    return walk(structure)


def _whole(tensor: Tensor) -> Tensor:
    """The tensor on the CPU, contiguous, in memory of its own; a sharded one is gathered (by every process at once)."""
    tensor = tensor.detach()
    if hasattr(tensor, "full_tensor"):
        tensor = tensor.full_tensor()
    return tensor.to("cpu", copy=True).contiguous()


# ---------------------------------------------------------------- a folder written whole or not at all
def write_state(folder: Path, state: Any, about: Mapping[str, Any] | None = None, write: bool = True) -> None:
    """Save nested state as `folder/{tensors.safetensors, state.json, manifest.json}`, replacing what was there.

    about: small plain facts (a step, a metric) kept readable in the manifest.
    write: False on the processes that only take part in gathering sharded tensors.

    Raises SondeError when the disk is full or the folder cannot be written; the previous state is then untouched.
    """
    from safetensors.torch import save

    tensors, structure = flatten(state)
    if not write:
        return
    files = {"tensors.safetensors": save(tensors), "state.json": json.dumps(structure).encode()}
    replace_folder(folder, files, about)


def replace_folder(folder: Path, files: Mapping[str, bytes], about: Mapping[str, Any] | None = None) -> None:
    """Write `files` and their manifest as `folder`, whole or not at all; what was there becomes `NAME.previous`."""
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "about": dict(about or {}),
        "files": {k: {"bytes": len(v), "sha256": hashlib.sha256(v).hexdigest()} for k, v in files.items()},
    }
    manifest["sha256"] = _seal(manifest)
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    previous = folder.with_name(f"{folder.name}.previous")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for stale in folder.parent.glob(f".{folder.name}.*.tmp"):  # left by a process that was killed while saving
            shutil.rmtree(stale, ignore_errors=True)
        fresh.mkdir()
        for name, content in {**files, "manifest.json": json.dumps(manifest, indent=1).encode()}.items():
            with open(fresh / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync(fresh)
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            os.rename(folder, previous)
        os.rename(fresh, folder)
        _sync(folder.parent)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if not folder.exists() and previous.exists():
            os.rename(previous, folder)
        raise disk_error(error, f"saving {folder.name}") from None


def _seal(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of what the manifest says, so that damage to the manifest itself is found too."""
    said = {k: v for k, v in manifest.items() if k != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def disk_error(error: OSError, doing: str) -> SondeError:
    """What a failed write is answered with."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return SondeError(
            f"no space left on the disk while {doing}; what was saved before is intact",
            "free some space and resume the run",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        where = Path(error.filename).name if error.filename else "the folder"
        return SondeError(
            f"{where} cannot be written while {doing}; what was saved before is intact",
            "make the folder writable, or choose another with --output-dir",
        )
    return SondeError(f"{error.strerror or error} while {doing}; what was saved before is intact", "mend it and resume")


def _sync(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows cannot open a folder to flush it; its renames are journalled
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_state(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The nested state in `folder` and the facts about it; its `NAME.previous` if `folder` is damaged, saying so.

    Raises Corrupt if neither is whole, and FileNotFoundError if neither is there.
    """
    previous = folder.with_name(f"{folder.name}.previous")
    try:
        return _read(folder)
    except (Corrupt, FileNotFoundError) as error:
        if not previous.exists():
            raise
        cause = error.cause if isinstance(error, Corrupt) else f"{folder.name} is missing (killed while saving)"
        found = _read(previous)
        warnings.warn(f"{cause}; using the one before it", stacklevel=2)
        return found


def _read(folder: Path) -> tuple[Any, dict[str, Any]]:
    from safetensors.torch import load

    manifest, files = read_folder(folder)
    try:
        structure = json.loads(files["state.json"])
        tensors = load(files["tensors.safetensors"])
        return unflatten(tensors, structure), manifest["about"]
    except Exception as error:  # whatever a damaged file makes the parsers raise, the answer is the same
        raise Corrupt(f"{folder.name} cannot be read ({type(error).__name__})", _REMEDY) from None


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest of a folder and the content of its files, each checked against size and SHA-256."""
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    try:
        manifest = json.loads(_bounded(folder / "manifest.json", MAX_JSON_BYTES))
        entries = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}
        whole = manifest["sha256"] == _seal(manifest) and isinstance(manifest["about"], dict)
        newer = manifest["format"] > FORMAT
    except (FileNotFoundError, IsADirectoryError, *_UNREADABLE):
        whole = newer = False
    if not whole:
        raise Corrupt(f"{folder.name} has no readable manifest", _REMEDY)
    if newer:
        raise SondeError(f"{folder.name} was written by a newer version of sonde", "upgrade sonde to read it")
    files = {}
    for name, (size, digest) in entries.items():
        if Path(name).name != name or name in ("", ".", ".."):
            raise Refused(f"{folder.name} lists a file outside itself: {name!r}", "do not use it: it was tampered with")
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise Corrupt(f"{folder.name}/{name} is truncated or missing", _REMEDY)
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise Corrupt(f"{folder.name}/{name} does not have the recorded SHA-256", _REMEDY)
        files[name] = content
    return manifest, files


def refuse_pickle(path: Path) -> None:
    """Refuse a file that only unpickling could read."""
    if path.suffix.lower() in PICKLES:
        raise Refused(
            f"{path.name} is a pickle, which runs code when it is opened",
            f"turn it into safetensors first: sonde convert {path.name}",
        )


def _bounded(path: Path, limit: int) -> bytes:
    if path.stat().st_size > limit:
        raise ValueError(f"{path.name} is larger than {limit} bytes")
    return path.read_bytes()


# What reading a manifest that holds anything at all can raise.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
_REMEDY = "restore it from a copy, or train again"


def digest(tree: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and contents of tensors: equal for equal bits."""
    sha = hashlib.sha256()
    for name, tensor in tree.items():
        sha.update(name.encode())
        sha.update(_whole(tensor).flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
