"""What tests of the command line share: a command run in this process or one of its own, and small data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonde.cli import main

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--net", "mlp(widths=(8,))", "--no-baselines")


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)


Sonde = Callable[..., Answer]


def in_process(capsys: pytest.CaptureFixture[str]) -> Sonde:
    """A command in this process."""

    def run(*words: str | Path) -> Answer:
        capsys.readouterr()
        code = main([str(w) for w in words])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


def start(*words: str | Path, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """A command in a process of its own, as a person would start it in `folder`."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "sonde", *map(str, words)],
        cwd=folder, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(process: subprocess.Popen[str], seconds: float = 120) -> Answer:
    """The answer of a process; one that does not end is killed."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Answer(process.returncode, out or "", err or "")


def pictures(folder: Path, classes: tuple[str, ...] = ("cats", "dogs"), each: int = 20, side: int = 8) -> Path:
    """A folder of PNG files, one folder per class; the classes differ in colour."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for code, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 90, (side, side, 3), dtype=np.uint8)
            pixels[..., code % 3] += 120
            Image.fromarray(pixels).save(folder / name / f"{i:03}.png")
    return folder


def people(path: Path, rows: int = 80) -> Path:
    """A CSV file with a number, a category and two classes that a spreadsheet would run."""
    rng = np.random.default_rng(0)
    lines = ["age,job,income"]
    for i in range(rows):
        age = int(rng.integers(18, 80))
        lines.append(f"{age},{'nurse' if i % 3 else 'cook'},{'=HIGH()' if age > 45 else '+low'}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
