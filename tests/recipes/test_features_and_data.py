"""Features and data: every way learns what is easy, sees the rows it should, and the claims can be refuted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sonde.core import Batch
from sonde.data import Dataset
from sonde.data.images import ImageSchema, image_dataset
from sonde.data.targets import Target
from sonde.experiment import Check
from sonde.recipes.features_and_data import (
    HAND,
    NET,
    WAYS,
    Errors,
    about_everything,
    about_growth,
    drawn,
    learning_curves,
)


def bars(rows: int = 300) -> Dataset:
    """Ten classes: a bright bar at one of ten heights, in a little noise."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(rows) % 10
    x = 0.2 * torch.rand(rows, 1, 28, 28, generator=generator)
    for i, height in enumerate(y.tolist()):
        x[i, 0, 2 + 2 * height : 5 + 2 * height, 4:24] += 0.7
    schema = ImageSchema(1, (28, 28), Target("classification", ("class",), tuple("0123456789")))
    return image_dataset(
        x.numpy(), y.numpy(), schema, name="bars", names=[str(i) for i in range(rows)], test=0.4, val=0.0, seed=0
    )


@pytest.mark.parametrize("name", [name for name in WAYS if "boosted" not in name])
def test_every_way_learns_what_is_easy(name: str) -> None:
    data = bars()
    train, test = (data.batch(data.splits[split]) for split in ("train", "test"))
    answered = WAYS[name][0](train, test.x, 0)
    assert answered.dtype == torch.int64 and answered.eq(test.y).float().mean() > 0.9


def test_smaller_draws_are_part_of_larger_ones_and_all_ways_have_the_same() -> None:
    seen: dict[str, list[set[float]]] = {"a": [], "b": []}

    def noting(name: str):  # type: ignore[no-untyped-def]
        def answers(train: Batch, x: Tensor, seed: int) -> Tensor:
            seen[name].append({float(v) for v in train.x.sum((1, 2, 3))})
            return torch.zeros(len(x), dtype=torch.int64)

        return answers

    found = learning_curves(bars(), (5, 20), (1, 2), {"a": (noting("a"), 100), "b": (noting("b"), 10)})
    assert [len(s) for s in seen["a"]] == [5, 20, 5, 20] and seen["a"][0] < seen["a"][1]
    assert seen["b"] == [seen["a"][0], seen["a"][2]] and seen["a"][0] != seen["a"][2]
    assert list(found["a"]) == [5, 20] and list(found["b"]) == [5] and len(found["a"][20]) == 2
    assert all(80 < e <= 100 for errors in found["a"].values() for e in errors)  # zero is one class of ten


def held(few: tuple[float, float], many: tuple[float, float]) -> list[bool]:
    """Whether the claims hold for errors of (hand-made, net) with few and with many rows."""
    found: Errors = {
        name: {10: [few[i] + 0.1 * s for s in range(3)], 1000: [many[i] + 0.01 * s for s in range(3)]}
        for i, name in enumerate((HAND, NET))
    }
    assert drawn(found, {}).svg.startswith("<?xml")
    return [f.holds for f in about_growth(found, (10, 1000)) if isinstance(f, Check)]


def test_the_claims_on_growth_can_be_refuted() -> None:
    assert held((10, 20), (3, 1)) == [True, True]
    assert held((20, 10), (3, 1)) == [False, True]
    assert held((10, 20), (1, 3)) == [True, False]


def test_on_all_rows_answers_are_compared_row_by_row() -> None:
    data = bars()
    truth = data.batch(data.splits["test"]).y

    def answering(wrong: int):  # type: ignore[no-untyped-def]
        def answers(train: Batch, x: Tensor, seed: int) -> Tensor:
            return torch.cat([(truth[:wrong] + 1) % 10, truth[wrong:]])

        return answers

    ways = {HAND: (answering(30), 1000), NET: (answering(0), 1000)}
    checks = [f for f in about_everything(data, 0, ways) if isinstance(f, Check)]
    assert [c.holds for c in checks] == [True, True] and checks[1].measure.value == 0
    ways = {HAND: (answering(5), 1000), NET: (answering(6), 1000)}
    assert [f.holds for f in about_everything(data, 0, ways) if isinstance(f, Check)] == [False, False]
