"""1989 again: the pictures, their order, the error of then, and checks that can fail."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from sonde.core import Budget, Stage
from sonde.data import Dataset
from sonde.data.images import ImageSchema, image_dataset
from sonde.data.targets import Target
from sonde.experiment import Check, Figure, Lab, Table
from sonde.recipes.lecun_1989 import (
    ErrorByPass,
    InOrder,
    SignedError,
    Trained,
    as_in_1989,
    as_today,
    findings,
    lecun_1989,
    trained,
    zip_codes,
)


def pictures(rows: int = 120) -> Dataset:
    """Pictures of 16 x 16 with a bright bar where their class says."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(rows) % 10
    x = 0.2 * torch.rand(rows, 1, 16, 16, generator=generator)
    for i, c in enumerate(y.tolist()):
        top, left = 3 * (c % 5), 8 * (c // 5)
        x[i, 0, top + 1 : top + 3, left + 1 : left + 7] += 0.8  # told apart even when moved by a pixel
    schema = ImageSchema(1, (16, 16), Target("classification", ("class",), tuple("0123456789")))
    return image_dataset(x.numpy(), y.numpy(), schema, name="bars", names=[f"bar {i}" for i in range(rows)])


def test_the_error_of_then_is_that_of_signed_targets() -> None:
    output, y = torch.tensor([[0.5, -1.0, 1.0]]), torch.tensor([2])
    assert SignedError()(output, y).tolist() == pytest.approx([(1.5**2 + 0 + 0) / 3])


def test_pictures_come_in_the_same_order_every_pass_and_after_a_pause() -> None:
    data = pictures(40)
    source = InOrder(data, batch_size=1)
    per_pass = source.steps_per_epoch
    records = [int(b.records[0]) for b in islice(source.batches(None), 2 * per_pass)]
    assert records[:per_pass] == records[per_pass:] == data.splits["train"].tolist()
    again = next(source.batches(None, start=per_pass + 3))
    assert again.records.tolist() == [records[3]]


@pytest.mark.parametrize("changes", [0, 1, 2, 3])
def test_every_recipe_learns_bars(changes: int) -> None:
    data = pictures(60)
    passes = 4 if changes == 0 else 15
    made = as_in_1989(passes=passes) if changes == 0 else as_today(passes=passes, changes=changes, batch_size=8)
    before = trained(made.changed(stages=(replace(made.stages[0], budget=Budget(steps=1)),)), data, "train")
    after = trained(made, data, "train")
    assert after.wrong < 0.5 * before.wrong and after.seconds > 0
    assert len(after.course) == passes


def test_the_first_recipe_is_plain_gradient_descent_on_single_pictures() -> None:
    data = pictures(30)
    made = as_in_1989(passes=1, seed=3)
    run = made.start(data)
    net = run.objective.get_submodule("net")
    start = {k: v.clone() for k, v in net.state_dict().items()}
    made.train(run, data)
    twin = type(net)()
    twin.load_state_dict(start)
    for i in data.splits["train"]:
        batch = data.batch(i[None])
        target = torch.full((1, 10), -1.0)
        target[0, int(batch.y)] = 1.0
        twin.zero_grad()
        (twin(batch.x) - target).square().mean().backward()
        with torch.no_grad():
            for p in twin.parameters():
                p -= 0.03 * p.grad  # type: ignore[operator]
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def good() -> tuple[Trained, dict[int, list[Trained]]]:
    course = [0.2, 0.05]
    return Trained(82, 60.0, course), {c: [Trained(40 + k, 9.0, course) for k in range(3)] for c in (1, 2, 3)}


def held(then: Trained, today: dict[int, list[Trained]]) -> list[bool]:
    return [f.holds for f in islice(findings(then, today, rows=2007), 5) if isinstance(f, Check)]


def test_the_checks_hold_what_was_published_and_can_fail() -> None:
    then, today = good()
    assert held(then, today) == [True, True, True, True]
    assert held(replace(then, wrong=120), today) == [True, False, True, True]  # 6 %
    assert held(then, {**today, 3: [replace(t, wrong=80 + 8 * k) for k, t in enumerate(today[3])]})[2] is False
    assert held(then, {**today, 3: [replace(t, seconds=91.0) for t in today[3]]})[3] is False


def test_findings_are_drawn_and_tabled() -> None:
    then, today = good()
    made = list(findings(then, {**today, 1: today[1][:1]}, rows=2007))
    assert [f.name for f in made if isinstance(f, Figure)] == ["lecun-1989-passes"]
    (table,) = [f for f in made if isinstance(f, Table)]
    assert [row[1] for row in table.rows] == [1, 1, 3, 3]


@pytest.mark.mirror
def test_the_construction_is_the_re_runs() -> None:
    import numpy as np
    import torch.nn.functional as F  # noqa: N812

    from sonde.data import load

    data, mnist = zip_codes(), load("mnist")
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 7291, "val": 2007, "test": 2007}
    draw = np.random.RandomState(1337)
    first, second = draw.permutation(60_000)[0], draw.permutation(10_000)[0]
    assert isinstance(mnist.x, torch.Tensor)
    for ours, theirs in ((data.splits["train"][0], first), (data.splits["test"][0], 60_000 + second)):
        image = mnist.x[int(theirs)][None].float() / 127.5 - 1
        expected = F.interpolate(image, (16, 16), mode="bilinear")
        torch.testing.assert_close(2 * data.batch(ours[None]).x - 1, expected, rtol=1e-5, atol=1e-5)
        assert data.y[ours] == mnist.y[int(theirs)]


def test_the_experiment_goes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sonde.recipes import lecun_1989 as module  # the name in the package is the module's

    monkeypatch.setattr(module, "zip_codes", lambda: pictures(60))
    monkeypatch.setattr(module, "SEEDS", {1: 1, 3: 2})
    short = Stage(source=as_today().stages[0].source, budget=Budget(epochs=2))
    for name, make in (("as_in_1989", as_in_1989), ("as_today", as_today)):
        monkeypatch.setattr(module, name, lambda *a, make=make, **k: make(*a, **k).changed(stages=(short,)))
    found = list(lecun_1989.run(Lab(tmp_path)))
    assert [f.name for f in found if isinstance(f, Figure)] == ["lecun-1989-passes", "lecun-1989-maps"]


def test_errors_are_kept_pass_by_pass() -> None:
    data = pictures(60)
    watch = ErrorByPass(data, "test")
    made = as_today(passes=3)
    made.train(made.start(data, (watch,)), data)
    assert len(watch.errors) == 3 and all(0 <= e <= 1 for e in watch.errors)
