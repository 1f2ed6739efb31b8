"""Adversarial debiasing: the gradient of equation 1, and groups that the adversary no longer tells apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor, nn

import sonde
import sonde.data
from sonde.core import Backprop, Batch, Budget, Build, Run, SondeError, fit
from sonde.data.rows import Rows
from sonde.fairness import demographic_parity_difference, equal_opportunity_difference, equalised_odds_difference
from sonde.methods import PGD, adam, sgd
from sonde.objectives import Classify, Debias, Regress
from sonde.recipes.defaults import for_data
from tests.methods.fair.test_group_constraint import people
from tests.support import mlp


def flat(grads: Any) -> Tensor:
    return torch.cat([g.flatten() for g in grads])


@pytest.mark.parametrize("constraint", ["demographic_parity", "equal_opportunity", "equalised_odds"])
def test_the_models_gradient_is_that_of_the_paper(constraint: Any) -> None:
    x, y, group = people(60)
    torch.manual_seed(1)
    objective = Debias(Classify(mlp(3, 5, 2)), group="sex", constraint=constraint, alpha=0.7).double()
    batch = Batch(x.double(), y, None, {"sex": group})
    run = Run(objective, [sgd(0.1)])
    found = flat(run.gradient("model", batch).values())
    net = objective.base.net
    params = list(net.parameters())
    task = nn.functional.cross_entropy(net(batch.x), y)
    guess = objective.adversary(net(batch.x).softmax(1)[:, 1], y.double())
    each = nn.functional.cross_entropy(guess, group, reduction="none")
    against = each[y == 1].mean() if constraint == "equal_opportunity" else each.mean()
    g, h = (flat(torch.autograd.grad(v, params, retain_graph=True)) for v in (task, against))
    torch.testing.assert_close(found, g - (g @ h) / (h @ h) * h - 0.7 * h, rtol=1e-5, atol=1e-7)
    assert abs((found + 0.7 * h) @ h) < 1e-6 * h.norm()  # what is left of the task's step does not help the adversary


def test_each_player_moves_alone() -> None:
    x, y, group = people(60)
    objective = Debias(Classify(mlp(3, 5, 2)), group="sex", adversary_turns=2)
    run = Run(objective, [sgd(0.1)])
    batch = Batch(x, y, None, {"sex": group})
    assert objective.turns(0) == ("model", "adversary", "adversary")
    assert all(k.startswith("base.") for k in run.gradient("model", batch))
    mine = run.gradient("adversary", batch)
    assert set(mine) == {"adversary.sharpness", "adversary.slope", "adversary.offset"}
    guess = objective.adversary(objective.predict(x)[:, 1], y.float())
    against = nn.functional.cross_entropy(guess, group)
    (expected,) = torch.autograd.grad(against, [objective.adversary.slope])
    torch.testing.assert_close(mine["adversary.slope"], expected)


def test_statistics_move_once_a_step() -> None:
    x, y, group = people(200)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    run = Run(Debias(Classify(net), group="sex", adversary_turns=3), [sgd(0.1)])
    fit(run, Rows(x, y, 50, fields={"sex": group}), Budget(steps=4))
    assert net[1].num_batches_tracked == 4


@pytest.mark.parametrize(
    ("constraint", "measure"),
    [
        ("demographic_parity", demographic_parity_difference),
        ("equal_opportunity", equal_opportunity_difference),
        ("equalised_odds", equalised_odds_difference),
    ],
)
def test_debiasing_brings_groups_together(constraint: Any, measure: Any) -> None:
    x, y, group = people()
    found = []
    for alpha in (None, 0.3):
        torch.manual_seed(0)
        base = Classify(mlp(3, 16, 2))
        objective = base if alpha is None else Debias(base, group="sex", constraint=constraint, alpha=alpha)
        run = Run(objective, [adam(0.01)])
        fit(run, Rows(x, y, 100, fields={"sex": group}), Budget(steps=600))
        with run.evaluating() as measured:
            found.append(measure(y, measured.predict(x).argmax(1), group))  # type: ignore[operator]
    assert found[0] > 0.1
    assert found[1] < found[0] / 2


def test_measured_or_attacked_it_is_its_base() -> None:
    x, y, group = people(60)
    objective = Debias(Classify(mlp(3, 2)), group="sex").eval()
    batch = Batch(x, y, torch.arange(60), {"sex": group})
    with torch.no_grad():
        assert set(objective("model", batch).terms) == {"task"}
        assert torch.equal(objective.predict(x), objective.base.predict(x))
    low, high = x.min().item(), x.max().item()
    run = Run(objective, [PGD(0.2, 0.1, 3, bounds=(low, high)), sgd(0.1)])
    fit(run, Rows(x, y, 20, fields={"sex": group}), Budget(steps=3))


def test_rows_without_a_group_have_no_part() -> None:
    x, y, group = people(60)
    objective = Debias(Classify(mlp(3, 2)), group="sex")
    group[:30] = -1
    loss = objective("adversary", Batch(x, y, None, {"sex": group}))
    assert (loss.terms["adversary"].weight[:30] == 0).all()  # type: ignore[index]
    loss = objective("model", Batch(x, y, None, {"sex": torch.full_like(group, -1)}))
    assert loss.total().isfinite()


def test_it_is_built_from_plain_data() -> None:
    base = Build(Classify, net=Build(nn.Identity))
    build = Build(Debias, base=base, groups=2, group="sex")
    assert build.to_data()["base"]["build"].endswith("Classify")
    assert isinstance(build(), Debias)


def test_what_it_cannot_debias_is_refused_in_words() -> None:
    x, y, group = people(60)
    with pytest.raises(SondeError, match="Debias asks for the groups 'race'"):
        Debias(Classify(mlp(3, 2)), group="race")("model", Batch(x, y, None, {"sex": group}))
    with pytest.raises(SondeError, match="has a group 4, but Debias was told of 2\n  say how many there are: groups=5"):
        Debias(Classify(mlp(3, 2)), group="sex")("model", Batch(x, y, None, {"sex": group + 3}))
    with pytest.raises(SondeError, match="its base has none"):
        Debias(Regress(mlp(3, 1)), group="sex")("model", Batch(x, x[:, :1], None, {"sex": group}))
    with pytest.raises(SondeError, match="cannot debias"):
        Debias(Classify(mlp(3, 2)), groups=1)
    with pytest.raises(SondeError, match="no constraint 'parity'"):
        Debias(Classify(mlp(3, 2)), constraint="parity")  # type: ignore[arg-type]
    run = Run(Debias(Classify(mlp(3, 2)), group="sex"), [Backprop(microbatch=10), sgd(0.1)])
    with pytest.raises(SondeError, match="microbatches cannot give the terms"):
        fit(run, Rows(x, y, 30, fields={"sex": group}), Budget(steps=1))


def test_the_main_job_trains_saves_and_loads_it(tmp_path: Path) -> None:
    x, y, group = people(200)
    columns = {"a": x[:, 0].tolist(), "b": x[:, 1].tolist(), "sex": [f"group {g}" for g in group.tolist()]}
    data = sonde.data.open(pl.DataFrame({**columns, "y": [f"class {c}" for c in y.tolist()]}), "y", sensitive="sex")
    recipe = for_data(data)
    debias = Build(Debias, base=recipe.objective, groups=2, group="sex")
    trained = sonde.train(
        data, recipe=recipe.changed(objective=debias), steps=4, output_dir=tmp_path, baselines=False, device="cpu"
    )
    bundle = sonde.load(trained.folder.path)
    rows = data.batch(torch.arange(5)).x
    assert isinstance(bundle.objective, Debias)
    assert torch.equal(bundle.raw(rows), trained.bundle.raw(rows))
