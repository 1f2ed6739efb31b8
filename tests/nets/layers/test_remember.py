"""Answers that are computed once: the same numbers, fewer calls, and nothing kept where it must not be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sonde.nets.layers.remember import Remember
from sonde.nets.layers.scattering import Scattering


class Counted(nn.Module):
    """Squares; counts the rows it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return x.square()


def test_each_row_is_computed_once_in_whatever_company_it_comes() -> None:
    layer, x = Remember(Counted(), rows=10), torch.rand(10, 3)
    for index in ([0, 1, 2], [2, 1, 5, 5], [9, 0], list(range(10))):
        torch.testing.assert_close(layer(x[index]), x[index].square())
    assert layer.module.seen == 10


def test_remembered_answers_are_those_of_the_module_to_the_bit() -> None:
    """A resumed run, which computes a row in other company, goes on as it would have."""
    plain, x = Scattering(28, 28), torch.rand(70, 1, 28, 28)
    layer = Remember(plain, rows=70)
    for index in torch.randperm(70).split(9):
        layer(x[index])
    assert torch.equal(layer(x), plain(x))


def test_a_changed_row_is_another_row() -> None:
    layer, x = Remember(Counted(), rows=10), torch.rand(2, 3)
    layer(x)
    torch.testing.assert_close(layer(x + 1), (x + 1).square())


def test_more_rows_than_are_kept_are_computed_each_time() -> None:
    layer, x = Remember(Counted(), rows=3), torch.rand(5, 2)
    for _ in range(2):
        torch.testing.assert_close(layer(x), x.square())
        torch.testing.assert_close(layer(x[:2]), x[:2].square())
    assert len(layer.places) == 2 and layer.module.seen == 12


def test_nothing_is_kept_in_use_or_with_the_weights() -> None:
    layer = Remember(Counted(), rows=10)
    layer(torch.rand(2, 3))
    assert not layer.state_dict()
    layer.eval()
    layer(torch.rand(2, 3))
    assert len(layer.places) == 2


def test_gradients_reach_the_rows() -> None:
    layer, x = Remember(Counted(), rows=10), torch.rand(2, 3)
    layer(x)
    x.requires_grad_(True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())


def test_it_maps_over_rows() -> None:
    layer, x = Remember(Counted(), rows=10), torch.rand(4, 3)
    torch.testing.assert_close(torch.vmap(lambda row: layer(row[None])[0])(x), x.square())


def test_an_empty_sample_has_an_empty_answer() -> None:
    assert Remember(Counted(), rows=4)(torch.rand(0, 3)).shape == (0, 3)


def test_a_module_that_learns_is_refused() -> None:
    with pytest.raises(ValueError, match="without parameters"):
        Remember(nn.Linear(2, 2), rows=4)
