"""Several tasks on one trunk, and weights between them that are learned."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Run, SondeError, fit
from sonde.data.rows import Rows
from sonde.methods import Backprop, Validate, adam, sgd
from sonde.methods.observe.validate import mean_scores
from sonde.objectives import Classify, MultiTask, Regress, UncertaintyWeighted
from tests.support import GAN, blobs

TERMS = ("kind.task", "size.task")


def tasks() -> MultiTask:
    return MultiTask(
        nn.Sequential(nn.Linear(4, 16), nn.Tanh()),
        {"kind": Classify(nn.Linear(16, 3)), "size": Regress(nn.Linear(16, 1))},
    )


def rows(scale: float = 1.0) -> Rows:
    x, y = blobs()
    return Rows(x, None, batch_size=16, fields={"kind": y, "size": scale * x.sum(1, keepdim=True)})


def batch(scale: float = 1.0) -> Batch:
    return next(rows(scale).batches(None, 0))


def test_each_task_has_its_own_loss_on_the_same_features() -> None:
    objective, b = tasks(), batch()
    loss = objective("model", b)
    h = objective.trunk(b.x)
    for name, task in objective.tasks.items():
        alone = task("model", Batch(h, b.fields[name])).terms["task"].value
        assert torch.equal(loss.terms[f"{name}.task"].value, alone)
    torch.testing.assert_close(loss.total(), sum(t.value.mean() for t in loss.terms.values()))


def test_all_tasks_are_learned() -> None:
    run = fit(Run(tasks(), [adam(0.03)]), rows(), Budget(steps=300))
    with run.evaluating() as objective:
        scores = mean_scores(objective, [batch()])
        assert set(objective.predict(batch().x)) == {"kind", "size"}  # type: ignore[operator]
    assert scores["kind.accuracy"] > 0.95 and scores["size.mse"] < 0.1


class Constant(nn.Module):
    """Answers the same to everything."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, x: Tensor) -> Tensor:
        return self.value.expand(len(x), -1)


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_learned_variance_is_twice_the_loss(scale: float) -> None:
    """Kendall et al., eq. 7: of exp(-s) L + s / 2 the least is where exp(s) = 2 L, whatever the unit of L."""
    net = MultiTask(nn.Identity(), {"size": Regress(Constant(torch.zeros(1)))})
    objective = UncertaintyWeighted(net, ("size.task",))
    x, _ = blobs()
    size = scale * torch.ones(64, 1)
    fit(Run(objective, [adam(0.05)]), Rows(x, None, batch_size=64, fields={"size": size}), Budget(steps=600))
    assert abs(objective.log_variance.item() - math.log(2 * scale**2)) < 0.01


def test_the_weighted_loss_is_the_papers() -> None:
    inner = tasks()
    objective, b = UncertaintyWeighted(inner, TERMS), batch()
    with torch.no_grad():
        objective.log_variance.copy_(torch.tensor([0.5, -1.0]))
    plain, loss = inner("model", b), objective("model", b)
    byhand = sum(
        math.exp(-s) * plain.terms[name].value.mean() + s / 2 for name, s in zip(TERMS, (0.5, -1.0), strict=True)
    )
    torch.testing.assert_close(loss.total(), byhand)
    assert {k: t.kind for k, t in loss.terms.items() if "sigma" in k} == {f"{n}.log_sigma": "penalty" for n in TERMS}


def test_microbatches_give_the_same_gradient() -> None:
    torch.manual_seed(0)
    objective = UncertaintyWeighted(tasks(), TERMS).double()
    b = batch()
    b = Batch(b.x.double(), None, None, {"kind": b.fields["kind"], "size": b.fields["size"].double()})
    found = []
    for rule in ([], [Backprop(microbatch=3)]):
        run = Run(objective, [*rule, sgd(0.1)])
        found.append({k: g.clone() for k, g in run.gradient("model", b).items()})
    for k, g in found[0].items():
        torch.testing.assert_close(found[1][k], g)
    assert "log_variance" in found[0]


def test_a_task_in_a_large_unit_does_not_drown_the_other() -> None:
    """In tenths the regression's loss is a hundred times what it was: in the sum the classes hardly count."""
    nll = []
    for weighted in (False, True):
        torch.manual_seed(0)
        inner = tasks()
        run = Run(UncertaintyWeighted(inner, TERMS) if weighted else inner, [sgd(1e-3)])
        fit(run, rows(scale=10.0), Budget(steps=600))
        with run.evaluating() as objective:
            nll.append(mean_scores(objective, [batch(10.0)])["kind.nll"])
    assert nll[1] < nll[0]


class Field:
    """A data set with two answers for each row."""

    splits = {"val": torch.arange(10)}

    def batch(self, index: Tensor) -> Batch:
        b = batch()
        return Batch(b.x[index], None, index, {k: v[index] for k, v in b.fields.items()})


def test_validation_measures_every_task() -> None:
    run = Run(UncertaintyWeighted(tasks(), TERMS), [Validate(Field()), adam(0.01)])
    fit(run, rows(), Budget(steps=2))
    with run.evaluating() as objective:
        assert {"loss", "kind.accuracy", "size.mse"} <= set(mean_scores(objective, [batch()]))


def test_what_cannot_be_weighed_is_refused() -> None:
    with pytest.raises(SondeError, match="is a game"):
        UncertaintyWeighted(GAN(), ("real",))
    with pytest.raises(SondeError, match="is a game"):
        MultiTask(nn.Identity(), {"game": GAN()})
    with pytest.raises(SondeError, match="each of them once"):
        UncertaintyWeighted(tasks(), ())
    with pytest.raises(SondeError, match="no term 'task'.*\n.*kind.task"):
        UncertaintyWeighted(tasks(), ("task",))("model", batch())
    with pytest.raises(SondeError, match="needs the field 'kind'"):
        tasks()("model", Batch(torch.zeros(2, 4)))
