"""Where the files of named sets come from: a local mirror, the cache, or (only when asked) the official address.

Every file is compared with its pinned SHA-256 before a byte of it is used.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sonde.core.errors import SondeError
from sonde.data.files import unreadable

TIMEOUT = 30  # s without a byte
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Pinned:
    """One published file: its name in a mirror, what it must be, and its official address ("" if there is none)."""

    file: str
    sha256: str
    size: int  # bytes
    url: str = ""


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/sonde, or ~/.cache/sonde."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "sonde"


def places(name: str, file: str) -> list[Path]:
    """Where `file` of the set `name` may lie, in the order they are tried."""
    mirror = os.environ.get("SONDE_DATA")
    return [Path(root) / name / file for root in (mirror, cache_folder()) if root]


def get(name: str, pinned: Pinned, download: bool = False) -> bytes:
    """The content of a pinned file, verified.

    Raises:
        SondeError: it is nowhere and `download` is not asked for; it is not the pinned file; the download fails.
    """
    data = find(name, pinned)
    if data is not None:
        return data
    if not download:
        raise SondeError(
            f"{name} is not on this machine: {pinned.file} is neither under $SONDE_DATA nor in the cache",
            f"set SONDE_DATA to a folder that holds {name}/{pinned.file}, or ask for it with download=True",
        )
    data = fetch(pinned)
    store(name, pinned.file, data)
    return data


def find(name: str, pinned: Pinned) -> bytes | None:
    """The content of a pinned file from the mirror or the cache, verified; None where there is none."""
    for path in places(name, pinned.file):
        try:
            if not path.is_file():
                continue
            data = path.read_bytes() if path.stat().st_size == pinned.size else b""
        except OSError as error:
            raise unreadable(path, error) from error
        if hashlib.sha256(data).hexdigest() != pinned.sha256:
            raise SondeError(
                f"{path} is not the published {pinned.file}: its size or SHA-256 differs",
                "delete it and place the published file there",
            )
        return data
    return None


def store(name: str, file: str, data: bytes) -> None:
    """Keep a verified file in the cache: written beside its place, flushed, renamed. A cache may fail: no error."""
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{file}.")  # readable by the user alone
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, folder / file)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError:
        return


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows at most five redirects, none of them to plain http."""

    max_redirections = 5

    def redirect_request(  # type: ignore[no-untyped-def]
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers, newurl: str
    ) -> urllib.request.Request | None:
        """The request for the new address, if it is https."""
        if not newurl.lower().startswith("https://"):
            raise urllib.error.URLError("it redirects to an address that is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _connect(url: str) -> IO[bytes]:
    """A response to read from. Proxies are taken from the environment, as usual."""
    opener = urllib.request.build_opener(_HttpsOnly)
    return opener.open(urllib.request.Request(url, headers={"User-Agent": "sonde"}), timeout=TIMEOUT)  # type: ignore[no-any-return]


def fetch(pinned: Pinned) -> bytes:
    """Download a pinned file, never more than its size, and verify it.

    Raises:
        SondeError: not https, no answer, another size or another content.
    """
    if not pinned.url.startswith("https://"):
        raise SondeError(f"{pinned.file} has no official https address", "place it under $SONDE_DATA by hand")
    parts, total = [], 0
    try:
        with _connect(pinned.url) as response:
            while total <= pinned.size and (part := response.read(min(CHUNK, pinned.size + 1 - total))):
                parts.append(part)
                total += len(part)
    except (OSError, ValueError) as error:  # URLError and time-outs are OSErrors
        reason = getattr(error, "reason", None) or error
        remedy = "try later, or set SONDE_DATA to a mirror"
        raise SondeError(f"{pinned.url} could not be downloaded: {reason}", remedy) from error
    data = b"".join(parts)
    if len(data) != pinned.size or hashlib.sha256(data).hexdigest() != pinned.sha256:
        raise SondeError(
            f"{pinned.url} does not give the published file: its size or SHA-256 differs",
            "try later, or set SONDE_DATA to a mirror that has it",
        )
    return data
