"""Streams: what each experience shows, which labels and records it has, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sonde.core import Batch, Build, SondeError
from sonde.data.rows import Split
from sonde.data.streams import Experience, Stream, experience, joined, permuted, rotated, split


class Pictures:
    """24 pictures of 4 classes."""

    name = "pictures"

    def __init__(self, seed: int = 0, side: int = 6) -> None:
        g = torch.Generator().manual_seed(seed)
        self.x, self.y = torch.rand(24, 1, side, side, generator=g), torch.arange(24) % 4
        self.splits = {"train": torch.arange(16), "val": torch.arange(16, 20), "test": torch.arange(20, 24)}

    def batch(self, index: Tensor) -> Batch:
        return Batch(self.x[index], self.y[index], index, {"group": index % 2})


ALL = torch.arange(24)


def test_a_permuted_stream_shows_the_same_pixels_in_another_order() -> None:
    data = Pictures()
    stream = permuted(data, tasks=3, seed=1)
    first, second, third = (e.batch(ALL) for e in stream)
    assert torch.equal(first.x, data.x)
    assert not torch.equal(second.x, data.x) and not torch.equal(second.x, third.x)
    assert torch.equal(second.x.flatten(1).sort(1).values, data.x.flatten(1).sort(1).values)
    assert torch.equal(second.records, ALL) and torch.equal(second.y, data.y) and "task" not in second.fields
    again = permuted(data, tasks=3, seed=1)[1].batch(ALL)
    other = permuted(data, tasks=3, seed=2)[1].batch(ALL)
    assert torch.equal(again.x, second.x) and not torch.equal(other.x, second.x)


def test_the_first_orders_do_not_depend_on_how_many_there_are() -> None:
    few, many = permuted(Pictures(), tasks=2)[1], permuted(Pictures(), tasks=7)[1]
    assert torch.equal(few.batch(ALL).x, many.batch(ALL).x)


def test_a_rotated_stream_turns_by_its_angle() -> None:
    data = Pictures()
    stream = rotated(data, tasks=2, most=180.0)  # 0 and 90 degrees
    assert [e.name for e in stream] == ["0 degrees", "90 degrees"]
    turned = stream[1].batch(ALL).x
    assert any(torch.allclose(turned, torch.rot90(data.x, k, (2, 3)), atol=1e-5) for k in (1, -1))


def test_an_oblong_picture_is_turned_and_not_sheared() -> None:
    class Oblong(Pictures):
        def __init__(self) -> None:
            super().__init__()
            row, column = torch.meshgrid(torch.arange(31.0) - 15, torch.arange(61.0) - 30, indexing="ij")
            self.x = torch.exp(-(row.square() + column.square()) / 60).expand(24, 1, 31, 61).clone()  # round

    turned = rotated(Oblong(), tasks=4)[1].batch(ALL[:1]).x
    assert torch.allclose(turned, Oblong().x[:1], atol=0.02)


@pytest.mark.parametrize("scenario", ["class", "domain", "task"])
def test_a_split_stream_has_classes_of_its_own(scenario: str) -> None:
    stream = split(Pictures(), tasks=2, scenario=scenario)  # type: ignore[arg-type]
    assert [e.name for e in stream] == ["0 and 1", "2 and 3"]
    for t, e in enumerate(stream):
        batch = e.batch(e.splits["train"])
        low = 2 * t if scenario == "class" else 0
        assert batch.y.unique().tolist() == [low, low + 1]
        assert batch.fields.get("task", torch.tensor([])).unique().tolist() == ([t] if scenario == "task" else [])
        assert "group" in batch.fields
    together = torch.cat([e.splits["train"] for e in stream])
    assert sorted(together.tolist()) == list(range(16))


def test_the_users_own_data_sets_keep_their_records_apart() -> None:
    stream = joined([Pictures(0), Pictures(1)], scenario="class")
    a, b = (e.batch(ALL) for e in stream)
    assert not set(a.records.tolist()) & set(b.records.tolist())
    assert a.y.max() == 3 and b.y.min() == 4
    assert joined([Pictures(0), Pictures(1)])[1].batch(ALL).y.max() == 3


def test_an_experience_is_a_data_set_for_split_and_for_a_recipe() -> None:
    stage = Build(Split, data=Build(experience, stream=Build(permuted, tasks=3), number=2), batch_size=8)
    found = next(stage(data=Pictures()).batches(None))
    assert len(found) == 8 and torch.equal(found.x, permuted(Pictures(), tasks=3)[2].batch(found.records).x)
    assert Build.from_data(stage.to_data()) == stage


def test_what_cannot_be_streamed_is_refused() -> None:
    class Table(Pictures):
        def batch(self, index: Tensor) -> Batch:
            return Batch({"numeric": self.x[index].flatten(1)}, self.y[index].float() + 0.5, index)

        y = None  # type: ignore[assignment]

        def __init__(self) -> None:
            super().__init__()
            self.labels, self.y = self.y, self.y.float()

    cases = [
        (lambda: permuted(Table()), "needs numbers in one tensor"),
        (lambda: rotated(Table()), "needs pictures"),
        (lambda: split(Table(), 2), "every row has one"),
        (lambda: split(Pictures(), 3), "4 classes cannot be split evenly into 3"),
        (lambda: permuted(Pictures(), scenario="class"), "no scenario 'class'"),
        (lambda: permuted(Pictures(), tasks=0), "at least one experience"),
        (lambda: joined([Pictures(), Pictures(side=5)]), "different shapes"),
        (lambda: experience(permuted(Pictures(), 2), 2), "no experience 2"),
        (lambda: Stream([]), "needs an experience"),
    ]
    for make, words in cases:
        with pytest.raises(SondeError, match=words):
            make()


def test_a_stream_is_a_sequence() -> None:
    stream = permuted(Pictures(), 3)
    assert len(stream) == 3 and isinstance(stream[1], Experience) and stream[-1].number == 2
    assert [e.number for e in stream] == [0, 1, 2] and math.isclose(len(list(reversed(stream))), 3)
