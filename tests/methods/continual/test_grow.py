"""Progressive networks in a run: the update rule follows the parameters, and so does a resumed run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sonde.core import Budget, Refused, Run, SondeError, fit, read_state, write_state
from sonde.data.rows import Rows
from sonde.methods import EMA, GrowColumns, adam, sgd
from sonde.nets import ProgressiveMLP
from sonde.objectives import ClassifyTasks
from tests.support import blobs, mlp, weights


def stages() -> list[Rows]:
    x, y = blobs(64)
    orders = ([0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0])
    return [Rows(x[:, order], y, 16, seed=t, fields={"task": torch.full((64,), t)}) for t, order in enumerate(orders)]


def start(rule=None) -> Run:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    net = ProgressiveMLP(shape=(4,), outputs=3, widths=(8, 8))
    return Run(ClassifyTasks(net, classes=3), [GrowColumns(), adam(0.02) if rule is None else rule])


def answers(run: Run, t: int) -> torch.Tensor:
    return run.objective.heads(stages()[t].whole.x)[:, t].detach()  # type: ignore[attr-defined]


def test_a_column_a_stage_and_nothing_is_forgotten_to_the_bit() -> None:
    run = start()
    fit(run, stages()[0], Budget(steps=60))
    first = answers(run, 0)
    fit(run, stages()[1], Budget(steps=60))
    fit(run, stages()[2], Budget(steps=60))
    assert torch.equal(answers(run, 0), first)
    for t, source in enumerate(stages()):
        assert (answers(run, t).argmax(1) == source.whole.y).float().mean() > 0.9
    assert all(".2." in name for name in run.params("model"))  # the last column alone is trained


@pytest.mark.parametrize("at", [3, 4, 6, 9])
def test_a_resumed_run_has_the_columns_and_the_bits_of_one_that_never_stopped(at: int, tmp_path: Path) -> None:
    whole = start()
    for source in stages():
        fit(whole, source, Budget(steps=4))
    half = start()
    for source in stages()[: -(-at // 4)]:
        _some(half, source, min(4, at - half.step))
    write_state(tmp_path / "state", half.state_dict())
    rest = start()
    torch.manual_seed(99)
    rest.load_state_dict(read_state(tmp_path / "state")[0])
    for source in stages()[rest.stage :]:
        fit(rest, source, Budget(steps=4))
    assert rest.step == 12 and torch.equal(weights(rest.objective), weights(whole.objective))


def _some(run: Run, source: Rows, steps: int) -> None:
    """A stage of 4 steps, interrupted after some of them."""
    if steps == 4:
        fit(run, source, Budget(steps=4))
        return
    real, last = run.advance, run.step + steps

    def advance(batch):  # type: ignore[no-untyped-def]
        real(batch)
        if run.step == last:
            run.stop = "interrupted"

    run.advance = advance  # type: ignore[method-assign]
    fit(run, source, Budget(steps=4))


def test_what_cannot_grow_or_cannot_follow_is_refused() -> None:
    with pytest.raises(SondeError, match="no net that grows"):
        Run(ClassifyTasks(mlp(4, 3), 3), [GrowColumns(), sgd(0.1)])
    with pytest.raises(Refused, match="EMA keeps the weights"):
        Run(ClassifyTasks(ProgressiveMLP((4,), 3), 3), [GrowColumns(), EMA(), sgd(0.1)])


def test_a_row_of_a_task_without_a_head_is_refused() -> None:
    run = start()
    with pytest.raises(SondeError, match="a row is of task 1, and the net has 1 heads"):
        fit(run, stages()[1], Budget(steps=1))
