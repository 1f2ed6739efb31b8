"""XOR: nets side by side learn as each alone, one hidden unit cannot, several can."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch

from sonde.core import Recipe
from sonde.experiment import Check, Figure, Table
from sonde.recipes.xor import NEAR, Nets, Outcome, X, Y, findings, furthest, outcome, recipe, surface


def outcomes(passes: int = 400, nets: int = 40) -> list[Outcome]:
    return [outcome(hidden, nets, passes) for hidden in (1, 2, 6)]


@pytest.fixture(scope="module")
def found() -> list[Outcome]:
    return outcomes()


def test_nets_side_by_side_learn_as_each_alone_by_the_papers_rule() -> None:
    made: Recipe = recipe(hidden=3, nets=4, passes=20, rate=0.25)
    run = made.start()
    net = run.objective.get_submodule("net")
    assert isinstance(net, Nets)
    w1, b1, w2, b2 = (p.detach().clone()[2] for p in (net.w1, net.b1, net.w2, net.b2))
    made.train(run)
    x, y = torch.tensor(X), torch.tensor(Y)[:, None]
    parameters = [p.requires_grad_() for p in (w1, b1, w2, b2)]
    velocity = [torch.zeros_like(p) for p in parameters]
    for _ in range(20):
        answers = torch.sigmoid(torch.sigmoid(x @ w1 + b1) @ w2 + b2)
        grads = torch.autograd.grad(((answers - y) ** 2).sum() / 2, parameters)  # E of the paper
        with torch.no_grad():
            for p, v, g in zip(parameters, velocity, grads, strict=True):
                v.mul_(0.9).add_(g)
                p.sub_(0.25 * v)
    torch.testing.assert_close(net.w1[2], w1, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.w2[2], w2, rtol=1e-4, atol=1e-5)


def test_one_hidden_unit_never_solves_xor_and_more_do(found: list[Outcome]) -> None:
    one, two, six = found
    assert not one.solved.any()
    assert two.solved.any() and six.solved.float().mean() > two.solved.float().mean()
    assert list(six.course) == sorted(six.course)


def test_a_solved_net_answers_every_row(found: list[Outcome]) -> None:
    six = found[-1]
    run, net = six.run, int(six.solved.nonzero()[0])
    assert furthest(run)[net] < NEAR
    along, answers = surface(run, net, points=5)  # -0.5, 0, 0.5, 1, 1.5
    corners = [answers[1 + 2 * int(b), 1 + 2 * int(a)] for a, b in X]
    assert [round(float(c)) for c in corners] == list(map(int, Y)) and along[1] == 0


def test_the_checks_can_fail(found: list[Outcome]) -> None:
    def held(of: list[Outcome]) -> list[bool]:
        return [f.holds for f in islice(findings(of), 5) if isinstance(f, Check)]

    one, two, six = found
    assert held(found)[0]
    assert not held([replace(one, solved=two.solved), two, six])[0]  # one unit that solves it
    assert not held([one, replace(two, solved=torch.zeros(40, dtype=torch.bool)), six])[1]  # two that never do
    assert not held([one, two, replace(six, solved=two.solved)])[3]  # many that sometimes do not


def test_findings_are_drawn(found: list[Outcome]) -> None:
    made = list(findings(found))
    assert [f.name for f in made if isinstance(f, Figure)] == ["xor-passes", "xor-surface"]
    (table,) = [f for f in made if isinstance(f, Table)]
    assert [row[0] for row in table.rows] == [1, 2, 6]
