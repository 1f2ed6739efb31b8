"""A stream learned to its end: the matrix, the measures, the figure, recipes as plain data, and the refusals."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from sonde.continual import follow, kept, learn
from sonde.core import Batch, Budget, Build, Recipe, Run, SondeError, Stage, fit
from sonde.data.rows import Split
from sonde.data.streams import experience, permuted, split
from sonde.methods import EWC, GrowColumns, Replay, Retention, adam, sgd
from sonde.nets import MLP, ProgressiveMLP
from sonde.objectives import Classify, ClassifyTasks
from sonde.recipes.permuted_mnist import permuted_mnist
from sonde.recipes.split_mnist import split_mnist
from sonde.report.retained import figure
from tests.support import blobs


class Blobs:
    """Blobs in 12 columns: 4 that tell the class, 8 of noise."""

    name = "blobs"

    def __init__(self) -> None:
        x, self.y = blobs(240, classes=4)
        self.x = torch.cat([x, 0.1 * torch.randn(240, 8, generator=torch.Generator().manual_seed(1))], 1)
        self.splits = {"train": torch.arange(160), "val": torch.arange(160, 180), "test": torch.arange(180, 240)}

    def batch(self, index: Tensor) -> Batch:
        return Batch(self.x[index], self.y[index], index)


def net(outputs: int = 4) -> MLP:
    torch.manual_seed(0)
    return MLP(shape=(12,), outputs=outputs, widths=(32,))


def test_a_stream_is_learned_and_measured() -> None:
    stream = permuted(Blobs(), tasks=3)
    plain = learn(stream, net(), [sgd(0.1)], epochs=6, batch_size=16)
    held = learn(stream, net(), [EWC(50.0, cap=1.0), sgd(0.1)], epochs=6, batch_size=16)
    assert plain.matrix.shape == (4, 3) and plain.names == ("order 0", "order 1", "order 2")
    assert bool((np.diag(plain.matrix[1:]) > 0.9).all())
    assert held["forgetting"].value < plain["forgetting"].value
    assert held["average_accuracy"].value == pytest.approx(held.matrix[-1].mean())
    assert held["average_accuracy"].interval is not None


def test_class_incremental_learning_forgets_all_and_replay_does_not() -> None:
    stream = split(Blobs(), tasks=2)
    plain = learn(stream, net(), [adam(0.01)], epochs=8, batch_size=16)
    replayed = learn(stream, net(), [Replay(40, 16), adam(0.01)], epochs=8, batch_size=16)
    assert plain.matrix[-1, 0] < 0.3 and plain["forgetting"].value > 0.6
    assert replayed["average_accuracy"].value > 0.75


def test_a_progressive_net_forgets_nothing() -> None:
    stream = permuted(Blobs(), tasks=3, scenario="task")
    torch.manual_seed(0)
    objective = ClassifyTasks(ProgressiveMLP((12,), 4, (16,)), classes=4)
    found = learn(stream, objective, [GrowColumns(), adam(0.02)], epochs=8, batch_size=16)
    assert found["forgetting"].value == 0.0 and found["average_accuracy"].value > 0.8
    chance = (stream[2].batch(stream[2].splits["test"]).y == 0).double().mean()
    assert found.matrix[0, 2] == found.matrix[2, 2] == pytest.approx(float(chance))  # it had no column for it yet


def recipe() -> Recipe:
    stream = Build(permuted, tasks=2)
    stages = tuple(
        Stage(
            source=Build(Split, data=Build(experience, stream=stream, number=t), batch_size=16), budget=Budget(epochs=2)
        )
        for t in range(2)
    )
    return Recipe(
        name="blobs",
        seed=0,
        objective=Build(Classify, net=Build(MLP, shape=(12,), outputs=4, widths=(16,))),
        methods=(Build(EWC), Build(Retention, stream=stream), Build(sgd, lr=0.1)),
        stages=stages,
    )


def test_a_recipes_stages_are_the_stream_and_survive_as_plain_data() -> None:
    again = Recipe.from_data(json.loads(json.dumps(recipe().to_data())))
    assert again.to_data() == json.loads(json.dumps(recipe().to_data()))
    a, b = follow(recipe(), Blobs()), follow(again, Blobs())
    assert np.array_equal(a.matrix, b.matrix) and a.matrix.shape == (3, 2)


@pytest.mark.parametrize("make", [permuted_mnist, split_mnist])
def test_the_published_recipes_are_plain_data(make) -> None:  # type: ignore[no-untyped-def]
    written = json.loads(json.dumps(make().to_data()))
    assert json.loads(json.dumps(Recipe.from_data(written).to_data())) == written


def test_what_was_not_measured_is_said() -> None:
    stream = permuted(Blobs(), tasks=2)
    with pytest.raises(SondeError, match="nothing was measured between the stages"):
        kept(Run(Classify(net()), [sgd(0.1)]))
    run = Run(Classify(net()), [Retention(stream), sgd(0.1)])
    fit(run, Split(stream[0], "train", 16), Budget(steps=2))
    with pytest.raises(SondeError, match="1 of 2 stages were trained"):
        kept(run)


def test_the_figure_shows_every_number_and_escapes_names() -> None:
    drawn = figure([[0.1, 0.1], [0.95, 0.2], [float("nan"), 1.0]], ["<b>", "a name that is long"])
    assert "<b>" not in drawn and "&lt;b&gt;" in drawn and "–" in drawn
    assert [t for t in re.findall(r">([\d.]+)</text>", drawn) if t in ("95", "95.0", "20", "20.0", "100", "100.0")]
    assert drawn.startswith("<svg") and drawn.endswith("</svg>") and "<title>" in drawn
    with pytest.raises(ValueError, match="one for each experience"):
        figure([[0.1]], ["a", "b"])
