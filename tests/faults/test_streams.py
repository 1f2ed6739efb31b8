"""A stream interrupted or killed between its stages, where methods read, grow and measure, ends with the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sonde.continual import kept
from sonde.core import Batch, Budget, Build, Event, Finished, Measured, Method, Recipe, Run, Settled, Stage, Started
from sonde.data.rows import Split
from sonde.data.streams import experience, permuted
from sonde.methods import EWC, Checkpoint, GrowColumns, Replay, Retention, adam
from sonde.nets import MLP, ProgressiveMLP
from sonde.objectives import Classify, ClassifyTasks
from tests.support import blobs


class Columns:
    """Blobs in 8 columns."""

    def __init__(self) -> None:
        x, self.y = blobs(120, classes=3)
        self.x = torch.cat([x, 0.1 * torch.randn(120, 4, generator=torch.Generator().manual_seed(1))], 1)
        self.splits = {"train": torch.arange(80), "test": torch.arange(80, 120)}

    def batch(self, index: Tensor) -> Batch:
        return Batch(self.x[index], self.y[index], index)


def plain() -> Recipe:
    return recipe(Build(Classify, net=Build(MLP, shape=(8,), outputs=3, widths=(16,))), "domain", Build(EWC, cap=5.0))


def replayed() -> Recipe:
    net = Build(MLP, shape=(8,), outputs=3, widths=(16,), dropout=0.2)
    return recipe(Build(Classify, net=net), "domain", Build(Replay, capacity=20, rows=8))


def growing() -> Recipe:
    net = Build(ProgressiveMLP, shape=(8,), outputs=3, widths=(8,))
    return recipe(Build(ClassifyTasks, net=net, classes=3), "task", Build(GrowColumns))


def recipe(objective: Build[Any], scenario: str, method: Build[Any]) -> Recipe:
    stream = Build(permuted, tasks=3, scenario=scenario)
    stages = []
    for t in range(3):
        rows = Build(experience, stream=stream, number=t)
        stages.append(Stage(source=Build(Split, data=rows, batch_size=16, seed=t), budget=Budget(steps=7)))
    methods = (method, Build(Retention, stream=stream), Build(adam, lr=0.01))
    return Recipe(name="stream", seed=5, objective=objective, methods=methods, stages=tuple(stages))


class Press(Method):
    """Asks the run to stop, as Ctrl-C does, the n-th time that an event of a kind comes by."""

    def __init__(self, kind: type[Event], n: int) -> None:
        self.kind, self.left = kind, n

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, self.kind):
            self.left -= 1
            if self.left == 0 and run.stop is None:
                run.stop = "interrupted"


class Power(Method):
    """Ends the process's work, as a power cut would, when the n-th stage begins."""

    def __init__(self, n: int) -> None:
        self.left = n

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Started):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def end(run: Run) -> dict[str, Any]:
    found = {k: v.clone() for k, v in run.weights().items()}
    return {**found, "matrix": torch.from_numpy(kept(run).matrix)}


def trained(make: Callable[[], Recipe], folder: Path, *disturbed: Method) -> tuple[Run, bool]:
    """The recipe from where its last checkpoint left it, as far as it comes; whether it came to its end."""
    data, keeper = Columns(), Checkpoint(folder)
    run = make().start(data, extra=(Method(), keeper))
    run._hooks["on"] = [*run._hooks["on"][:-1], *disturbed, run._hooks["on"][-1]]  # a visitor, not part of the state
    keeper.resume(run)
    try:
        make().train(run, data)
    except KeyboardInterrupt:
        return run, False
    return run, not run.interrupted


PRESSES = [(Started, 1), (Started, 2), (Started, 3), (Measured, 1), (Measured, 2), (Finished, 2), (Settled, 7)]


@pytest.mark.parametrize("make", [plain, replayed, growing])
@pytest.mark.parametrize(("kind", "n"), PRESSES)
def test_ctrl_c_between_stages_changes_nothing(tmp_path: Path, make: Any, kind: type[Event], n: int) -> None:
    whole, finished = trained(make, tmp_path / "whole")
    assert finished
    stopped, finished = trained(make, tmp_path / "stopped", Press(kind, n))
    assert not finished and stopped.step < whole.step
    again, finished = trained(make, tmp_path / "stopped")
    assert finished and again.step == whole.step
    expected, found = end(whole), end(again)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[k], expected[k]) for k in expected)


@pytest.mark.parametrize("make", [plain, replayed, growing])
@pytest.mark.parametrize("n", [2, 3])
def test_a_power_cut_as_a_stage_begins_changes_nothing(tmp_path: Path, make: Any, n: int) -> None:
    whole, _ = trained(make, tmp_path / "whole")
    _, finished = trained(make, tmp_path / "cut", Power(n))
    assert not finished
    again, finished = trained(make, tmp_path / "cut")
    expected, found = end(whole), end(again)
    assert finished and all(torch.equal(found[k], expected[k]) for k in expected)
