"""Progressive networks: equation 2 by hand, what is frozen, and loading more columns than there are."""

from __future__ import annotations

import pytest
import torch

from sonde.core import SondeError
from sonde.nets import MLP, ProgressiveMLP


def test_one_column_is_a_multilayer_perceptron() -> None:
    net, plain = ProgressiveMLP((4,), 3, (8, 5)), MLP((4,), 3, (8, 5))
    own = net.columns[0].own
    for layer, like in zip([plain.hidden[0], plain.hidden[2], plain.output], own, strict=True):
        layer.load_state_dict(like.state_dict())
    x = torch.randn(6, 4)
    assert torch.allclose(net(x), plain(x))


def test_two_columns_are_equation_2() -> None:
    net = ProgressiveMLP((4,), 3, (8, 5), columns=2)
    x = torch.randn(6, 4)
    first, second = net.columns
    h1 = torch.relu(first.own[0](x))
    h2 = torch.relu(first.own[1](h1))
    a, b = second.adapters
    g1 = torch.relu(second.own[0](x))
    g2 = torch.relu(second.own[1](g1) + a.project(torch.relu(a.reduce(a.scale[0] * h1))))
    out = second.own[2](g2) + b.project(torch.relu(b.reduce(b.scale[0] * h2)))
    assert torch.allclose(net(x), torch.cat([first.own[2](h2), out], 1), atol=1e-6)


def test_growing_leaves_the_old_answers_and_trains_the_new_column_alone() -> None:
    net, x = ProgressiveMLP((4,), 3, (8,)), torch.randn(6, 4)
    before = net(x)
    net.grow()
    net.grow()
    after = net(x)
    assert after.shape == (6, 9) and torch.equal(after[:, :3], before)
    after.sum().backward()
    assert {k.split(".")[1] for k, p in net.named_parameters() if p.grad is not None} == {"2"}


def test_loading_weights_of_more_columns_grows_to_them() -> None:
    grown, fresh = ProgressiveMLP((4,), 3, (8, 5), columns=3), ProgressiveMLP((4,), 3, (8, 5))
    fresh.load_state_dict(grown.state_dict())
    x = torch.randn(6, 4)
    assert torch.equal(fresh(x), grown(x))
    assert [p.requires_grad for p in fresh.parameters()] == [p.requires_grad for p in grown.parameters()]


def test_a_net_without_a_hidden_layer_has_nothing_to_read_across() -> None:
    with pytest.raises(SondeError, match="needs a hidden layer"):
        ProgressiveMLP((4,), 3, ())
