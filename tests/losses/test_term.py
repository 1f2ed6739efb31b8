"""A loss of one's own: what it returns and says of itself decides the kind of its term; what is unclear is refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sonde.bundle import Bundle
from sonde.core import Batch, Budget, Build, Method, Objective, Recipe, Run, SondeError, Stage, fit
from sonde.core.build import resolve
from sonde.data import load
from sonde.data.rows import Rows, Split
from sonde.losses import (
    BinaryFocal,
    CrossEntropy,
    Dice,
    Focal,
    GaussianNLL,
    Hinge,
    Huber,
    Quantile,
    as_term,
    jointly,
)
from sonde.methods import Backprop, LabelSmoothing, adam
from sonde.names import apply_settings, catalogue, parse
from sonde.nets import MLP
from sonde.objectives import Classify, Multilabel, Regress
from sonde.results import shipped
from tests.support import blobs, mlp

N, M, C = 6, 3, 4
Z, Y = torch.randn(N, C, generator=torch.Generator().manual_seed(2)), torch.tensor([0, 1, 2, 3, 0, 1])


def brier(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.softmax(1) - nn.functional.one_hot(y, logits.shape[1])).pow(2).sum(1)


@jointly
def spread(logits: Tensor, y: Tensor) -> Tensor:
    return logits.var(0).sum()


# ---------------------------------------------------------------- the kind
def test_a_value_a_row_is_an_example_term() -> None:
    assert as_term(brier, Z, Y).kind == "example"
    assert as_term(nn.CrossEntropyLoss(reduction="none"), Z, Y).kind == "example"
    assert as_term(partial(nn.functional.cross_entropy, reduction="none"), Z, Y).kind == "example"


def test_a_scalar_that_says_it_is_joint_is_a_batch_term() -> None:
    assert as_term(spread, Z, Y).kind == "batch"
    assert as_term(jointly(nn.CrossEntropyLoss()), Z, Y).kind == "batch"
    assert as_term(Dice(over="batch"), Z, Z.sigmoid()).kind == "batch"


def kind_of(name: str) -> Any:
    def loss(output: Tensor, y: Tensor) -> Tensor:
        return brier(output, y)

    loss.kind = name  # type: ignore[attr-defined]
    return loss


UNCLEAR: dict[str, Any] = {
    r"CrossEntropyLoss returns one number for 6 rows.*\n.*reduction='none'.*jointly": nn.CrossEntropyLoss(),
    r"returns \(6, 4\) for 6 rows.*\n.*return a value a row, \(6,\)": lambda z, y: z,
    r"returns \(3,\) for 6 rows": lambda z, y: brier(z, y)[:3],
    r"brier says that it depends on rows jointly, and returns \(6,\)": jointly(brier),
    r"says it is 'row'": kind_of("row"),
}


@pytest.mark.parametrize("says", UNCLEAR)
def test_what_is_unclear_is_refused_in_words(says: str) -> None:
    with pytest.raises(SondeError, match=says):
        as_term(UNCLEAR[says], Z, Y)


def test_weights_of_rows_go_with_a_value_a_row_only() -> None:
    weight = torch.arange(6.0)
    assert torch.equal(as_term(brier, Z, Y, weight).reduce(), (weight * brier(Z, Y)).mean())
    with pytest.raises(SondeError, match="one number for all rows"):
        as_term(spread, Z, Y, weight)


def test_each_member_has_a_loss_of_its_own() -> None:
    z = torch.randn(N, M, C)
    each = torch.stack([brier(z[:, m], Y) for m in range(M)], 1)
    torch.testing.assert_close(as_term(brier, z, Y, members=True).value, each.mean(1))
    joint = torch.stack([spread(z[:, m], Y) for m in range(M)])
    torch.testing.assert_close(as_term(spread, z, Y, members=True).value, joint.mean())
    with pytest.raises(SondeError, match="for 6 rows"):
        as_term(nn.CrossEntropyLoss(), z, Y, members=True)


# ---------------------------------------------------------------- in an objective
def trained(objective: Objective, source: Rows, *methods: Method, steps: int = 200) -> Run:
    return fit(Run(objective, [*methods, adam(0.03)]), source, Budget(steps=steps))


@pytest.mark.parametrize(
    "loss",
    [Focal(), Hinge(), CrossEntropy(weights=(1.0, 2.0, 1.0)), brier, spread],
    ids=["focal", "hinge", "weighted", "brier", "spread"],
)
def test_a_classifier_learns_by_the_loss_it_is_given(loss: Any) -> None:
    x, y = blobs()
    net = mlp(4, 16, 3)
    if loss is spread:
        loss = jointly(lambda z, y: nn.functional.cross_entropy(z, y))
    run = trained(Classify(net, loss), Rows(x, y, batch_size=16))
    with run.evaluating() as objective:
        assert (objective.predict(x).argmax(1) == y).float().mean() > 0.95


def test_a_batch_term_is_refused_where_rows_are_taken_apart() -> None:
    run = Run(Classify(mlp(4, 3), jointly(nn.CrossEntropyLoss())), [Backprop(microbatch=4), adam(0.1)])
    with pytest.raises(SondeError, match="depend on all rows"):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=1))


def test_a_loss_with_parameters_is_trained_with_the_net() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            return nn.functional.cross_entropy(self.scale * z, y, reduction="none")

    run = trained(Classify(mlp(4, 3), Scaled()), Rows(*blobs(), batch_size=16), steps=3)
    assert "loss.scale" in run.params("model") and run.objective.loss.scale.item() != 1.0  # type: ignore[union-attr]


def test_labels_are_learned_by_a_focal_loss_and_by_overlap() -> None:
    x, y = blobs()
    marks = nn.functional.one_hot(y, 3).float()
    for loss in (BinaryFocal(alpha=0.5), Dice(), Dice(over="batch")):
        run = trained(Multilabel(mlp(4, 16, 3), loss), Rows(x, marks, batch_size=16))
        with run.evaluating() as objective:
            assert ((objective.predict(x) > 0.5) == (marks > 0.5)).float().mean() > 0.95


def noisy(n: int = 600) -> tuple[Tensor, Tensor]:
    """Skewed noise around a line, in units of hundreds: y (n, 1), its quantiles given x known."""
    g = torch.Generator().manual_seed(6)
    x = torch.rand(n, 1, generator=g)
    return x, 100 * (2 * x - torch.rand(n, 1, generator=g).log())


def regression(loss: Any, width: int = 1) -> tuple[Regress, Tensor, Tensor]:
    x, y = noisy()
    objective = Regress(mlp(1, 16, width), loss=loss)
    objective.fit_target(y)
    trained(objective, Rows(x, y, batch_size=100), steps=400)
    return objective.eval(), x, y


def test_a_quantile_is_predicted_in_the_users_units() -> None:
    objective, x, y = regression(Quantile((0.8,)))
    assert abs((y <= objective.predict(x)).float().mean().item() - 0.8) < 0.04


def test_of_several_quantiles_the_middle_one_is_the_prediction() -> None:
    objective, x, y = regression(Quantile((0.1, 0.5, 0.9)), width=3)
    assert abs((y <= objective.predict(x)).float().mean().item() - 0.5) < 0.05
    low, _, high = (objective.net(x) * objective.std + objective.mean).unbind(1)
    inside = ((low < y[:, 0]) & (y[:, 0] < high)).float().mean().item()
    assert abs(inside - 0.8) < 0.06


def test_a_predicted_variance_is_that_of_the_errors() -> None:
    objective, x, y = regression(GaussianNLL(), width=2)
    mean, spread = objective.net(x).unbind(1)
    error = ((y - objective.mean) / objective.std)[:, 0] - mean
    ratio = error.pow(2).mean() / nn.functional.softplus(spread).mean()
    assert 0.8 < ratio.item() < 1.25
    torch.testing.assert_close(objective.predict(x)[:, 0], mean * objective.std + objective.mean)


def test_a_net_with_too_few_outputs_for_its_loss_is_refused() -> None:
    objective = Regress(mlp(1, 1), loss=GaussianNLL())
    with pytest.raises(ValueError, match="2 T"):
        objective("model", Batch(torch.zeros(2, 1), torch.zeros(2, 1)))


def test_an_outlier_moves_hubers_fit_less() -> None:
    x = torch.linspace(-1, 1, 41)[:, None]
    y = x.clone()
    y[-1] = -50.0
    slopes = []
    for loss in (Huber(0.1), None):
        net = nn.Linear(1, 1)
        trained(Regress(net, loss=loss) if loss else Regress(net), Rows(x, y, batch_size=41), steps=400)
        slopes.append(net.weight.item())
    assert abs(slopes[0] - 1) < 0.1 < abs(slopes[1] - 1)


# ---------------------------------------------------------------- with other methods
def test_label_smoothing_goes_with_a_cross_entropy_alone() -> None:
    rows = Rows(*blobs(), batch_size=16)
    with pytest.raises(SondeError, match="the objective's loss is Focal"):
        trained(Classify(mlp(4, 3), Focal()), rows, LabelSmoothing(), steps=1)
    trained(Classify(mlp(4, 3), Focal()), rows, LabelSmoothing(0.0), steps=1)
    trained(Classify(mlp(4, 3)), rows, LabelSmoothing(), steps=1)


def test_a_smoothed_cross_entropy_is_what_label_smoothing_makes() -> None:
    x, y = blobs()
    net = mlp(4, 3)
    run = Run(Classify(net), [LabelSmoothing(0.2), adam(0.1)])
    ours = run.loss("model", run.params("model"), Batch(x, y)).terms["task"].value
    torch.testing.assert_close(CrossEntropy(smoothing=0.2)(net(x), y), ours)


# ---------------------------------------------------------------- by name
def test_every_loss_can_be_named_and_made() -> None:
    names = {e.name for e in catalogue("losses")}
    assert {"focal", "dice", "huber", "quantile", "gaussian_nll", "cross_entropy", "ctc"} <= names
    assert all(e.typed and e.summary for e in catalogue("losses"))
    assert parse("losses", "focal(gamma=1)") == Build(Focal, gamma=1)


def test_a_model_trained_by_another_loss_is_shipped_with_it(tmp_path: Path) -> None:
    data = load("digits")
    net = Build(MLP, shape=(1, 8, 8), outputs=10, widths=(8,))
    recipe = Recipe(
        name="focal",
        seed=0,
        objective=Build(Classify, net=net, loss=Build(Focal, gamma=1.0)),
        methods=(Build(adam, lr=0.01),),
        stages=(Stage(source=Build(Split, split="train", batch_size=64), budget=Budget(steps=2)),),
    )
    recipe = Recipe.from_data(json.loads(json.dumps(recipe.to_data())))
    shipped(recipe.train(data=data), recipe, data).save(tmp_path / "model")
    assert Bundle.load(tmp_path / "model").objective.loss == Focal(1.0)


def test_a_recipe_carries_its_loss_and_a_setting_changes_it() -> None:
    build = Build(Classify, net=Build(nn.Identity), loss=Build(Focal, gamma=3.0))
    data = {"objective": build.to_data()}
    assert resolve(data["objective"]["loss"]["build"]) is Focal
    apply_settings(data, {"objective.loss": "hinge(margin=2)", "objective.loss.margin": 3})
    assert Build.from_data(data["objective"]["loss"])() == Hinge(3)
    del data["objective"]["loss"]
    apply_settings(data, {"objective.loss": "cross_entropy(weights=(1, 2))"})
    assert list(Build.from_data(data["objective"]["loss"])().weights) == [1, 2]
    with pytest.raises(SondeError, match="did you mean 'focal'"):
        apply_settings(data, {"objective.loss": "fokal"})
