"""The folder of a run: what is in it, and how runs are named and found."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonde.core.errors import SondeError
from sonde.core.state import disk_error, refuse_pickle
from sonde.names import did_you_mean

HELD = ".held"


def shareable(path: str | Path) -> str:
    """A path as others may read it: `~` in place of the home folder.

    >>> shareable(Path.home() / "photos"), shareable("photos")
    ('~/photos', 'photos')
    """
    text, home = str(path), str(Path.home())
    return f"~{text[len(home) :]}" if home != "/" and (text == home or text.startswith(home + os.sep)) else text


@contextmanager
def _lock(path: Path, make: bool = True) -> Iterator[bool]:
    """An exclusive lock on a file: True while it is ours, or where files cannot be locked; False if another has it."""
    try:
        import fcntl

        handle = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o600)
    except (ImportError, OSError):
        yield True
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        yield True
    finally:
        os.close(handle)


class RunFolder:
    """`runs/NAME/` with recipe.json, environment.json, data.json, metrics.jsonl, checkpoints/, model/, report.*."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """Where the run's state is saved."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Training and validation metrics, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def model(self) -> Path:
        """The bundle: what is shipped."""
        return self.path / "model"

    @property
    def report(self) -> Path:
        """What a person reads."""
        return self.path / "report.html"

    @staticmethod
    def create(root: Path, name: str) -> RunFolder:
        """A new folder under `root`: NAME, or NAME-2, NAME-3... so that nothing is ever overwritten."""
        name = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:80] or "run"
        try:
            root.mkdir(parents=True, exist_ok=True)
            for number in range(1, 100_000):
                path = root / (name if number == 1 else f"{name}-{number}")
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                return RunFolder(path)
        except OSError as error:
            raise disk_error(error, f"making the run folder under {root}") from None
        raise SondeError(f"{root} holds too many runs called {name}", "choose another --name")

    @staticmethod
    def find(name: str | Path, root: Path = Path("runs")) -> RunFolder:
        """The run at a path, or called `name` under `root`."""
        refuse_pickle(Path(name))
        for path in (Path(name).expanduser(), root / name):
            if (path / "recipe.json").is_file() or (path / "model").is_dir():
                return RunFolder(path)
        known = [r.name for r in RunFolder.all(root)]
        remedy = did_you_mean(str(name), known) or (
            f"the runs in {root} are {', '.join(known[-8:])}" if known else "train one: sonde train DATA"
        )
        raise SondeError(f"there is no run called {str(name)!r} in {root}", remedy)

    @staticmethod
    def all(root: Path = Path("runs")) -> list[RunFolder]:
        """Every run under `root`, oldest first."""
        if not root.is_dir():
            return []
        found = [p for p in root.iterdir() if (p / "recipe.json").is_file()]
        return [RunFolder(p) for p in sorted(found, key=lambda p: ((p / "recipe.json").stat().st_mtime, p.name))]

    def write(self, name: str, content: Mapping[str, Any] | str) -> None:
        """Write a text or JSON file of the run, whole or not at all."""
        text = content if isinstance(content, str) else json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        fresh = self.path / f".{name}.tmp"
        try:
            with open(fresh, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path / name)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise disk_error(error, f"writing {name}") from None

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the run."""
        path = self.path / name
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SondeError(
                f"run {self.name} has no {name}: it did not get that far", f"go on with it: sonde resume {self.name}"
            ) from None
        except (ValueError, OSError, RecursionError) as error:
            raise SondeError(
                f"{name} of run {self.name} cannot be read: {error}", "restore it, or train again"
            ) from None
        if not isinstance(data, dict):
            raise SondeError(f"{name} of run {self.name} is not an object", "restore it, or train again")
        return data

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run, so that no other process goes on with it at the same time; a kill lets go too.

        Raises SondeError if another process holds it. Where the system has no such locks, nothing is held.
        """
        with _lock(self.path / HELD) as mine:
            if not mine:
                raise SondeError(
                    f"run {self.name} is being trained by another process", "wait for it, or stop it first"
                )
            yield

    @property
    def busy(self) -> bool:
        """Whether another process is training the run now."""
        with _lock(self.path / HELD, make=False) as mine:
            return not mine

    def discard(self) -> None:
        """Remove the folder of a run in which nothing was computed."""
        shutil.rmtree(self.path, ignore_errors=True)

    def has(self, name: str) -> bool:
        """Whether the run has this file."""
        return (self.path / name).exists()

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line cut by a kill is left out."""
        if not self.metrics.exists():
            return []
        lines = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
        return lines
