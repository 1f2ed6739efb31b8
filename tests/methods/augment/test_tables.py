"""Augmentation of tables: MixUp and Corrupt on numbers, categories and missing values."""

from __future__ import annotations

import pytest
import torch

from sonde.core import Batch, Budget, Method, Run, SondeError, fit
from sonde.data.rows import Rows
from sonde.methods import Corrupt, MixUp, sgd
from sonde.methods.augment.corrupt import corrupt
from sonde.methods.augment.mixup import mix_cells
from sonde.nets import TabM
from sonde.objectives import Classify


def table(n: int = 400) -> Batch:
    """A table in which every cell tells its row and its column, and its missing values are in the second column."""
    row = torch.arange(n)
    numeric = torch.stack([row.float(), row.float() + 1000], dim=1)
    numeric[row % 4 == 0, 1] = torch.nan
    return Batch({"numeric": numeric, "categorical": torch.stack([row, row + 10_000], 1)}, row % 3, row)


def apply(method: Method, batch: Batch, seed: int = 1) -> Batch:
    torch.manual_seed(seed)
    return method.batch(None, batch)  # type: ignore[arg-type]  # none of them reads the run


def test_cells_without_a_mean_are_chosen_by_hand() -> None:
    nan = torch.nan
    x = torch.tensor([[4.0, nan, 1.0], [8.0, 2.0, nan]])
    partner, share = torch.tensor([1, 0]), torch.tensor([0.75, 0.5])
    own = torch.tensor([[False, False, True], [True, False, False]])
    out = mix_cells(x, partner, share, own)
    torch.testing.assert_close(out, torch.tensor([[5.0, 2.0, 1.0], [6.0, nan, 1.0]]), equal_nan=True)
    codes = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert mix_cells(codes, partner, share, own).tolist() == [[4, 5, 3], [4, 2, 3]]


def test_mixup_of_a_table_mixes_numbers_and_keeps_categories_whole() -> None:
    batch = table()
    out = apply(MixUp(3, alpha=1.0), batch)
    assert out.records is None and out.x["categorical"].dtype == torch.int64
    codes = out.x["categorical"]
    own = codes == batch.x["categorical"]
    share = out.y.amax(1).where(out.y.amax(1) < 1, torch.tensor(torch.nan))  # where both answers differ
    known = ~share.isnan()
    # Each code is its row's own with the row's share: the mean of 2 * (about 270) coins, standard error below 0.02.
    assert abs((own.float().mean(1) - share)[known].mean().item()) < 0.07
    assert ((codes[:, 0] < 10_000) & (codes[:, 1] >= 10_000)).all()  # no cell left its column
    mixed = out.x["numeric"][:, 0] != batch.x["numeric"][:, 0]
    assert mixed.float().mean() > 0.9


def test_mixup_of_a_table_invents_no_missing_values_and_loses_none_on_average() -> None:
    batch = table(4000)
    out = apply(MixUp(3, alpha=1.0), batch)
    assert not out.x["numeric"][:, 0].isnan().any()
    rate = out.x["numeric"][:, 1].isnan().float().mean().item()
    assert abs(rate - 0.25) < 0.04  # 4,000 rows: standard error 0.007


def test_mixup_of_categories_alone_needs_the_numeric_part_of_a_table_however_empty() -> None:
    batch = table()
    out = apply(MixUp(3), Batch({**batch.x, "numeric": torch.zeros(400, 0)}, batch.y))
    assert out.x["numeric"].shape == (400, 0)
    with pytest.raises(SondeError, match="not one floating-point tensor"):
        apply(MixUp(3), Batch({"categorical": batch.x["categorical"]}, batch.y))


def test_answers_that_are_numbers_are_mixed_row_by_row_whatever_their_shape() -> None:
    y = torch.arange(6.0)
    assert apply(MixUp(1), Batch(torch.rand(6, 2), y)).y.shape == (6,)  # not (6, 6)


def test_corrupting_by_hand() -> None:
    x = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    chosen = torch.tensor([[True, False], [False, False], [True, True]])
    partner = torch.tensor([[2, 0], [0, 0], [1, 0]])
    assert corrupt(x, chosen, partner).tolist() == [[3, 10], [2, 20], [2, 10]]


def test_corrupt_takes_the_share_asked_for_from_the_same_column() -> None:
    batch = table(2000)
    out = apply(Corrupt(0.3), batch)
    assert out.records is None and out.y is batch.y
    codes = out.x["categorical"]
    assert ((codes[:, 0] < 10_000) & (codes[:, 1] >= 10_000)).all()
    assert abs((codes != batch.x["categorical"]).float().mean().item() - 0.3) < 0.03  # 4,000 coins: error 0.007
    # Columns are drawn apart: rows that lost both codes did not get both from one row.
    both = (codes != batch.x["categorical"]).all(1)
    assert both.sum() > 100 and (codes[both, 1] - codes[both, 0] == 10_000).float().mean() < 0.05
    rate = out.x["numeric"][:, 1].isnan().float().mean().item()
    assert abs(rate - 0.25) < 0.03  # the marginal distribution stays


def test_corrupting_all_leaves_only_the_marginals() -> None:
    out = apply(Corrupt(1.0), table(2000))
    assert (out.x["categorical"][:, 0] == torch.arange(2000)).float().mean() < 0.01


def test_corrupt_reads_an_empty_batch() -> None:
    assert len(apply(Corrupt(), table()[:0])) == 0


def test_corrupt_refuses_what_has_no_columns() -> None:
    with pytest.raises(SondeError, match="Corrupt changes the columns of a table, but x is a list"):
        apply(Corrupt(), Batch(["a", "b"]))
    with pytest.raises(SondeError, match="is outside"):
        Corrupt(1.5)


@pytest.mark.parametrize("method", [MixUp(2), Corrupt(0.2)], ids=lambda m: type(m).__name__)
def test_a_table_is_learned_in_the_loop(method: Method) -> None:
    g = torch.Generator().manual_seed(0)
    codes, numbers = torch.randint(0, 4, (128, 2), generator=g), torch.randn(128, 3, generator=g)
    y = ((codes[:, 0] > 1) ^ (numbers[:, 0] > 1)).long()
    net = TabM(outputs=2, numeric=3, cardinalities=(4, 4), widths=(16,), members=2, bins=4)
    run = Run(Classify(net), [method, sgd(0.1)])
    fit(run, Rows({"numeric": numbers, "categorical": codes}, y, batch_size=32), Budget(epochs=20))
    with run.evaluating() as objective:
        right = (objective.predict({"numeric": numbers, "categorical": codes}).argmax(1) == y).float().mean()  # type: ignore[operator]
    assert right > 0.75
