"""Learning without forgetting: the distillation by hand, and over which classes it runs."""

from __future__ import annotations

import pytest
import torch

from sonde.core import At, Budget, fit
from sonde.data.rows import Rows
from sonde.methods import EMA, LearningWithoutForgetting
from tests.methods.continual.stages import experiences, learn, start
from tests.support import blobs


def halves() -> list[Rows]:
    """Classes 0 and 1, then class 2."""
    x, y = blobs(90)
    return [Rows(x[y < 2], y[y < 2], 16), Rows(x[y == 2], y[y == 2], 16)]


def test_the_term_is_the_cross_entropy_of_softened_answers_over_the_old_classes() -> None:
    method = LearningWithoutForgetting(0.5, temperature=2.0)
    run = start(method)
    fit(run, halves()[0], Budget(steps=6))
    old = {k: v.clone() for k, v in run.objective.state_dict().items()}
    fit(run, halves()[1], Budget(steps=4))
    assert method.met == [0, 1] and method.meeting == [2]
    batch = next(halves()[1].batches(None))
    term = run.loss("model", run.params("model"), batch).terms["old answers"]
    assert term.kind == "example" and term.weight == 0.5
    z = run.objective.net(batch.x)[:, :2] / 2
    now = {k: v.clone() for k, v in run.objective.state_dict().items()}
    run.objective.load_state_dict(old)
    before = run.objective.net(batch.x)[:, :2].detach() / 2
    run.objective.load_state_dict(now)
    assert torch.allclose(term.value, -(before.softmax(1) * z.log_softmax(1)).sum(1), atol=1e-6)


def test_the_first_stage_has_nothing_to_distil() -> None:
    run = start(LearningWithoutForgetting())
    fit(run, halves()[0], Budget(steps=3))
    assert set(run.losses["model"].terms) == {"task"}


def test_old_answers_change_less_than_without_it() -> None:
    first, _ = experiences()
    drift = []
    for methods in ([], [LearningWithoutForgetting(3.0)]):
        run = start(*methods)
        fit(run, halves()[0], Budget(steps=60))
        before = run.objective.net(first.whole.x).detach()[:, :2].log_softmax(1)
        fit(run, halves()[1], Budget(steps=60))
        drift.append((run.objective.net(first.whole.x)[:, :2].log_softmax(1) - before).abs().mean().item())
    assert drift[1] < 0.5 * drift[0]


def test_the_old_model_is_not_trained_and_is_not_part_of_what_ships() -> None:
    method = LearningWithoutForgetting()
    run = learn(start(method, EMA()))
    assert all(not p.requires_grad for p in method._teacher.parameters())  # type: ignore[union-attr]
    assert set(run.weights()) == set(run.objective.state_dict())
    at = At(run, "model", next(experiences()[0].batches(None)), run.params("model"), False)
    method.loss(at, run.forward("model", at.params, at.batch)).total().backward()
    assert all(p.grad is None for p in method._teacher.parameters())  # type: ignore[union-attr]


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for wrong in ({"strength": -1.0}, {"temperature": 0.0}):
        with pytest.raises(ValueError):
            LearningWithoutForgetting(**wrong)
