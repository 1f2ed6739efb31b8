"""A recipe of one stage made into a stream: a stage for each experience, and what is measured between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sonde import methods, objectives
from sonde.core import Build, Recipe, SondeError, Stage
from sonde.data.rows import Split
from sonde.data.streams import Stream, experience, in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sonde.data import Dataset


def for_stream(recipe: Recipe, stream: Build[Stream], data: Dataset, asked: Sequence[Build[Any]] = ()) -> Recipe:
    """The recipe with a stage for each experience of the stream, each with the budget of the recipe's one stage.

    asked: the methods a user named. They are kept, and so are the update rule and what fits the inputs; the other
    defaults change rows or weights in ways that suit one data set and not every stream (shifted pictures after a
    permutation, an average of weights over two experiences). `Retention` takes the place of validation.
    """
    if data.task != "classification":
        raise SondeError(f"{data.name} is a {data.task}, and a stream is measured by right answers", "leave stream out")
    if stream.arguments.get("scenario") == "task":
        raise SondeError(
            "a model that is told the task needs a head for each, which no default has",
            f"choose the scenario class or domain, or give a recipe with {objectives.ClassifyTasks.__name__}",
        )
    if any(b.make is methods.EarlyStopping for b in recipe.methods):
        raise SondeError("early stopping would judge a stage by rows of other experiences", "give epochs instead")
    (only,) = recipe.stages
    own = {b.make for b in asked}
    defaults = (methods.LabelSmoothing, methods.EMA, methods.Shift, methods.Validate)
    kept = [b for b in recipe.methods if b.make in own or b.make not in defaults]
    experiences = stream(data=data)  # what is wrong with the stream is said now
    size = min(only.source.arguments["batch_size"], *(len(e.splits["train"]) for e in experiences))
    seed = only.source.arguments.get("seed", 0)
    retention: Build[Any] = Build(methods.Retention, stream=stream)
    stages = []
    for t in range(len(experiences)):
        rows = Build(experience, stream=stream, number=t)
        source: Build[Any] = Build(Split, data=rows, split="train", batch_size=size, seed=seed + t)
        stages.append(Stage(source=source, budget=only.budget))
    return recipe.changed(methods=(*kept, retention), stages=tuple(stages))


def stream_of(data: Dataset, asked: Build[Stream] | None) -> Build[Stream] | None:
    """The stream that was asked for; for data put together of several sets, each in its turn unless something else."""
    return Build(in_order) if asked is None and data.parts else asked
