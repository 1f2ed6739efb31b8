"""The memory: what its sampling promises, its state, and its refusals."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from sonde.core import Batch, Refused
from sonde.methods.continual.memory import Memory


def stream(n: int, labels: list[int] | None = None) -> Batch:
    y = torch.zeros(n, dtype=torch.int64) if labels is None else torch.tensor(labels)
    return Batch(torch.arange(n).float()[:, None], y, torch.arange(n))


def offered(memory: Memory, batch: Batch, size: int = 7, stage: int = 0) -> Memory:
    for start in range(0, len(batch), size):
        memory.offer(batch[start : start + size], stage)
    return memory


def test_every_row_of_a_stream_is_as_likely_to_be_held() -> None:
    """60 rows, 12 places, 4000 memories: each count is binomial(4000, 1/5), and their chi-square is within 4 sigma."""
    trials, n, capacity = 4000, 60, 12
    held: Counter[int] = Counter()
    for seed in range(trials):
        memory = offered(Memory(capacity, seed=seed), stream(n))
        assert len(memory) == capacity
        kept = memory.rows["records"].tolist()
        assert len(set(kept)) == capacity  # a stream without repetition is held without repetition
        held.update(kept)
    expected = trials * capacity / n
    chi = sum((held[i] - expected) ** 2 / (expected * (1 - capacity / n)) for i in range(n))
    assert abs(chi - n) < 4 * math.sqrt(2 * n)


def test_a_row_and_its_label_and_record_stay_together() -> None:
    memory = offered(Memory(10, seed=1), stream(50, [i % 4 for i in range(50)]))
    drawn = memory.draw(100)
    assert drawn is not None and torch.equal(drawn.x.squeeze(1).long(), drawn.records)
    assert torch.equal(drawn.records % 4, drawn.y)


def test_a_balanced_memory_holds_all_classes_alike_however_they_come() -> None:
    labels = [0] * 60 + [1] * 30 + [2] * 6 + [0] * 40
    memory = offered(Memory(12, "class-balanced", seed=2), stream(len(labels), labels))
    counts = Counter(memory.rows["y"].tolist())
    assert counts == {0: 4, 1: 4, 2: 4}


def test_a_balanced_memory_keeps_all_rows_of_a_rare_class() -> None:
    labels = [0] * 50 + [1] * 3 + [0] * 50
    memory = offered(Memory(10, "class-balanced", seed=2), stream(len(labels), labels))
    assert Counter(memory.rows["y"].tolist()) == {0: 7, 1: 3}


def test_within_a_class_a_balanced_memory_is_uniform() -> None:
    labels = [0, 1] * 20
    held: Counter[int] = Counter()
    for seed in range(2000):
        held.update(offered(Memory(8, "class-balanced", seed=seed), stream(40, labels)).rows["records"].tolist())
    expected = 2000 * 8 / 40
    assert all(abs(held[i] - expected) < 5 * math.sqrt(expected * (1 - 8 / 40)) for i in range(40))


@pytest.mark.parametrize("keep", ["reservoir", "class-balanced"])
def test_a_memory_goes_on_from_its_state_with_the_same_bits(keep: str) -> None:
    rows = stream(80, [(7 * i) % 5 for i in range(80)])
    whole = offered(Memory(9, keep, seed=3), rows)  # type: ignore[arg-type]
    first = offered(Memory(9, keep, seed=3), rows[:42])  # type: ignore[arg-type]
    second = Memory(9, keep, seed=8)  # type: ignore[arg-type]
    second.load_state_dict(first.state_dict())
    offered(second, rows[42:])
    a, b = whole.draw(20), second.draw(20)
    assert a is not None and b is not None and torch.equal(a.records, b.records)
    assert torch.equal(whole.stages, second.stages)


def test_rows_of_earlier_stages_can_be_asked_for() -> None:
    memory = offered(Memory(20, seed=0), stream(30), stage=0)
    assert memory.draw(4, before=0) is None
    later = Batch(torch.arange(100, 130).float()[:, None], torch.zeros(30, dtype=torch.int64), torch.arange(100, 130))
    offered(memory, later, stage=1)
    drawn = memory.draw(64, before=1)
    assert drawn is not None and bool((drawn.records < 30).all())
    assert bool((memory.draw(64).records >= 100).any())  # type: ignore[union-attr]


def test_nested_inputs_and_fields_come_back_as_they_were() -> None:
    x = {"numeric": torch.randn(6, 2), "categorical": torch.randint(3, (6, 4))}
    memory = Memory(6)
    memory.offer(Batch(x, torch.arange(6), torch.arange(6), {"a.b": torch.arange(6.0)}))
    drawn = memory.draw(5)
    assert drawn is not None and drawn.x["categorical"].dtype == torch.int64
    assert torch.equal(drawn.x["numeric"], x["numeric"][drawn.records])
    assert torch.equal(drawn.fields["a.b"], drawn.records.float())


def test_labels_that_are_no_classes_cannot_be_balanced() -> None:
    with pytest.raises(Refused, match="DarkReplay balances its memory by class"):
        Memory(4, "class-balanced", owner="DarkReplay").check(Batch(torch.ones(2, 1), torch.ones(2, 3)))
    with pytest.raises(ValueError, match="capacity is a number of rows"):
        Memory(0)
    with pytest.raises(ValueError, match="keep is one of"):
        Memory(4, "ring")  # type: ignore[arg-type]
