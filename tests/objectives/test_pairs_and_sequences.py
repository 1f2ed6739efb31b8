"""Pairs that are alike or not, and sequences labelled without an alignment."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sonde.core import Batch, Budget, Run, SondeError, fit
from sonde.data.rows import Rows
from sonde.losses import CTC, PairMargin
from sonde.methods import adam
from sonde.methods.observe.validate import mean_scores
from sonde.objectives import Pairs, Transcribe
from tests.support import blobs, mlp


def test_alike_come_near_and_unlike_part() -> None:
    x, y = blobs(128)
    other = torch.randperm(128, generator=torch.Generator().manual_seed(1))
    alike = (y == y[other]).float()
    source = Rows(x, alike, batch_size=32, fields={"other": x[other]})
    run = fit(Run(Pairs(mlp(4, 16, 2)), [adam(0.01)]), source, Budget(steps=300))
    with run.evaluating() as objective:
        scores = mean_scores(objective, [Batch(x, alike, fields={"other": x[other]})])
    assert scores["accuracy"] > 0.95


def test_the_term_is_the_loss_of_the_embeddings() -> None:
    x = torch.randn(5, 4)
    objective, alike = Pairs(nn.Identity(), margin=2.0), torch.tensor([1.0, 0, 1, 0, 1])
    value = objective("model", Batch(x, alike, fields={"other": -x})).terms["pair"].value
    assert torch.equal(value, PairMargin(2.0)(x, -x, alike))
    with pytest.raises(SondeError, match="`other`"):
        objective("model", Batch(x, alike))


def test_best_paths_are_merged_and_blanks_dropped() -> None:
    paths = torch.tensor([[0, 1, 1, 0, 1], [2, 2, 2, 3, 0], [0, 0, 0, 0, 0]])
    objective = Transcribe(nn.Identity())
    logits = nn.functional.one_hot(paths, 4).float()
    assert objective.predict(logits).tolist() == [[1, 1, -1, -1, -1], [2, 3, -1, -1, -1], [-1] * 5]
    assert objective.read(logits, torch.tensor([3, 3, 3]))[:, :2].tolist() == [[1, -1], [2, -1], [-1, -1]]


def test_sixteen_sequences_are_learned_by_heart() -> None:
    g = torch.Generator().manual_seed(2)
    y = torch.randint(1, 4, (16, 3), generator=g)
    y[::4, 2] = -1
    x = torch.randn(16, 8, 6, generator=g)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 64), nn.Tanh(), nn.Linear(64, 32), nn.Unflatten(1, (8, 4)))
    objective = Transcribe(net)
    run = fit(Run(objective, [adam(0.01)]), Rows(x, y, batch_size=16), Budget(steps=300))
    loss = run.losses["model"].terms["task"].value
    assert loss.max() < 0.1
    with run.evaluating() as trained:
        assert mean_scores(trained, [Batch(x, y)])["exact"] == 1.0


def test_frames_that_do_not_count_change_nothing() -> None:
    z, y, frames = torch.randn(3, 6, 4), torch.tensor([[1, 2], [3, -1], [2, 1]]), torch.tensor([6, 3, 4])
    value = Transcribe(nn.Identity())("model", Batch(z, y, fields={"frames": frames})).terms["task"].value
    assert torch.equal(value, CTC()(z, y, frames))
