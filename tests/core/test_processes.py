"""Two processes under torchrun: the same weights as one, and one decision for both whatever happens to either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist

from sonde.core import read_state
from tests.core import processes

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not dist.is_available() or os.name == "nt", reason="needs torch.distributed with gloo")

BOTH = pytest.mark.parametrize("parallel", ["ddp", "fsdp"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both processes left what they found; started once for all tests of this file."""
    folder = tmp_path_factory.mktemp("processes")
    for parallel in ("ddp", "fsdp"):
        (folder / parallel).mkdir()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [*torchrun, "-m", "tests.core.processes", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )
    reached = sorted(folder.glob("*.json"), key=lambda p: p.stat().st_mtime)
    assert ended.returncode == 0, f"after {reached[-1].name if reached else 'nothing'}: {ended.stderr[-4000:]}"
    return folder


def both(folder: Path, case: str) -> list[Any]:
    """What each of the two processes found."""
    results = [json.loads((folder / f"{case}.{rank}.json").read_text()) for rank in (0, 1)]
    for result in results:
        assert "failed" not in result, result["failed"]
    return results


def near(a: list[float], b: list[float], tolerance: float = 1e-6) -> None:
    x, y = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    assert (x - y).abs().max() <= tolerance * max(1.0, y.abs().max().item())


# ---------------------------------------------------------------- the same numbers
def test_two_processes_clip_what_one_would(folder: Path) -> None:
    a, b = both(folder, "private-ddp")
    one = processes.private("none")
    near(a["weights"], b["weights"], 0.0)
    near(a["weights"], one["weights"])
    assert a["steps"] == one["steps"] == 10


def test_the_noise_of_two_processes_is_as_large_as_that_of_one(folder: Path) -> None:
    a, b = both(folder, "noisy-ddp")
    assert a["first"] == b["first"] and a["std"] == b["std"]
    assert a["std"] == pytest.approx(1.0, abs=0.02) == processes.noisy("none")["std"]
    assert len(a["streams"]) == 2 and a["streams"][0] != a["streams"][1]


def test_private_training_refuses_sharded_parameters(folder: Path) -> None:
    for result in both(folder, "private-fsdp"):
        assert "fsdp shards them" in result["words"]


@BOTH
@pytest.mark.parametrize("variant", processes.EQUAL)
def test_two_processes_train_what_one_would(folder: Path, variant: str, parallel: str) -> None:
    one = processes.equal(variant, "none")
    for result in both(folder, f"{variant}-{parallel}"):
        near(result["weights"], one["weights"])
        near(result["shipped"], one["shipped"])


@pytest.mark.parametrize("case", ["game", "game in microbatches"])
def test_two_processes_play_the_game_that_one_would(folder: Path, case: str) -> None:
    one = processes.game("none")
    for result in both(folder, f"{case}-ddp"):
        near(result["weights"], one["weights"])


def test_players_with_running_statistics_stay_equal_on_both_processes(folder: Path) -> None:
    a, b = both(folder, "game with statistics-ddp")
    assert a["weights"] == b["weights"]


@BOTH
def test_a_checkpoint_of_two_processes_resumes_exactly(folder: Path, parallel: str) -> None:
    for result in both(folder, f"resumed-{parallel}"):
        assert result["rest"] == result["whole"] and result["rest"]["step"] == 10
        assert result["logs"][0] == result["logs"][1] != ""


@BOTH
def test_a_checkpoint_of_two_processes_can_be_read_by_one(folder: Path, parallel: str) -> None:
    result, _ = both(folder, f"resumed-{parallel}")
    state, _ = read_state(folder / parallel / "whole" / "last")
    assert processes.flat(state["objective"]) == result["whole"]["weights"]


# ---------------------------------------------------------------- one decision
@BOTH
def test_a_bad_record_of_one_process_stops_both_and_is_named_by_the_one_that_holds_it(
    folder: Path, parallel: str
) -> None:
    results = both(folder, f"poisoned-{parallel}")
    assert [r["error"] for r in results] == ["NonFinite", "NonFinite"]
    assert results[0]["step"] == results[1]["step"]
    words = sorted(r["words"].splitlines()[0].partition(": ")[2] for r in results)
    assert words == ["loss term 'task' is not finite for records 20", "the loss on another process is not finite"]
    state, facts = read_state(folder / parallel / "poisoned" / "failed")
    assert facts["step"] == results[0]["step"] and all(v.isfinite().all() for v in state["objective"].values())


@BOTH
def test_a_signal_to_one_process_stops_both_after_the_same_step(folder: Path, parallel: str) -> None:
    assert [(r["step"], r["interrupted"]) for r in both(folder, f"signalled-{parallel}")] == [(4, True), (4, True)]


@BOTH
def test_a_time_budget_and_timed_saves_are_kept_together(folder: Path, parallel: str) -> None:
    a, b = both(folder, f"timed-{parallel}")
    assert a["step"] == b["step"] > 0 and a["weights"] == b["weights"]


def test_early_stopping_is_decided_alike(folder: Path) -> None:
    a, b = both(folder, "stopped-ddp")
    assert a["step"] == b["step"] and a["stop"] == b["stop"]


# ---------------------------------------------------------------- refusals
@BOTH
def test_a_term_over_all_rows_is_refused(folder: Path, parallel: str) -> None:
    for result in both(folder, f"joint-{parallel}"):
        assert result["error"] == "SondeError"
        assert result["words"].startswith("several processes cannot give the terms ['spread']")


def test_processes_that_share_no_gradient_are_refused(folder: Path) -> None:
    for result in both(folder, "alone-none"):
        assert result["error"] == "SondeError" and "pass --parallel ddp" in result["words"]


def test_a_game_over_shards_is_refused(folder: Path) -> None:
    for result in both(folder, "game-fsdp"):
        assert result["error"] == "SondeError" and result["words"].startswith("fsdp cannot train several players")
