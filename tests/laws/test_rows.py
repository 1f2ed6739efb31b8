"""Law: what is said to depend on one row depends on one row. A row is changed, and the others must not notice.

Private training, fairness and weights of rows rest on it: a term of kind `example` that reads other rows is a wrong
result without a message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sonde import matrix
from sonde.core import Batch, Budget, Loss, Method, Objective, Run, SondeError, fit
from sonde.losses import Heat
from sonde.names import catalogue
from sonde.objectives import (
    GAN,
    Classify,
    ClassifyTasks,
    Contrast,
    Debias,
    Forecast,
    Multilabel,
    MultiTask,
    Pairs,
    Physics,
    PredictNext,
    Regress,
    Transcribe,
    Triplet,
    UncertaintyWeighted,
)
from tests.laws.examples import on_trial
from tests.support import mlp

N, C = 8, 3
TRIALS, METHODS = matrix.trials(), matrix.methods()


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CLASS, BIT = torch.arange(N) % C, torch.arange(N) % 2
TRIPLET = {"positive": numbers(N, 4, seed=2), "negative": numbers(N, 4, seed=3)}


def several() -> MultiTask:
    return MultiTask(mlp(4, 8), {"kind": Classify(nn.Linear(8, C)), "size": Regress(nn.Linear(8, 1))})


def spelling() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 24), nn.Unflatten(1, (6, 4)))


# Each objective of the package, and rows for it: y and fields.
OBJECTIVES: dict[type[Objective], tuple[Callable[[], Objective], Tensor | None, dict[str, Tensor]]] = {
    Classify: (lambda: Classify(mlp(4, 8, C)), CLASS, {"weight": torch.rand(N)}),
    ClassifyTasks: (lambda: ClassifyTasks(mlp(4, 8, 2 * C), C), CLASS, {"task": BIT}),
    Contrast: (lambda: Contrast(mlp(4, 8), nn.Linear(8, 4)), None, {"view": numbers(N, 4, seed=2)}),
    Debias: (lambda: Debias(Classify(mlp(4, 8, C))), CLASS, {"group": BIT}),
    Forecast: (lambda: Forecast(nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1)))), numbers(N, 3, 1), {}),
    GAN: (lambda: GAN(mlp(3, 8, 4), mlp(4, 8, 1), latent=3), None, {}),
    Multilabel: (lambda: Multilabel(mlp(4, 8, C)), (numbers(N, C) > 0).float(), {}),
    MultiTask: (lambda: several(), None, {"kind": CLASS, "size": numbers(N, 1)}),
    Pairs: (lambda: Pairs(mlp(4, 8, 2)), BIT.float(), {"other": numbers(N, 4, seed=2)}),
    Physics: (lambda: Physics(mlp(4, 8, 1), Heat()), numbers(N, 1), {}),
    PredictNext: (lambda: PredictNext(spelling()), torch.stack([CLASS, BIT, CLASS, BIT, CLASS, BIT - 1], 1), {}),
    Regress: (lambda: Regress(mlp(4, 8, 2), targets=2), numbers(N, 2), {"weight": torch.rand(N)}),
    Transcribe: (lambda: Transcribe(spelling()), torch.stack([1 + BIT, 2 - BIT], 1), {}),
    Triplet: (lambda: Triplet(mlp(4, 8, 2)), None, TRIPLET),
    UncertaintyWeighted: (
        lambda: UncertaintyWeighted(several(), ("kind.task", "size.task")),
        None,
        {"kind": CLASS, "size": numbers(N, 1)},
    ),
}


def other(value: Tensor | None, most: int) -> Tensor | None:
    """The same rows, the first of them changed."""
    if value is None:
        return None
    first = 1 - value[:1] if value.is_floating_point() else (value[:1] + 1) % most
    return torch.cat([first, value[1:]])


def perturbed(batch: Batch) -> Batch:
    fields = {k: other(v, 2) for k, v in batch.fields.items()}
    return replace(batch, x=other(batch.x, 0), y=other(batch.y, C), fields=fields)


def noticed(a: Loss, b: Loss) -> list[str]:
    """The `example` terms of which a row but the first differs."""
    wrong = []
    for name, term in a.terms.items():
        if term.kind == "example":
            one, two = ((t.weight * t.value)[1:] for t in (term, b.terms[name]))
            if not torch.equal(one, two):
                wrong.append(name)
    return wrong


def test_every_objective_is_here() -> None:
    assert set(OBJECTIVES) == {e.make for e in catalogue("objectives")}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("kind", OBJECTIVES, ids=lambda kind: kind.__name__)
def test_an_objectives_example_terms_read_their_own_row(kind: type[Objective], training: bool) -> None:
    build, y, fields = OBJECTIVES[kind]
    objective, batch = build().train(training), Batch(numbers(N, 4), y, torch.arange(N), fields)
    for turn in objective.players():
        losses = []
        for rows in (batch, perturbed(batch)):
            torch.manual_seed(3)
            losses.append(objective(turn, rows))
        assert not noticed(*losses), turn
        examples = [k for k, t in losses[0].terms.items() if t.kind == "example"]
        assert all((losses[0].terms[k].value[0] != losses[1].terms[k].value[0]) for k in examples if k != "fake")


def prepared(kind: type[Method], name: str, folder: Path) -> tuple[Run, Method, Batch]:
    """A run in its second stage, in which the method takes part (a memory is filled, an anchor is set)."""
    trial = TRIALS[name]
    run = matrix.assemble([kind], trial, on_trial, folder)
    try:
        fit(run, trial.source(), Budget(steps=3))
    except SondeError:
        pytest.skip("refused on this objective")
    run.objective.train()
    method = next(m for m in run.methods if type(m) is kind)
    return run, method, trial.data.batch(torch.arange(N))


def having(*hooks: str) -> list[type[Method]]:
    return [kind for kind in METHODS if any(getattr(kind, hook) is not getattr(Method, hook) for hook in hooks)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", TRIALS)
@pytest.mark.parametrize("kind", having("loss"), ids=lambda kind: kind.__name__)
def test_the_example_terms_a_method_adds_or_changes_read_their_own_row(
    kind: type[Method], name: str, training: bool, tmp_path: Path
) -> None:
    try:
        run, method, batch = prepared(kind, name, tmp_path)
    except SondeError:
        pytest.skip("refused on this objective")
    run.objective.train(training)
    rows = method.batch(run, batch)
    for turn in run.objective.players():
        losses = []
        for b in (rows, perturbed(rows)):
            torch.manual_seed(3)
            losses.append(run.loss(turn, run.params(turn), b))
        assert not noticed(*losses), turn


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TRIALS)
@pytest.mark.parametrize("kind", having("batch"), ids=lambda kind: kind.__name__)
def test_rows_that_keep_their_records_are_changed_by_themselves(kind: type[Method], name: str, tmp_path: Path) -> None:
    try:
        run, method, batch = prepared(kind, name, tmp_path)
    except SondeError:
        pytest.skip("refused on this objective")
    outs = []
    for rows in (batch, perturbed(batch)):
        torch.manual_seed(3)
        outs.append(method.batch(run, rows))
    first, second = (out.rows() for out in outs)
    if outs[0].records is not None:
        assert torch.equal(outs[0].records[:N], batch.records)  # others may follow, from a memory
        assert all(torch.equal(v[1:N], second[k][1:N]) for k, v in first.items())
