"""The rows that are listed are the worst, and the labels that are doubted are those that confident learning counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sonde.audits.quality.mistakes import Mistakes, doubts
from sonde.core import Subject, run_audits
from sonde.core.audit import Audited
from tests.support import LAW


class Fixed(nn.Module):
    """Answers by the number of the row."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, x: Tensor) -> Tensor:
        return self.answers[x.flatten().long()]


def audited(answers: Tensor, y: Tensor, **settings: int) -> Audited:
    net = Fixed(answers)
    subject = Subject.of(net, torch.arange(len(y)).float()[:, None], y, predict=net)
    (found,) = run_audits(subject, [Mistakes(**settings)])
    assert found.outcome == "done", found.reason
    return found


def test_the_worst_come_first_and_are_counted() -> None:
    p = torch.tensor([[0.9, 0.1, 0.0], [0.05, 0.95, 0.0], [0.4, 0.6, 0.0], [0.2, 0.0, 0.8], [0.0, 0.02, 0.98]])
    found = audited(p, torch.tensor([0, 0, 0, 2, 1]), rows=2)
    (table,) = found.tables
    assert [row[0] for row in table.rows] == ["record 4", "record 1"]
    assert table.rows[0][1:3] == ("1", "2") and table.rows[0][3] == pytest.approx(0.98)
    measures = {m.name: m for m in found.measures}
    assert measures["quality/mistakes/confident_share"].value == pytest.approx(2 / 5)


@LAW
@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), classes=st.integers(2, 4))
def test_doubts_are_those_of_the_definition(seed: int, n: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), n)
    y = rng.integers(0, classes, n)
    doubted, instead = doubts(p, y)
    for i in range(n):
        reached = {
            j: p[i, j]
            for j in range(classes)
            if (y == j).any() and p[i, j] >= np.mean([p[r, j] for r in range(n) if y[r] == j])
        }
        best = max(reached, key=reached.__getitem__) if reached else y[i]
        assert doubted[i] == (best != y[i])
        if doubted[i]:
            assert instead[i] == best


def test_wrong_labels_are_found() -> None:
    g = torch.Generator().manual_seed(0)
    truth = torch.randint(3, (300,), generator=g)
    p = torch.full((300, 3), 0.05)
    p[torch.arange(300), truth] = 0.9
    y = truth.clone()
    wrong = torch.randperm(300, generator=g)[:15]
    y[wrong] = (y[wrong] + 1) % 3
    found = audited(p, y, rows=20)
    measures = {m.name: m.value for m in found.measures}
    assert measures["quality/mistakes/doubted_labels_share"] == pytest.approx(15 / 300)
    assert {row[0] for row in found.tables[0].rows} == {f"record {i}" for i in wrong.tolist()}
    assert all(row[5] == row[2] for row in found.tables[0].rows)


def test_numbers_far_off_and_labels_far_off() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.randn(200, 1, generator=g)
    guess = y + 0.1 * torch.randn(200, 1, generator=g).clamp(-2, 2)
    guess[7] += 5
    found = audited(guess, y, rows=1)
    assert found.measures[0].value == pytest.approx(1 / 200) and found.tables[0].rows[0][0] == "record 7"
    labels = (torch.rand(50, 3, generator=g) > 0.5).float()
    p = 0.2 + 0.6 * labels
    p[3, 1] = 1 - labels[3, 1]
    found = audited(p, labels.long())
    assert found.measures[0].value == pytest.approx(1 / 50)
    assert [row[:2] for row in found.tables[0].rows] == [("record 3", "1")]


def test_rows_have_their_names_and_pictures_are_shown() -> None:
    x = torch.rand(6, 1, 5, 5)
    net = nn.Sequential(nn.Flatten(), nn.Linear(25, 2))
    y = 1 - net(x).argmax(1)
    subject = Subject.of(net, x, y, kind="image", bounds=(0.0, 1.0))
    (found,) = run_audits(subject, [Mistakes(rows=4)])
    assert len(found.tables[0].rows) == 4 and found.figures[0].svg.count("<image") == 4
    texts = Subject.of(
        net, ["one", "two"], torch.tensor([0, 1]), logits=lambda t: torch.tensor([[0.0, 1.0], [1, 0]])[: len(t)]
    )
    (found,) = run_audits(texts, [Mistakes()])
    assert {row[0] for row in found.tables[0].rows} == {"one", "two"}
