"""The columns of a table as a network reads them: bins, means, what is missing and what was never seen."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nan

from sonde.core import SondeError
from sonde.nets.layers.tabular import TableInput, tempered_quantiles


def numbers(*rows: list[float]) -> dict[str, Tensor]:
    """A table of numeric columns alone."""
    return {"numeric": torch.tensor(rows), "categorical": torch.zeros(len(rows), 0, dtype=torch.int64)}


def codes(*rows: list[int]) -> dict[str, Tensor]:
    """A table of categorical columns alone."""
    return {"numeric": torch.zeros(len(rows), 0), "categorical": torch.tensor(rows)}


# ---------------------------------------------------------------- bins
def test_quantiles_of_a_column_without_ties_have_equally_many_rows_between_them() -> None:
    x = torch.randn(10_001).exp()
    edges = tempered_quantiles(x, bins=10)
    counts = torch.histogram(x, edges).hist
    torch.testing.assert_close(counts, torch.full((10,), 1000.0), rtol=0, atol=1.0)
    assert edges[0] == x.min() and edges[-1] == x.max()


def test_a_column_that_is_nearly_always_zero_keeps_bins_for_its_other_values() -> None:
    x = torch.cat([torch.zeros(9900), torch.arange(1.0, 101.0)])
    assert len(tempered_quantiles(x, bins=20).unique()) > 15
    assert len(tempered_quantiles(x, bins=20, temper=1.0).unique()) <= 3  # plain quantiles are blind to them


def test_each_of_few_values_is_an_edge_whatever_their_counts() -> None:
    x = torch.tensor([0.0] * 50 + [2.0] + [9.0] * 3)
    assert tempered_quantiles(x, bins=4).tolist() == [0, 2, 9, 9, 9]


def test_quantiles_leave_out_what_is_not_finite() -> None:
    x = torch.tensor([nan, 1.0, math.inf, 2.0, -math.inf])
    assert tempered_quantiles(x, bins=2).tolist() == [1, 2, 2]
    assert tempered_quantiles(torch.tensor([nan, nan]), bins=2).tolist() == [0, 0, 0]


# ---------------------------------------------------------------- statistics, worked by hand
def test_statistics_equal_a_case_worked_by_hand() -> None:
    layer = TableInput(numeric=1, cardinalities=(4,), bins=2)
    layer.fit_input(
        {"numeric": torch.tensor([[0.0], [4.0], [1.0], [nan]]), "categorical": torch.tensor([[1], [2], [2], [1]])}
    )
    assert layer.edges.tolist() == [[0, 1, 4]]
    torch.testing.assert_close(layer.centre, torch.tensor([[2 / 3, 1 / 3]]))  # of the ramps (0, 0), (1, 1), (1, 0)
    assert layer.share.tolist() == [0, 0.5, 0.5, 0]


def test_numbers_are_summed_along_the_bins_they_have_passed() -> None:
    layer = TableInput(numeric=1, bins=2, widths=(3, 1))
    layer.fit_input(numbers([0.0], [1.0], [4.0]))
    w, a, c = torch.randn(2, 3), layer.slope[0], layer.bias[0]  # (B, E), (E,), (E,)
    with torch.no_grad():
        layer.weight[0] = w
    mean, std = 5 / 3, math.sqrt(26 / 9)

    def linear(x: float) -> Tensor:
        z = (x - mean) / std
        return z / math.sqrt(1 + z * z / 9) * a + c

    centre = (2 * w[0] + w[1]) / 3
    torch.testing.assert_close(layer(numbers([3.0]))[0], w[0] + 2 / 3 * w[1] - centre + linear(3.0))
    torch.testing.assert_close(layer(numbers([0.5]))[0], 0.5 * w[0] - centre + linear(0.5))


def test_it_begins_as_a_smooth_function_of_every_column() -> None:
    layer = TableInput(numeric=1, bins=50, widths=(1, 1))
    layer.fit_input(numbers(*torch.randn(500, 1).tolist()))
    out = layer(numbers(*torch.linspace(-2, 2, 99)[:, None].tolist())).squeeze(1)
    assert (out.diff(dim=0).sign() == layer.slope.sign()[0]).all()


def test_numbers_beyond_the_training_rows_read_as_the_outermost_ones() -> None:
    layer = TableInput(numeric=1, bins=2)
    layer.fit_input(numbers([0.0], [1.0], [4.0]))
    out = layer(numbers([-1e30], [0.0], [4.0], [3e38]))
    torch.testing.assert_close(out[0], out[1])
    torch.testing.assert_close(out[2], out[3])


# ---------------------------------------------------------------- missing and unseen
@pytest.mark.parametrize("hole", [nan, math.inf, -math.inf])
def test_a_missing_number_reads_as_the_average_row_plus_a_learned_vector(hole: float) -> None:
    layer = TableInput(numeric=1, bins=8)
    x = numbers([-7.0], [-1.0], [1.0], [7.0])  # about its mean the same on both sides, so the clip leaves it there
    layer.fit_input(x)
    with torch.no_grad():
        layer.weight.normal_()
    torch.testing.assert_close(layer(numbers([hole]))[0], layer(x).mean(0), atol=1e-6, rtol=0)
    with torch.no_grad():
        layer.missing.fill_(2.0)
    torch.testing.assert_close(layer(numbers([hole]))[0], layer(x).mean(0) + 2, atol=1e-6, rtol=0)


def test_a_category_never_seen_reads_as_the_average_row() -> None:
    layer = TableInput(numeric=0, cardinalities=(5, 3))
    x = codes([1, 2], [1, 1], [3, 2])
    layer.fit_input(x)
    average = layer(x).mean(0)
    for unseen in ([0, 0], [2, 0], [4, 0]):
        torch.testing.assert_close(layer(codes(unseen))[0], average, atol=1e-6, rtol=0)


def test_missing_has_a_vector_of_its_own_where_training_rows_miss_the_category() -> None:
    layer = TableInput(numeric=0, cardinalities=(3,))
    layer.fit_input(codes([0], [1], [2], [2]))
    assert torch.equal(layer(codes([0]))[0], layer.vectors[0])


def test_a_constant_or_empty_column_gives_the_same_finite_numbers_for_every_row() -> None:
    layer = TableInput(numeric=2, bins=4)
    layer.fit_input(numbers([5.0, nan], [5.0, nan]))
    out = layer(numbers([5.0, nan], [-3.0, 1.0], [1e9, 2.0]))
    assert out.isfinite().all()
    torch.testing.assert_close(out[0], out[1])
    torch.testing.assert_close(out[1], out[2])


def test_gradients_are_finite_where_numbers_are_missing() -> None:
    layer = TableInput(numeric=2, bins=4)
    layer.fit_input(numbers([5.0, 1.0], [5.0, 2.0]))
    x = numbers([nan, 1.5], [5.0, nan])
    x["numeric"].requires_grad_()
    layer(x).square().sum().backward()
    for g in (x["numeric"].grad, *(p.grad for p in layer.parameters())):
        assert g is not None and g.isfinite().all()


# ---------------------------------------------------------------- use
def test_units_of_a_column_do_not_matter() -> None:
    x = numbers(*torch.randn(50, 2, dtype=torch.float64).tolist())
    layer = TableInput(numeric=2, bins=8).double()
    x["numeric"] = x["numeric"].double()
    layer.fit_input(x)
    before = layer(x)
    x["numeric"] = 1000 * x["numeric"] - 7
    layer.fit_input(x)
    torch.testing.assert_close(layer(x), before)


def test_it_answers_before_it_has_seen_rows() -> None:
    out = TableInput(numeric=1, cardinalities=(3,))(
        {"numeric": torch.tensor([[-1.0], [1.0]]), "categorical": torch.tensor([[1], [2]])}
    )
    assert out.isfinite().all() and not torch.equal(out[0], out[1])


def test_statistics_travel_with_the_weights() -> None:
    a, b = TableInput(numeric=1, cardinalities=(3,)), TableInput(numeric=1, cardinalities=(3,))
    x = {"numeric": torch.tensor([[0.0], [4.0], [nan]]), "categorical": torch.tensor([[1], [1], [0]])}
    a.fit_input(x)
    b.load_state_dict(a.state_dict())
    x["categorical"][0] = 2  # never seen by a
    assert torch.equal(a(x), b(x))


def test_a_table_without_columns_is_refused() -> None:
    with pytest.raises(SondeError, match="no columns to learn from"):
        TableInput(numeric=0)


@pytest.mark.parametrize(
    "odd", [[-3.4028235e38, 1.0, 2.0], [3e38, -3e38, 0.0], [0.0, 1e-44, 1e-40], [1e9, 1e9 + 64, 1e9]], ids=str
)
def test_extreme_numbers_give_finite_ones(odd: list[float]) -> None:
    layer = TableInput(numeric=1, bins=4)
    x = numbers(*[[v] for v in odd])
    layer.fit_input(x)
    assert layer(x).isfinite().all()
