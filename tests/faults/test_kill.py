"""Killed anywhere, a run goes on to the same bits as one that was never killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sonde.core import read_state

ROOT = Path(__file__).resolve().parents[2]
PATH = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PATH}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def worker(folder: Path, *words: int, module: str = "worker") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.faults.{module}", str(folder), *map(str, words)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-3000:]


def result(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a run that nobody killed ends with."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ended(worker(folder))
    return result(folder)


def compare(found: Any, expected: Any) -> None:
    for name in expected:  # one after the other, so that a failure names what differs
        assert found[name] == expected[name], name


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_kills_itself_anywhere_ends_with_the_same_bits(tmp_path: Path, seed: int, undisturbed: Any) -> None:
    ended(worker(tmp_path, 6, seed))
    died = json.loads((tmp_path / "deaths.json").read_text())
    print(f"seed {seed}: died {'; '.join(died)}")
    assert len(died) >= 3
    compare(result(tmp_path), undisturbed)
    for name in ("last", "best", "last.previous"):  # whole, each of them
        read_state(tmp_path / "checkpoints" / name)
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_a_run_killed_from_outside_ends_with_the_same_bits(tmp_path: Path, undisturbed: Any) -> None:
    rng = random.Random(time.time_ns())
    for _ in range(2):
        process, log = worker(tmp_path), tmp_path / "metrics.jsonl"
        before = log.stat().st_size if log.exists() else 0
        while process.poll() is None and (log.stat().st_size if log.exists() else 0) == before:
            time.sleep(0.005)
        time.sleep(wait := rng.uniform(0, 0.3))
        print(f"killed {wait:.3f} s after it went on")
        process.send_signal(signal.SIGKILL)
        process.communicate()
    ended(worker(tmp_path))
    compare(result(tmp_path), undisturbed)


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a private run that nobody killed ends with."""
    folder = tmp_path_factory.mktemp("private")
    ended(worker(folder, module="private_worker"))
    return result(folder)


@pytest.mark.parametrize("seed", range(2))
def test_a_private_run_that_kills_itself_spends_and_ends_as_if_it_never_had(
    tmp_path: Path, seed: int, private: Any
) -> None:
    ended(worker(tmp_path, 5, seed, module="private_worker"))
    died = json.loads((tmp_path / "deaths.json").read_text())
    print(f"seed {seed}: died {'; '.join(died)}")
    assert len(died) >= 3
    found = result(tmp_path)
    assert found["epsilon"] == private["epsilon"] > 0
    compare(found, private)


def test_the_private_run_counted_every_step_and_logged_what_it_spent(private: Any) -> None:
    assert "40 steps of noise multiplier 0.8" in private["spent"] and "pure mechanisms" in private["spent"]
    lines = [json.loads(line)["values"] for line in private["metrics"].splitlines()]
    spent = [values["epsilon"] for values in lines if "epsilon" in values]
    assert spent == sorted(spent) and len(set(spent)) > 4 and spent[-1] == private["epsilon"]


def test_the_undisturbed_run_went_through_everything(undisturbed: Any) -> None:
    metrics = [json.loads(line) for line in undisturbed["metrics"].splitlines()]
    assert {m["stage"] for m in metrics} == {0, 1} and {m["split"] for m in metrics} == {"train", "val"}
    assert undisturbed["structure"]["stage"] == 2
