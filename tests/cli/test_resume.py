"""Interrupting and going on: exit code 130, the command to go on with, and the bits of a run that never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sonde.core import Event, Method, Run, Stepped
from tests.cli.command import TINY, Sonde, finished, start

LONG = ("train", "digits", "--time", "10s", "--name", "stopped", *TINY)


class CtrlC(Method):
    """Presses Ctrl-C at a step, as often as asked."""

    step = 0
    times = 1

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Stepped) and run.step == self.step:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> type[CtrlC]:
    """Adds a `CtrlC` to every run that this process starts."""
    import sonde.training

    class Armed(CtrlC):
        pass

    def started(recipe, dataset, extra):  # type: ignore[no-untyped-def]
        return recipe.start(dataset, extra=(*extra, Armed()))

    monkeypatch.setattr(sonde.training, "_started", started)
    return Armed


def the_same(first: Path, second: Path) -> None:
    for name in ("model/weights.safetensors", "metrics.jsonl", "recipe.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.parametrize(
    "again", [("resume", "stopped"), ("train", "digits", "--epochs", "3", "--name", "stopped", *TINY)]
)
def test_an_interrupted_run_ends_with_the_bits_of_one_that_was_not(
    sonde: Sonde, here: Path, ctrl_c: type[CtrlC], again: tuple[str, ...]
) -> None:
    asked = ("train", "digits", "--epochs", "3", "--name", "stopped", *TINY)
    ctrl_c.step = 30
    stopped = sonde(*asked)
    assert stopped.code == 130 and stopped.out == ""
    assert stopped.err.endswith("stopped at step 30; everything is saved\n  go on with: sonde resume runs/stopped\n")
    assert "unfinished at step 30" in sonde("runs").out
    assert sonde("predict", "stopped", ".").err.endswith("finish it: sonde resume runs/stopped\n")
    ctrl_c.step = 0
    # Started with progress, gone on with in silence: who watches is no part of the run.
    resumed = sonde(*again, "--resume") if again[0] == "train" else sonde(*again, "--quiet")
    assert resumed.code == 0, resumed.err
    assert sonde(*asked[:4], "--name", "whole", *TINY).code == 0
    the_same(here / "runs" / "stopped", here / "runs" / "whole")
    assert sorted(p.name for p in (here / "runs").iterdir()) == ["stopped", "whole"]


def test_a_second_press_stops_at_once_and_keeps_what_was_saved(sonde: Sonde, here: Path, ctrl_c: type[CtrlC]) -> None:
    ctrl_c.step, ctrl_c.times = 5, 2
    stopped = sonde("train", "digits", "--epochs", "1", *TINY)
    assert stopped.code == 130 and "stopped at once" in stopped.err and "sonde resume" in stopped.err
    ctrl_c.step = 0
    assert sonde("resume", "digits").code == 0


def test_an_interrupt_while_measuring_loses_nothing(sonde: Sonde, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sonde.results.gather", interrupted)
        stopped = sonde("train", "digits", "--steps", "3", *TINY)
    assert stopped.code == 130 and "what was trained is saved" in stopped.err
    metrics = (here / "runs" / "digits" / "metrics.jsonl").read_bytes()
    assert sonde("resume", "digits").code == 0
    assert (here / "runs" / "digits" / "metrics.jsonl").read_bytes() == metrics


def test_an_interrupt_before_training_says_so(sonde: Sonde, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sonde.cli.training.opened", interrupted)
    answer = sonde("train", "digits")
    assert answer.code == 130 and answer.err == "interrupted\n" and not (here / "runs").exists()


def test_resume_without_a_run_of_the_command_starts_one(sonde: Sonde, here: Path) -> None:
    answer = sonde("train", "digits", "--steps", "1", "--resume", *TINY)
    assert answer.code == 0 and "starting one" in answer.err
    again = sonde("train", "digits", "--steps", "1", "--resume", *TINY)
    assert again.code == 1 and "is finished" in again.err
    assert sonde("resume", "digits").code == 1


def test_ctrl_c_in_a_terminal(here: Path) -> None:
    process = start(*LONG, folder=here)
    _until(process, here / "runs" / "stopped" / "metrics.jsonl")
    busy = finished(start("resume", "stopped", folder=here))
    assert busy.code == 1 and "by another process" in busy.err
    process.send_signal(signal.SIGINT)
    answer = finished(process)
    assert answer.code == 130 and "go on with: sonde resume runs/stopped" in answer.err


def _until(process: subprocess.Popen[str], path: Path) -> None:
    for _ in range(600):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.1)
