"""Dropout of units, channels and branches: how much is left out, where, with which mean, and how it is shipped."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Build, Method, Refused, Run, SondeError
from sonde.methods import Dropout, Quantise, SpatialDropout, StochasticDepth, adam
from sonde.nets import MLP, ResNet
from sonde.nets.layers.drop import DropBranch, DropChannels, dropped_branches, dropped_channels, dropped_units
from sonde.objectives import Classify
from tests.support import mlp, trained

DRAWS = 4000


def run_with(net: nn.Module, *methods: Method) -> Run:
    return Run(Classify(net), [*methods, adam(0.01)])


def resnet() -> ResNet:
    return ResNet(channels=1, outputs=3, widths=(4, 8), blocks=2, fold=1)


# ---------------------------------------------------------------- the layers
@pytest.mark.parametrize(("layer", "group"), [(DropChannels(0.3), (2, 3)), (DropBranch(0.3), (1, 2, 3))])
def test_whole_groups_are_left_out_and_the_mean_stays(layer: nn.Module, group: tuple[int, ...]) -> None:
    """The share left out is binomial: 5 standard deviations are 5 sqrt(0.3 * 0.7 / n)."""
    x = torch.ones(DRAWS, 2, 3, 2)
    y = layer(x)
    assert set(y.unique().tolist()) <= {0.0, y.max().item()} and abs(y.max().item() - 1 / 0.7) < 1e-6
    least, most = y.amin(group), y.amax(group)
    assert torch.equal(least, most)  # all of a group or nothing
    share = (most == 0).float().mean().item()
    assert abs(share - 0.3) < 5 * math.sqrt(0.21 / most.numel())
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize("make", [DropChannels, DropBranch, Dropout, SpatialDropout, StochasticDepth])
@pytest.mark.parametrize("rate", [1.0, -0.1, math.nan])
def test_a_rate_that_leaves_nothing_is_refused(make: type, rate: float) -> None:
    with pytest.raises(SondeError, match="outside"):
        make(rate)


# ---------------------------------------------------------------- where they are put
def test_units_are_dropped_before_every_dense_layer_but_the_first() -> None:
    net = mlp(4, 8, 8, 3)
    run_with(net, Dropout(0.4))
    first, *others = [m for m in net if isinstance(m, nn.Linear)]
    assert not hasattr(first, "dropout") and [m.dropout.p for m in others] == [0.4, 0.4]
    other = mlp(4, 8, 3)
    run_with(other, Dropout(0.4, inputs=0.2))
    assert [m.dropout.p for m in other if isinstance(m, nn.Linear)] == [0.2, 0.4]


def test_a_net_with_it_computes_what_one_written_with_it_does() -> None:
    ours, theirs = mlp(4, 8, 3), mlp(4, 8, 3)
    theirs.load_state_dict(ours.state_dict())
    run_with(ours, Dropout(0.5))
    written = nn.Sequential(theirs[0], theirs[1], nn.Dropout(0.5), theirs[2])
    x = torch.randn(16, 4)
    torch.manual_seed(5)
    found = ours(x)
    torch.manual_seed(5)
    assert torch.equal(found, written(x))
    assert torch.equal(ours.eval()(x), written.eval()(x))


def test_channels_are_dropped_before_every_convolution_but_the_first() -> None:
    net = resnet()
    run_with(net, SpatialDropout(0.2))
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert not hasattr(convolutions[0], "dropout")
    assert all(m.dropout.rate == 0.2 for m in convolutions[1:]) and not hasattr(net.output, "dropout")


def test_the_deeper_a_branch_the_more_often_it_is_left_out() -> None:
    net = resnet()
    run_with(net, StochasticDepth(0.4))
    rates = [m.rate for m in net.modules() if isinstance(m, DropBranch)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])  # eq. 4 with p_L = 0.6
    torch.manual_seed(0)
    block = net.stages[1]
    x = torch.rand(64, 4, 3, 3)
    same = (block(x) == x).flatten(1).all(1)
    assert 0 < same.sum() < 64  # some rows pass by the branch


@pytest.mark.parametrize("method", [Dropout(0.5), SpatialDropout(0.5), StochasticDepth(0.5)])
def test_nothing_is_dropped_where_the_model_is_evaluated_and_its_state_stays(method: Method) -> None:
    net = resnet()
    names, x = list(net.state_dict()), torch.rand(4, 1, 8, 8)
    before = net.eval()(x)
    net.train()
    run = run_with(net, method)
    assert list(net.state_dict()) == names
    with run.evaluating():
        assert torch.equal(net(x), before)
    net.train()
    assert not torch.equal(net(x), net(x))


def test_setting_up_again_adds_nothing() -> None:
    net = resnet()
    methods = [Dropout(0.5), SpatialDropout(0.5), StochasticDepth(0.5)]
    run = run_with(net, *methods)
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in net.modules()]
    for method in methods:
        method.setup(run)
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in net.modules()] == hooks


SHIPPED = [
    (Dropout(0.5), dropped_units),
    (SpatialDropout(0.5), dropped_channels),
    (StochasticDepth(0.5), dropped_branches),
]


@pytest.mark.parametrize(("method", "make"), SHIPPED)
def test_what_is_shipped_can_drop_too(method: Method, make: object) -> None:
    """For an average over nets with units left out (Gal and Ghahramani, 2016), in training mode."""
    build = Build(ResNet, channels=1, outputs=3, widths=[4, 8], blocks=2, fold=1)
    objective = Build(Classify, net=build)
    built = method.built(objective)
    assert built.make is make and Build.from_data(built.to_data()) == built
    shipped = built()
    run = run_with(resnet(), method)
    shipped.load_state_dict(run.objective.state_dict())
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(shipped.eval().predict(x), shipped.predict(x))  # type: ignore[operator]
    for m in shipped.modules():  # without BatchNorm's share of the difference
        if not isinstance(m, nn.BatchNorm2d):
            m.training = True
    assert not torch.equal(shipped.predict(x), shipped.predict(x))  # type: ignore[operator]


# ---------------------------------------------------------------- refusals
def test_a_net_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(SondeError, match="no dense layer behind another"):
        run_with(nn.Linear(4, 3), Dropout())
    with pytest.raises(SondeError, match="no dense layer behind another"):  # what it has of its own is no place
        run_with(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.1)), Dropout())
    with pytest.raises(SondeError, match="no convolution behind another"):
        run_with(mlp(4, 8, 3), SpatialDropout())
    with pytest.raises(SondeError, match="no residual branch"):
        run_with(MLP((4,), 3), StochasticDepth())


def test_layers_that_would_be_replaced_are_not_dropped_from() -> None:
    for method in (Dropout(), SpatialDropout()):
        with pytest.raises(Refused, match="put Quantise before"):
            run_with(resnet(), method, Quantise())
    net = resnet()
    run_with(net, Quantise(), Dropout(0.3), SpatialDropout(0.3))
    assert net.output.dropout.p == 0.3  # type: ignore[union-attr]


def test_dropout_narrows_the_gap_between_training_and_test_rows() -> None:
    """A wide net that learns 24 noisy rows by heart does so less with half its units gone."""
    from sonde.core import Budget, fit
    from sonde.data.rows import Rows

    def rows(n: int, seed: int) -> tuple[Tensor, Tensor]:
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(n, 10, generator=g)
        return x, (x[:, 0] + torch.randn(n, generator=g) > 0).long()

    (x, y), (far, wanted) = rows(24, 1), rows(2000, 2)
    nll = []
    for method in ([], [Dropout(0.5, inputs=0.2)]):
        torch.manual_seed(0)
        run = run_with(mlp(10, 128, 2), *method)
        fit(run, Rows(x, y, batch_size=24), Budget(steps=300))
        with run.evaluating() as objective:
            p = objective.predict(far)  # type: ignore[operator]
        nll.append(-p[torch.arange(2000), wanted].log().mean().item())
    assert nll[1] < 0.8 * nll[0]


def test_a_run_with_all_three_trains() -> None:
    assert trained(Dropout(0.2), steps=5).step == 5
