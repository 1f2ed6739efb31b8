"""Losses: typed terms, and the one place where rows are averaged."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sonde.core import Loss, Term
from tests.support import LAW


def doubles(n: int, seed: int) -> Tensor:
    return torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    "value, kind",
    [
        (torch.zeros(()), "example"),
        (torch.zeros(3, 2), "example"),
        (torch.zeros(3), "batch"),
        (torch.zeros(3), "penalty"),
    ],
)
def test_a_term_of_the_wrong_shape_is_refused_and_told_which_is_right(value: Tensor, kind: str) -> None:
    with pytest.raises(ValueError, match=r"one value a row, shape \(N,\), the other kinds are scalars"):
        Term(value, kind)  # type: ignore[arg-type]


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="example, batch, penalty; got 'sample'"):
        Term(torch.zeros(3), "sample")  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [torch.ones(3, 1), torch.ones(2), torch.ones(1)])
def test_a_weight_that_would_broadcast_rows_against_rows_is_refused(weight: Tensor) -> None:
    with pytest.raises(ValueError, match=r"a weight is a number or has the term's shape \(3,\)"):
        Term(torch.zeros(3), "example", weight)


def test_two_terms_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'task' is already defined"):
        Loss({"task": Term(torch.zeros(2))}).with_term("task", Term(torch.zeros(2)))


# ---------------------------------------------------------------- sums
def test_the_total_averages_rows_once_and_adds_the_rest() -> None:
    loss = Loss(
        {
            "task": Term(torch.tensor([1.0, 2.0, 6.0]), weight=torch.tensor([1.0, 0.0, 2.0])),
            "pair": Term(torch.tensor(5.0), "batch"),
            "size": Term(torch.tensor(8.0), "penalty", 0.25),
        }
    )
    assert loss.total().item() == pytest.approx(13 / 3 + 5 + 2)
    assert loss.total("example").item() == pytest.approx(13 / 3)
    assert loss.total("batch", "penalty").item() == 7
    assert loss.total(denominator=26.0).item() == pytest.approx(0.5 + 5 + 2)


def test_a_loss_without_terms_of_a_kind_is_zero() -> None:
    assert Loss({}).total().item() == 0
    assert Loss({"task": Term(torch.ones(2))}).total("penalty").item() == 0


def test_detaching_keeps_numbers_and_drops_history() -> None:
    p = torch.ones(3, requires_grad=True)
    loss = Loss({"task": Term(2 * p, weight=p * 3)}, {"logits": p * 5}).detach()
    term = loss.terms["task"]
    assert not any(t.requires_grad for t in (term.value, term.weight, loss.out["logits"]))  # type: ignore[union-attr]
    assert loss.total().item() == 6


# ---------------------------------------------------------------- laws
@LAW
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.sampled_from(["none", "number", "rows"]))
def test_joined_microbatches_are_the_whole_batch(sizes: list[int], weighting: str) -> None:
    n = sum(sizes)
    value, w, out = doubles(n, 0), doubles(n, 1), doubles(n, 2)
    weight: Tensor | float = {"none": 1.0, "number": 0.5, "rows": w}[weighting]
    whole = Loss({"task": Term(value, weight=weight), "l2": Term(doubles(1, 3)[0], "penalty")}, {"logits": out})
    parts = [
        Loss(
            {"task": Term(v, weight=p if weighting == "rows" else weight), "l2": whole.terms["l2"]},
            {"logits": o, "scale": torch.tensor(3.0)},
        )
        for v, p, o in zip(value.split(sizes), w.split(sizes), out.split(sizes), strict=True)
    ]
    joined = Loss.join(parts)
    assert torch.equal(joined.terms["task"].value, value)
    assert torch.equal(joined.out["logits"], out)
    assert joined.total().item() == pytest.approx(whole.total().item(), abs=1e-12)


@LAW
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_parts_divided_by_the_whole_add_up_to_the_mean(sizes: list[int]) -> None:
    value = doubles(sum(sizes), 0)
    parts = [Loss({"task": Term(v)}).total(denominator=float(len(value))) for v in value.split(sizes)]
    assert torch.stack(parts).sum().item() == pytest.approx(value.mean().item(), abs=1e-12)
