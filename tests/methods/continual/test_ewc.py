"""EWC: the Fisher where it is known in closed form, the penalty by hand, and the sum of quadratics as one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sonde.core import At, Batch, Budget, Run, fit
from sonde.data.rows import Rows
from sonde.methods import EWC, sgd
from sonde.methods.continual import fisher as information
from sonde.objectives import Classify
from tests.methods.continual.stages import accuracy, experiences, learn, start
from tests.support import blobs, mlp


class Logistic(nn.Module):
    """p(1 | x) = sigmoid(w . x): logits (0, w . x)."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(len(w), 1, bias=False)
        self.linear.weight.data.copy_(w[None])

    def forward(self, x: Tensor) -> Tensor:
        z = self.linear(x)
        return torch.cat([torch.zeros_like(z), z], 1)


def data(n: int = 50) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    return torch.randn(n, 3, generator=g, dtype=torch.float64), torch.randint(2, (n,), generator=g)


def logistic() -> Run:
    w = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    return Run(Classify(Logistic(w).double()), [EWC(), sgd(0.1)])


@pytest.mark.parametrize("rows", [0, 20])
def test_the_fisher_of_logistic_regression_is_that_of_the_book(rows: int) -> None:
    run, (x, y) = logistic(), data()
    source, ewc = Rows(x, y, batch_size=7), run.methods[0]
    used = torch.cat([b.records for b, _ in zip(source.batches(None), range(8), strict=False)])[: rows or None]
    x, y = x[used], y[used]
    p = torch.sigmoid(x @ torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))
    true = information.diagonal(run, "model", source, ewc, "true", rows)["net.linear.weight"]
    assert torch.allclose(true, ((p * (1 - p))[:, None] * x.square()).mean(0), rtol=1e-6)  # p (1 - p) x^2
    empirical = information.diagonal(run, "model", source, ewc, "empirical", rows)["net.linear.weight"]
    assert torch.allclose(empirical, ((y - p).square()[:, None] * x.square()).mean(0), rtol=1e-6)
    assert not torch.allclose(empirical, ((y - p)[:, None] * x).mean(0).square())  # the square of a mean is no Fisher


def test_rows_of_one_record_are_added_before_they_are_squared() -> None:
    run, (x, y) = logistic(), data(6)

    class Pairs(Rows):
        def take(self, index: Tensor) -> Batch:
            batch = super().take(index)
            return Batch(batch.x, batch.y, batch.records // 2)

    found = information.diagonal(run, "model", Pairs(x, y, 6), run.methods[0], "empirical", 0)["net.linear.weight"]
    p = torch.sigmoid(x @ torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))
    each = (p - y)[:, None] * x
    assert torch.allclose(found, (each[0::2] + each[1::2]).square().mean(0), rtol=1e-6)


def test_the_true_fisher_of_a_net_is_the_expectation_over_its_own_labels() -> None:
    torch.manual_seed(0)
    run = Run(Classify(mlp(4, 5, 3)), [EWC(), sgd(0.1)])
    x, y = blobs(12)
    found = information.diagonal(run, "model", Rows(x, y, 5), run.methods[0], "true", 0)
    expected = {k: torch.zeros_like(p) for k, p in run.params("model").items()}
    for row in x:
        log_p = run.objective.net(row[None]).log_softmax(-1)[0]
        for c in range(3):
            grads = torch.autograd.grad(log_p[c], list(run.params("model").values()), retain_graph=True)
            for k, g in zip(expected, grads, strict=True):
                expected[k] += log_p[c].exp().detach() * g.square() / len(x)
    assert all(torch.allclose(found[k], expected[k], rtol=1e-4, atol=1e-8) for k in expected)


def penalty(run: Run) -> Tensor:
    at = At(run, "model", Batch(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64)), run.params("model"), False)
    ewc = next(m for m in run.methods if isinstance(m, EWC))
    term = ewc.loss(at, run.forward("model", at.params, at.batch)).terms["ewc"]
    assert term.kind == "penalty"
    return term.weight * term.value


@pytest.mark.parametrize("form", ["offline", "online"])
def test_the_penalty_is_the_papers(form: str) -> None:
    ewc = EWC(3.0, form=form, decay=1.0 if form == "offline" else 0.5, fisher="empirical")  # type: ignore[arg-type]
    run = start(ewc)
    past = []
    for source in [*experiences(), *experiences()[:1]]:
        fit(run, source, Budget(steps=4))
        found = information.diagonal(run, "model", source, ewc, "empirical", 0)
        past.append((found, {k: p.detach().clone() for k, p in run.params("model").items()}))
    with torch.no_grad():
        for p in run.params("model").values():
            p.add_(torch.randn_like(p))
    now = run.params("model")
    if form == "offline":  # eq. 3, a quadratic a stage
        expected = sum(1.5 * (f[k] * (now[k] - at[k]).square()).sum() for f, at in past for k in now)
    else:
        total = {k: 0.25 * past[0][0][k] + 0.5 * past[1][0][k] + past[2][0][k] for k in now}
        expected = sum(1.5 * (total[k] * (now[k] - past[2][1][k]).square()).sum() for k in now)
    assert torch.allclose(penalty(run), expected, rtol=1e-4)
    gradient = torch.autograd.grad(penalty(run), list(now.values()))
    by_hand = torch.autograd.grad(expected, list(now.values()))
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-7) for a, b in zip(gradient, by_hand, strict=True))


def test_it_remembers_what_plain_training_forgets() -> None:
    first, second = experiences(200)
    kept = []
    for methods in ([], [EWC(30.0)]):
        run = learn(start(*methods), [first, second], steps=150)
        kept.append((accuracy(run, first.whole.x, first.whole.y), accuracy(run, second.whole.x, second.whole.y)))
    assert kept[1][0] > kept[0][0] + 0.15 and kept[1][1] > 0.6


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for wrong in ({"strength": -1.0}, {"decay": 1.5}, {"form": "both"}, {"fisher": "exact"}, {"decay": 0.5}):
        with pytest.raises(ValueError):
            EWC(**wrong)  # type: ignore[arg-type]


def test_a_cap_bounds_the_pull_and_with_it_large_strengths_do_not_overshoot() -> None:
    ewc = EWC(1e6, fisher="empirical", cap=2.0)
    run = start(ewc)
    fit(run, experiences()[0], Budget(steps=6))
    with torch.no_grad():
        for p in run.params("model").values():
            p.add_(1.0)
    gradient = torch.autograd.grad(penalty(run), list(run.params("model").values()))
    largest = max(float(g.max()) for g in gradient)
    assert largest <= 2.0 * (1 + 1e-5) and largest == pytest.approx(2.0)  # cap times a distance of 1
    learn(start(EWC(1e6, cap=1.0)), steps=40)  # finite throughout: at rate 0.1 and momentum 0.9
