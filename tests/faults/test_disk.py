"""A disk that is full or cannot be written: one documented error, and the last good state as it was."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sonde.core import Budget, Run, SondeError, Stepped, fit, read_state, write_state
from sonde.core import state as saving
from sonde.data.rows import Rows
from sonde.methods import Checkpoint, sgd
from sonde.objectives import Classify
from tests.support import Call, blobs, mlp, weights

ROOT = Path(__file__).resolve().parents[2]
CALLS = [("mkdir", 2)] + [("open", n) for n in (1, 2, 3)] + [("fsync", n) for n in (1, 2, 3, 4)]
WORDS = {
    errno.ENOSPC: "no space left on the disk while saving last; what was saved before is intact\n  free some space",
    errno.EDQUOT: "no space left on the disk while saving last",
    errno.EFBIG: "no space left on the disk while saving last",
    errno.EROFS: "cannot be written while saving last; what was saved before is intact\n  make the folder writable",
    errno.EACCES: "cannot be written while saving last",
    errno.EIO: "while saving last; what was saved before is intact\n  mend it and resume",
}


def big(value: float) -> dict[str, Any]:
    return {"w": torch.full((50_000,), value), "step": int(value)}


def intact(folder: Path, value: float = 1.0) -> None:
    """The state is whole, and nothing half-written lies beside it."""
    state, _ = read_state(folder)
    assert state["step"] == value and state["w"].eq(value).all()
    assert not list(folder.parent.glob(".*"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    write_state(tmp_path / "last", big(1.0))
    return tmp_path / "last"


def failing(real: Callable[..., Any], at: int, number: int) -> Callable[..., Any]:
    seen = [0]

    def call(*given: Any, **more: Any) -> Any:
        seen[0] += 1
        if seen[0] == at:
            raise OSError(number, os.strerror(number), "there")
        return real(*given, **more)

    return call


# ---------------------------------------------------------------- every call that can fail
@pytest.mark.parametrize("number", WORDS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name, at", CALLS, ids=str)
def test_whatever_fails_the_last_state_stays(
    saved: Path, monkeypatch: pytest.MonkeyPatch, name: str, at: int, number: int
) -> None:
    with monkeypatch.context() as patch:
        if name == "open":
            patch.setattr(saving, "open", failing(open, at, number), raising=False)
        else:
            patch.setattr(os, name, failing(getattr(os, name), at, number))
        with pytest.raises(SondeError, match=WORDS[number]) as caught:
            write_state(saved, big(2.0))
    assert caught.value.code == 1 and "\n" not in caught.value.cause
    intact(saved)
    write_state(saved, big(3.0))  # and the next save succeeds
    intact(saved, 3.0)


@pytest.mark.parametrize("at", [1, 2])
def test_a_rename_that_fails_leaves_a_whole_state(saved: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing(os.rename, at, errno.EIO))
        with pytest.raises(SondeError, match="while saving last"):
            write_state(saved, big(2.0))
    intact(saved)


def test_a_run_whose_disk_fills_up_stops_in_words_and_goes_on_once_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def new() -> tuple[Run, Checkpoint]:
        torch.manual_seed(0)
        keeper = Checkpoint(tmp_path, every_steps=2)
        return Run(Classify(mlp(4, 8, 3)), [fill, sgd(0.1), keeper]), keeper

    def full(run: Run) -> None:
        patch.setattr(os, "fsync", failing(os.fsync, 1, errno.ENOSPC))

    source = Rows(*blobs(), batch_size=16)
    with monkeypatch.context() as patch:
        fill = Call(Stepped, 5, full)
        run, _ = new()
        with pytest.raises(SondeError, match="no space left on the disk"):
            fit(run, source, Budget(steps=10))
    assert read_state(tmp_path / "last")[1]["step"] == 4
    fill = Call(Stepped, 99, full)
    rest, keeper = new()
    assert keeper.resume(rest)
    whole, _ = new()
    for r in (rest, whole):
        fit(r, source, Budget(steps=10))
    assert torch.equal(weights(rest.objective), weights(whole.objective))


# ---------------------------------------------------------------- real limits
@pytest.mark.skipif(os.name == "nt", reason="needs the limits of a POSIX system")
def test_a_file_that_may_not_grow_gives_the_documented_error(saved: Path) -> None:
    script = f"""
import resource, torch
from pathlib import Path
from sonde.core import SondeError, write_state
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_state(Path({str(saved)!r}), {{"w": torch.zeros(50_000)}})
except SondeError as error:
    print(error.cause)
"""
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert found.stdout == "no space left on the disk while saving last; what was saved before is intact\n", (
        found.stderr
    )
    intact(saved)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB; skipped where none can be mounted."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(where)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def test_a_disk_that_is_full_gives_the_documented_error(small_disk: Path) -> None:
    write_state(small_disk / "last", big(1.0))  # 200 kB
    (small_disk / "ballast").write_bytes(b"x" * 200_000)
    with pytest.raises(SondeError, match=WORDS[errno.ENOSPC]):
        write_state(small_disk / "last", big(2.0))
    intact(small_disk / "last")
    (small_disk / "ballast").unlink()
    write_state(small_disk / "last", big(2.0))
    intact(small_disk / "last", 2.0)


def test_a_disk_that_is_read_only_gives_the_documented_error(small_disk: Path) -> None:
    write_state(small_disk / "last", big(1.0))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(SondeError, match=WORDS[errno.EROFS]):
        write_state(small_disk / "last", big(2.0))
    intact(small_disk / "last")


def test_a_folder_that_may_not_be_written_gives_the_documented_error(saved: Path) -> None:
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("permissions do not bind root; the read-only disk above does")
    saved.parent.chmod(0o500)
    try:
        with pytest.raises(SondeError, match=WORDS[errno.EACCES]):
            write_state(saved, big(2.0))
        intact(saved)
    finally:
        saved.parent.chmod(0o700)
