"""The Python face of tuning: `lr_range_test` and `tune`, with the arguments of `sonde.train`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sonde.api import Named, read, resolve
from sonde.core import Recipe
from sonde.tuning.asking import Pruner
from sonde.tuning.ramp import RangeTest, range_test
from sonde.tuning.search import Tuned, search


def lr_range_test(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 200,
    seeds: int = 3,
    net: Named | None = None,
    methods: Sequence[Named] = (),
    settings: Mapping[str, Any] | None = None,
    recipe: Recipe | str | Path | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    despite_privacy: bool = False,
    own: Collection[Callable[..., Any]] = (),
    **reading: Any,
) -> RangeTest:
    """Raise the learning rate from `low` to `high` over some steps, and say which rate to train at.

    steps: of each ramp. seeds: how often it is repeated, from other weights. despite_privacy: also for a private
    recipe, whose epsilon does not cover it. All else is as in `sonde.train`.

    What comes back has `suggestion` (a rate, or None where the loss did not clearly fall), `suggestions` by rule with
    their spread over the seeds, and `curves`. Nothing is trained that stays, and no generator is moved.
    """
    dataset = read(data, target, seed, reading)
    numbers = {"batch_size": batch_size, "seed": seed}
    resolved = resolve(
        dataset, net, methods, settings, recipe, numbers, {"device": device, "precision": precision}, own
    )
    return range_test(resolved, dataset, low=low, high=high, steps=steps, seeds=seeds, despite_privacy=despite_privacy)


def tune(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    space: Mapping[str, Any] | None = None,
    trials: int = 20,
    seconds: float | None = None,
    metric: str | None = None,
    pruner: Pruner = "median",
    resume: bool = False,
    net: Named | None = None,
    methods: Sequence[Named] = (),
    settings: Mapping[str, Any] | None = None,
    recipe: Recipe | str | Path | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    output_dir: str | Path = "runs",
    name: str | None = None,
    despite_privacy: bool = False,
    own: Collection[Callable[..., Any]] = (),
    tell: Callable[[str], None] = lambda text: None,
    **reading: Any,
) -> Tuned:
    """Search for better settings: train up to `trials` variants, and judge each on the validation rows.

    space: what is varied, by path: `{"lr": "1e-4..1e-1 log", "net.widths": [(64,), (128, 128)]}`; the rate, the decay,
    the batch size, dropout and widths around the recipe's own unless given. trials, seconds: of the whole search.
    metric: what is improved: what early stopping watches, or the loss. pruner: `median`, `hyperband` or `none` gives up
    trials that fall behind. epochs, steps: of one trial. resume: go on with this search where it stopped.
    tell: is given a line of progress after each trial. All else is as in `sonde.train`.

    What comes back has `recipe` (the best; train it with `sonde.train(data, recipe=...)`), `best`, `trials`,
    `importance`, and `honest`: what the best is worth on rows that did not choose it.
    """
    dataset = read(data, target, seed, reading)
    numbers = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "lr": lr,
        "weight_decay": weight_decay,
        "seed": seed,
    }
    resolved = resolve(
        dataset, net, methods, settings, recipe, numbers, {"device": device, "precision": precision}, own
    )
    return search(
        resolved,
        dataset,
        space=space,
        trials=trials,
        seconds=seconds,
        metric=metric,
        pruner=pruner,
        output_dir=output_dir,
        name=name,
        resume=resume,
        despite_privacy=despite_privacy,
        own=own,
        tell=tell,
    )
