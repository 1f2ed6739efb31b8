"""What watches a run: validation, the metrics log, checkpoints."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Event, Finished, Measured, Method, Run, SondeError, Stepped, fit, read_state
from sonde.data.rows import Rows
from sonde.methods import EMA, Backprop, Checkpoint, MetricsLog, Validate, sgd
from sonde.objectives import Classify
from tests.support import GAN, Call, Halves, Watch, blobs, gan_rows, mlp, trained, weights


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def interrupt(run: Run) -> None:
    run.stop = "interrupted"


# ---------------------------------------------------------------- validation
def test_what_is_measured_is_the_mean_over_the_split_with_the_shipped_weights() -> None:
    data, watch = Halves(), Watch()
    run = trained(Validate(data, rows_at_once=7), watch, EMA(0.9), net=mlp(4, 8, 3, between=nn.BatchNorm1d), steps=4)
    measured = watch.of(Measured)[-1]
    assert isinstance(measured, Measured) and measured.split == "val"
    batch = data.batch(data.splits["val"])
    with run.evaluating() as objective:
        loss = objective("model", batch)
    right = loss.out["logits"].argmax(1) == batch.y
    assert measured.values["accuracy"] == pytest.approx(right.double().mean().item())
    assert measured.values["loss"] == pytest.approx(loss.total().item(), rel=1e-6)


@pytest.mark.parametrize("every, steps, measured", [(1, 12, [4, 8, 12]), (2, 12, [8, 12]), (2, 8, [8]), (9, 6, [6])])
def test_every_so_many_epochs_and_the_end_are_measured_once(every: int, steps: int, measured: list[int]) -> None:
    at: list[int] = []

    class Note(Method):
        def on(self, run: Run, event: Event) -> None:
            if isinstance(event, Measured):
                at.append(run.step)

    trained(Validate(Halves(), every_epochs=every), Note(), steps=steps)
    assert at == measured


def test_a_split_that_is_absent_or_empty_is_refused() -> None:
    data = Halves()
    with pytest.raises(ValueError, match="has the splits train, val; got 'test'"):
        Validate(data, split="test")
    data.splits["val"] = torch.arange(0)
    with pytest.raises(ValueError, match="'val' holds no rows"):
        Validate(data)


# ---------------------------------------------------------------- the log
def test_training_loss_is_averaged_over_the_epoch_and_metrics_stand_beside_it(tmp_path: Path) -> None:
    path, watch = tmp_path / "metrics.jsonl", Watch()
    trained(watch, MetricsLog(path), Validate(Halves()), steps=6)
    found = lines(path)
    assert [(e["step"], e["epoch"], e["split"], e["stage"]) for e in found] == [
        (4, 1.0, "train", 0),
        (4, 1.0, "val", 0),
        (6, 1.5, "train", 0),
        (6, 1.5, "val", 0),
    ]
    losses = [e.losses["model"].total().item() for e in watch.of(Stepped)]  # type: ignore[attr-defined]
    assert found[0]["values"]["loss"] == pytest.approx(sum(losses[:4]) / 4, rel=1e-6)
    assert found[2]["values"]["loss"] == pytest.approx(sum(losses[4:]) / 2, rel=1e-6)
    assert set(found[1]["values"]) == {"loss", "accuracy", "nll"}


def test_the_log_can_be_kept_by_steps(tmp_path: Path) -> None:
    trained(MetricsLog(tmp_path / "m", every_steps=2), steps=5)
    assert [e["step"] for e in lines(tmp_path / "m")] == [2, 4, 5]


def test_microbatches_do_not_change_what_is_logged(tmp_path: Path) -> None:
    for name, micro in (("a", 0), ("b", 5)):
        torch.manual_seed(0)
        trained(MetricsLog(tmp_path / name), Backprop(micro), steps=4)
    (a,), (b,) = lines(tmp_path / "a"), lines(tmp_path / "b")
    assert a["values"]["loss"] == pytest.approx(b["values"]["loss"], rel=1e-5)


def test_players_that_move_in_some_steps_only_are_averaged_over_those(tmp_path: Path) -> None:
    watch = Watch()
    fit(Run(GAN(every=2), [watch, MetricsLog(tmp_path / "m"), sgd(0.1)]), gan_rows(), Budget(steps=4))
    (entry,) = lines(tmp_path / "m")
    turns: dict[str, list[float]] = {}
    for event in watch.of(Stepped):
        for turn, loss in event.losses.items():  # type: ignore[attr-defined]
            turns.setdefault(f"loss/{turn}", []).append(loss.total().item())
    assert entry["values"] == pytest.approx({k: sum(v) / len(v) for k, v in turns.items()}, rel=1e-6)


def test_equal_runs_leave_equal_logs(tmp_path: Path) -> None:
    for name in "ab":
        torch.manual_seed(0)
        trained(MetricsLog(tmp_path / name), Validate(Halves()))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "number, words",
    [(errno.ENOSPC, "no space left on the disk"), (errno.EROFS, "cannot be written"), (errno.EIO, "error")],
)
def test_a_log_that_cannot_be_written_gives_the_documented_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def full(*given: Any, **more: Any) -> Any:
        raise OSError(number, "an error", str(tmp_path / "m"))

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(SondeError, match=words) as caught:
        trained(MetricsLog(tmp_path / "m"), steps=4)
    assert "\n" not in caught.value.cause and "what was saved before is intact" in caught.value.cause


# ---------------------------------------------------------------- checkpoints
def steps_saved(folder: Path, *methods: Method, steps: int = 10, **settings: Any) -> list[int]:
    found: list[int] = []

    class Note(Checkpoint):
        def save(self, run: Run, name: str) -> None:
            super().save(run, name)
            found.append(run.step)

    trained(*methods, Note(folder, **settings), steps=steps)
    return found


def test_the_end_of_a_stage_is_saved(tmp_path: Path) -> None:
    assert steps_saved(tmp_path) == [10]
    assert read_state(tmp_path / "last")[1] == {"step": 10, "stage": 1, "done": 0}


def test_saves_come_every_so_many_steps(tmp_path: Path) -> None:
    assert steps_saved(tmp_path, every_steps=4) == [4, 8, 10]


def test_saves_come_every_so_many_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    class Clock(Method):
        def on(self, run: Run, event: Event) -> None:
            if isinstance(event, Stepped):
                now[0] += 1.0

    assert steps_saved(tmp_path, Clock(), every_seconds=3.0) == [3, 6, 9, 10]


def test_an_interrupt_is_saved_with_its_stage_open(tmp_path: Path) -> None:
    assert steps_saved(tmp_path, Call(Stepped, 3, interrupt)) == [3]
    assert read_state(tmp_path / "last")[1] == {"step": 3, "stage": 0, "done": 3}


class Script(Method):
    measures = True

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def on(self, run: Run, event: Event) -> None:
        if isinstance(event, Stepped):
            run.emit(Measured("val", {"score": self.values[run.step - 1]}))


@pytest.mark.parametrize(
    "values, lower, best",
    [
        ([3.0, 1.0, 2.0], True, 2),
        ([3.0, 1.0, 4.0, 4.0], False, 3),
        ([math.nan, 2.0, 3.0], True, 2),
        ([2.0, math.nan, 3.0], True, 1),
    ],
    ids=repr,
)
def test_the_best_is_kept_beside_the_last(tmp_path: Path, values: list[float], lower: bool, best: int) -> None:
    trained(Script(values), Checkpoint(tmp_path, metric="score", lower=lower), steps=len(values))
    assert read_state(tmp_path / "best")[1] == {"step": best, "stage": 0, "done": best, "score": values[best - 1]}
    assert read_state(tmp_path / "last")[1]["step"] == len(values)


def test_a_best_of_what_nobody_measures_is_refused_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(SondeError, match=r"keeps the best 'scor', which validation does not measure\n.*score"):
        trained(Script([1.0] * 10), Checkpoint(tmp_path, metric="scor"))


def test_without_a_metric_there_is_no_best(tmp_path: Path) -> None:
    trained(Script([1.0] * 10), Checkpoint(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last"]


class Masked(nn.Linear):
    """Holds a mask whose infinities are meant."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.register_buffer("mask", torch.tensor([0.0, 0.0, -math.inf, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.mask.exp())


def test_a_buffer_that_is_meant_to_be_infinite_is_saved_like_any_other(tmp_path: Path) -> None:
    trained(Checkpoint(tmp_path), net=Masked())
    assert (tmp_path / "last").exists() and not (tmp_path / "failed").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_never_replace_good_ones(tmp_path: Path, value: float) -> None:
    def spoil(run: Run) -> None:
        with torch.no_grad():
            next(run.objective.parameters()).fill_(value)

    trained(Call(Finished, 1, spoil), Checkpoint(tmp_path, every_steps=5), steps=9)
    assert read_state(tmp_path / "last")[1]["step"] == 5
    assert read_state(tmp_path / "failed")[1]["step"] == 9


def test_there_is_nothing_to_resume_before_the_first_save(tmp_path: Path) -> None:
    run = Run(Classify(mlp(4, 3)), [sgd(0.1)])
    assert Checkpoint(tmp_path).resume(run) is False and run.step == 0


def test_a_resumed_run_knows_the_best_of_the_one_before(tmp_path: Path) -> None:
    first = Checkpoint(tmp_path, metric="score", every_steps=1)
    trained(Script([1.0, 2.0, 3.0]), first, steps=3)
    again = Checkpoint(tmp_path, metric="score", every_steps=1)
    run = Run(Classify(mlp(4, 8, 3)), [Script([9.0] * 9), again, sgd(0.1)])
    assert again.resume(run)
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=2))
    assert again.best == -1.0 and read_state(tmp_path / "best")[1]["step"] == 1


def test_a_damaged_checkpoint_is_told_of_and_the_one_before_it_resumed(tmp_path: Path) -> None:
    saver = Checkpoint(tmp_path, every_steps=4)
    torch.manual_seed(0)
    whole = trained(saver, steps=8)  # the end of the stage is saved after step 8
    path = tmp_path / "last" / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    run = Run(Classify(mlp(4, 8, 3)), [saver, sgd(0.1)])
    with pytest.warns(UserWarning, match="last/tensors.safetensors is truncated or missing; using the one before it"):
        assert saver.resume(run)
    assert (run.step, run.done) == (8, 8)  # settled, but not yet finished
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=8))
    assert run.stage == 1 and torch.equal(weights(run.objective), weights(whole.objective))


def test_a_stage_that_a_method_had_stopped_is_not_gone_on_with_by_a_resumed_run(tmp_path: Path) -> None:
    saver = Checkpoint(tmp_path, every_steps=1)
    trained(Call(Stepped, 3, lambda run: setattr(run, "stop", "enough")), saver)
    os.replace(tmp_path / "last.previous", tmp_path / "last.kept")  # saved after step 3, before the stage was ended
    shutil.rmtree(tmp_path / "last")
    os.replace(tmp_path / "last.kept", tmp_path / "last")
    run = Run(Classify(mlp(4, 8, 3)), [Call(Stepped, 9, interrupt), saver, sgd(0.1)])
    assert saver.resume(run) and (run.step, run.stage, run.done) == (3, 0, 3)
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=10))
    assert (run.step, run.stage, run.stop) == (3, 1, "enough")


def test_what_is_observed_has_moved_to_the_runs_device() -> None:
    watch = Watch()
    trained(watch)
    batch = watch.of(Stepped)[0].batch  # type: ignore[attr-defined]
    assert isinstance(batch, Batch) and batch.x.device.type == "cpu"
