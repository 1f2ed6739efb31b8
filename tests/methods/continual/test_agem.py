"""A-GEM: the projection by hand, and when there is none."""

from __future__ import annotations

import torch

from sonde.core import Budget, fit
from sonde.methods import AGEM
from tests.methods.continual.stages import accuracy, experiences, learn, start


def ready(method: AGEM):  # type: ignore[no-untyped-def]
    """A run in its second stage, with this step's remembered rows drawn, and their gradient."""
    run = start(method)
    fit(run, experiences()[0], Budget(steps=6))
    run.stage, run.done = 1, 0
    method.batch(run, next(experiences()[1].batches(None)))
    rows = method._reference
    assert rows is not None
    loss = run.forward("model", run.params("model"), rows)
    return run, run.differentiate(loss.total(), run.params("model"))


def flat(grads: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([g.flatten().double() for g in grads.values()])


def test_a_gradient_that_opposes_the_memory_is_projected_as_in_equation_11() -> None:
    method = AGEM(capacity=20, rows=8)
    run, r = ready(method)
    g = {k: -2.0 * v + torch.randn_like(v) for k, v in r.items()}
    assert flat(g) @ flat(r) < 0
    found = flat(method.grads(run, "model", g))
    expected = flat(g) - (flat(g) @ flat(r)) / (flat(r) @ flat(r)) * flat(r)
    assert torch.allclose(found, expected, atol=1e-6)
    assert abs(found @ flat(r)) < 1e-5 * found.norm() * flat(r).norm()


def test_a_gradient_that_agrees_is_left_to_the_bit() -> None:
    method = AGEM(capacity=20, rows=8)
    run, r = ready(method)
    g = {k: v + 0.1 * torch.randn_like(v) for k, v in r.items()}
    assert flat(g) @ flat(r) > 0
    found = method.grads(run, "model", g)
    assert all(torch.equal(found[k], g[k]) for k in g)


def test_the_reference_is_of_earlier_stages_only() -> None:
    method = AGEM(capacity=1000, rows=64)
    run = learn(start(method))
    method.batch(run, next(experiences()[1].batches(None)))
    run.stage = 1
    method.batch(run, next(experiences()[1].batches(None)))
    rows, first = method._reference, experiences()[0]
    assert rows is not None and torch.equal(rows.x, first.whole.x[rows.records])


def test_it_remembers_what_plain_training_forgets() -> None:
    first, second = experiences(200)
    kept = [
        accuracy(learn(start(*methods), [first, second], steps=150), first.whole.x, first.whole.y)
        for methods in ([], [AGEM(60, 32)])
    ]
    assert kept[1] > kept[0] + 0.1
