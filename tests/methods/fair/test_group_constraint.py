"""The constraint: rates of groups come within the bound, at the price that the bound asks for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Backprop, Batch, Budget, Loss, Run, SondeError, Stepped, Term, fit
from sonde.data.rows import Rows
from sonde.fairness import demographic_parity_difference, equal_opportunity_difference, equalised_odds_difference
from sonde.methods import GroupConstraint, LabelSmoothing, MixUp, adam, sgd
from sonde.objectives import Classify, Debias, Regress
from sonde.optim.schedules import Cosine
from tests.support import mlp

MEASURES = {
    "demographic_parity": demographic_parity_difference,
    "equal_opportunity": equal_opportunity_difference,
    "equalised_odds": equalised_odds_difference,
}


def people(n: int = 3000, groups: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features that tell the label, less of group 0's, and the group itself."""
    g = torch.Generator().manual_seed(seed)
    group = torch.randint(groups, (n,), generator=g)
    y = (torch.rand(n, generator=g) < 0.3 + 0.2 * group).long()
    signal = (2 * y - 1)[:, None] * (0.5 + 0.2 * group[:, None])
    return torch.cat([signal + torch.randn(n, 2, generator=g), group[:, None].float()], 1), y, group


def decisions(*methods: Any, groups: int = 2, steps: int = 600) -> tuple[Tensor, Tensor, Tensor]:
    x, y, group = people(groups=groups)
    torch.manual_seed(0)
    run = Run(Classify(mlp(3, 16, 2)), [*methods, adam(0.01, schedule=Cosine())])
    fit(run, Rows(x, y, 100, fields={"sex": group}), Budget(steps=steps))
    with run.evaluating() as objective:
        return y, objective.predict(x).argmax(1), group  # type: ignore[operator]


@pytest.mark.parametrize(
    ("constraint", "groups"), [("demographic_parity", 3), ("equal_opportunity", 2), ("equalised_odds", 2)]
)
def test_the_difference_comes_near_the_bound(constraint: Any, groups: int) -> None:
    measure = MEASURES[constraint]
    free = decisions(groups=groups)
    held = decisions(GroupConstraint("sex", constraint, bound=0.02), groups=groups)
    before, after = measure(*free), measure(*held)
    assert before > 0.13
    assert after < 0.02 + 0.05  # the last model swings about the bound by the error of a window's rates
    right = [(y == d).float().mean().item() for y, d, _ in (free, held)]
    assert right[0] - right[1] < 0.08


def test_a_loose_bound_changes_nothing() -> None:
    free, held = decisions(steps=100), decisions(GroupConstraint("sex", bound=0.99), steps=100)
    assert torch.equal(free[1], held[1])


def test_the_multipliers_follow_the_rule_by_hand() -> None:
    """Two groups of four rows with true positive rates 1/2 and 1; eta 0.1, bound 0.2, rho 0.5."""
    method = GroupConstraint("sex", bound=0.2, rate=0.1, damping=0.5, window=1, minimum=1)
    run = Run(Classify(mlp(1, 2)), [method, sgd(0.1)])
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]).requires_grad_()
    batch = Batch(torch.zeros(4, 1), torch.ones(4, dtype=torch.int64), None, {"sex": torch.tensor([0, 0, 1, 1])})
    loss = Loss({"task": Term(torch.zeros(4))}, {"logits": logits})
    method.on(run, Stepped(batch, {"model": loss.detach()}))
    # r = 1/2 and 1, their mean 3/4; c+ = -.35, .15; c- = .15, -.35
    torch.testing.assert_close(method.multipliers[:, :, 0], torch.tensor([[0.0, 0.015], [0.015, 0.0]]).double())
    run.step = 1
    at: Any = type("At", (), {"turn": "model", "batch": batch, "run": run, "record": True})
    term = method.loss(at, loss).terms["group_constraint"]
    p = logits.softmax(1)[:, 1]
    expected = 0.5 * (0.015 + 0.5 * 0.15) * (p[2:].mean() - p[:2].mean())  # either group has half of the rows
    torch.testing.assert_close(term.value, expected)
    assert term.kind == "batch"


def test_rare_groups_are_left_out_and_named() -> None:
    x, y, group = people()
    group[:6] = 2
    method = GroupConstraint("sex", "equalised_odds")
    with pytest.warns(UserWarning, match="groups of 'sex' with too few rows were left out: 2"):
        run = Run(Classify(mlp(3, 16, 2)), [method, adam(0.01)])
        fit(run, Rows(x, y, 100, fields={"sex": group}), Budget(steps=60))
    assert (method.multipliers[:, 2] == 0).all() and method.multipliers[:, :2].sum() > 0


def test_rows_without_a_group_have_no_part() -> None:
    x, y, group = people(200)
    run = Run(Classify(mlp(3, 2)), [method := GroupConstraint("sex", minimum=1), sgd(0.1)])
    fit(run, Rows(x, y, 50, fields={"sex": torch.full_like(group, -1)}), Budget(steps=3))
    assert method.rows.sum() == 0
    fit(run, Rows(x, y, 50, fields={"sex": torch.where(group == 0, -1, 1)}), Budget(steps=3))
    assert (method.multipliers == 0).all()  # one group alone differs from nobody


def test_it_goes_with_soft_labels_ensembles_and_an_adversary() -> None:
    class Members(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(3, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).unflatten(1, (4, 2))  # (N, M, C)

    x, y, group = people(400)
    source = Rows(x, y, 50, fields={"sex": group})
    for objective in (Classify(Members()), Debias(Classify(mlp(3, 2)), group="sex")):
        mixing = [] if isinstance(objective, Debias) else [MixUp(2), LabelSmoothing()]
        run = Run(objective, [*mixing, method := GroupConstraint("sex", minimum=5), sgd(0.1)])
        fit(run, source, Budget(steps=20))
        assert method.multipliers.sum() > 0


def test_what_it_cannot_hold_is_refused_in_words() -> None:
    x, y, group = people(200)
    source = Rows(x, y, 50, fields={"sex": group})
    with pytest.raises(SondeError, match="microbatches cannot give the terms"):
        fit(Run(Classify(mlp(3, 2)), [GroupConstraint("sex"), Backprop(microbatch=10), sgd(0.1)]), source, Budget(1))
    with pytest.raises(SondeError, match="asks for the groups 'race'"):
        fit(Run(Classify(mlp(3, 2)), [GroupConstraint("race"), sgd(0.1)]), source, Budget(1))
    with pytest.raises(SondeError, match="there is no class 5"):
        fit(Run(Classify(mlp(3, 2)), [GroupConstraint("sex", favourable=5), sgd(0.1)]), source, Budget(1))
    regress = Rows(x, x[:, :1], 50, fields={"sex": group})
    with pytest.raises(SondeError, match="this objective has no classes"):
        fit(Run(Regress(mlp(3, 1)), [GroupConstraint("sex"), sgd(0.1)]), regress, Budget(1))
    for make in (
        lambda: GroupConstraint(constraint="parity"),  # type: ignore[arg-type]
        lambda: GroupConstraint(bound=-0.1),
        lambda: GroupConstraint(rate=-1.0),
        lambda: GroupConstraint(window=0),
    ):
        with pytest.raises(SondeError):
            make()
