"""What a search has tried, as lines of a plain file: it can be killed at any moment and gone on with.

The sampler's state is not kept, since it needs none: what is tried next is a function of the seed and of the trials
before it. So an interrupted search tries what one that never stopped would have tried.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sonde.core import SondeError
from sonde.core.state import disk_error
from sonde.runs import RunFolder

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One recipe that was trained, or begun.

    values: the settings that were searched, by path. value: the metric on the validation rows, of the weights that
    would be shipped; None unless complete. scores: every metric of those rows. measured: the metric at each validation.
    rows: the metric of each validation row, (N,); empty unless complete. reason: why it is not complete.
    """

    number: int
    state: State
    values: dict[str, Any]
    value: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    measured: tuple[float, ...] = ()
    rows: tuple[float, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    reason: str = ""

    def line(self) -> str:
        """The trial as a line of JSON."""
        data = asdict(self) | {"rows": base64.b64encode(np.asarray(self.rows, dtype="<f4").tobytes()).decode()}
        return json.dumps(data) + "\n"

    @staticmethod
    def of(line: str) -> Trial:
        """The inverse of `line`; raises ValueError, TypeError or KeyError for anything else."""
        data = json.loads(line)
        rows = np.frombuffer(base64.b64decode(data["rows"], validate=True), dtype="<f4")
        return Trial(**{**data, "rows": tuple(rows.tolist()), "measured": tuple(data["measured"])})


class TrialsFile:
    """The file of a search's trials. They are appended, each flushed to the disk before the next begins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Trial]:
        """The trials, in order. A last line that a kill cut short is removed."""
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        try:
            trials = [Trial.of(line) for line in whole.decode().splitlines()]
        except (ValueError, TypeError, KeyError) as error:
            what = f"{self.path.name} of {self.path.parent.name} is damaged: {error}"
            raise SondeError(what, "search anew under another --name") from None
        if [t.number for t in trials] != list(range(len(trials))):
            what = f"{self.path.name} of {self.path.parent.name} lacks trials"
            raise SondeError(what, "search anew under another --name")
        return trials

    def append(self, trial: Trial) -> None:
        """Add a trial, safely on the disk when this returns."""
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(trial.line())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise disk_error(error, f"writing {self.path.name}") from None


def rows_of(trials: list[Trial]) -> Tensor:
    """The scores of the validation rows of the complete trials, (T, N)."""
    return torch.tensor([t.rows for t in trials if t.state == "complete"])


def opened_folder(root: Path, name: str, about: Mapping[str, Any], resume: bool) -> RunFolder:
    """The folder of a search: a new one, or with `resume` the latest that was made with the same settings.

    about: what the trials depend on; it is written beside them.
    """
    if resume:
        made = [p for p in root.glob(f"{name}*") if (p / "search.json").is_file()] if root.is_dir() else []
        made.sort(key=lambda p: (p / "search.json").stat().st_mtime)
        same = [p for p in made if _same(RunFolder(p).read("search.json"), about)]
        if same:
            return RunFolder(same[-1])
        if made:
            raise SondeError(
                f"{made[-1].name} searched something else: another recipe, space, metric, seed, or other data",
                "give the options of that search, or leave --resume out",
            )
    folder = RunFolder.create(root, name)
    folder.write("search.json", dict(about))
    return folder


def _same(known: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    return json.loads(json.dumps(known)) == json.loads(json.dumps(about))
