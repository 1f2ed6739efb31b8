"""Learning a stream of experiences to its end, and what was kept of them.

    from sonde.continual import learn
    from sonde.data.streams import permuted
    from sonde.methods import EWC, sgd

    found = learn(permuted(load("mnist"), tasks=10), MLP(shape=(1, 28, 28), outputs=10), [EWC(), sgd(lr=0.1)], epochs=1)
    found.measures, found.matrix
    Path("kept.svg").write_text(found.figure())

Entry: continual learning; catastrophic forgetting.
"""

# T experiences

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sonde.core import Budget, Engine, Measure, Method, Objective, Recipe, Run, SondeError, fit
from sonde.core.engine import seed_everything
from sonde.data.rows import Split
from sonde.methods import Retention
from sonde.objectives import Classify

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from sonde.data.streams import Stream


@dataclass(frozen=True)
class Kept:
    """What a run knows of every experience, stage by stage.

    run: the run. names: of the experiences.
    matrix: (T + 1, T) accuracy on each after each stage, row 0 before training.
    measures: average accuracy, forgetting, backward and forward transfer, with intervals.
    """

    run: Run
    names: tuple[str, ...]
    matrix: NDArray[Any]
    measures: tuple[Measure, ...]

    def __getitem__(self, name: str) -> Measure:
        """The measure `continual/NAME`."""
        return next(m for m in self.measures if m.name == f"continual/{name}")

    def figure(self) -> str:
        """The accuracy matrix as an SVG picture."""
        from sonde.report.retained import figure

        return figure(self.matrix.tolist(), self.names)


def learn(
    stream: Stream,
    net: nn.Module,
    methods: Sequence[Method],
    *,
    epochs: float = 1,
    batch_size: int = 128,
    seed: int = 0,
    split: str = "test",
    engine: Engine | None = None,
) -> Kept:
    """Train on each experience in turn, one stage each, and measure all of them after each.

    net: a classifier, or an `Objective` of the caller's. methods: with an update rule; `Retention` is added.
    epochs: passes over each experience. seed: of the order of the rows, and of what training draws; the weights are
        those that `net` comes with. split: what is measured.
    """
    seed_everything(seed)
    objective = net if isinstance(net, Objective) else Classify(net)
    run = Run(objective, [*methods, Retention(stream, split)], engine)
    for experience in stream:
        fit(run, Split(experience, "train", batch_size, seed + experience.number), Budget(epochs=epochs))
        if run.interrupted:
            break
    return kept(run)


def follow(recipe: Recipe, data: Any = None) -> Kept:
    """Train a recipe whose stages are a stream and whose methods include `Retention`, and measure it."""
    return kept(recipe.train(data=data))


def kept(run: Run) -> Kept:
    """What a run that has finished its stream measured on the way.

    Raises SondeError where there was no `Retention` among its methods, or stages are missing.
    """
    from sonde.audits.continual import accuracy_matrix, continual

    retention = next((m for m in run.methods if isinstance(m, Retention)), None)
    if retention is None:
        raise SondeError("nothing was measured between the stages", "add Retention to the methods")
    right, task, records = (t.numpy() for t in (retention.right, retention.task, retention.records))
    tasks = len(retention.stream)
    if len(right) != tasks + 1:
        stages = max(0, len(right) - 1)
        raise SondeError(f"{stages} of {tasks} stages were trained", "train the stream to its end")
    names = tuple(e.name for e in retention.stream)
    measures = tuple(continual(right, task, records, retention.split))
    return Kept(run, names, accuracy_matrix(right, task), measures)
