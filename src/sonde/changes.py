"""Changes to a recipe that somebody asked for, from the command line or from Python: checked, and then applied.

An option that could not be followed is refused, never dropped.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sonde.core import Budget, Build, Engine, Method, Recipe, SondeError, Stage
from sonde.names import snake

LEAST = {
    "epochs": 0,
    "steps": 1,
    "seconds": 0,
    "batch_size": 1,
    "lr": 0,
    "weight_decay": 0,
    "patience": 1,
    "microbatch": 1,
}
LEAST |= {"seed": 0}
ABOVE = {"epochs", "seconds", "lr"}  # more than nothing, however little


def check_numbers(**numbers: float | None) -> None:
    """Refuse a number that no training can follow, naming the option."""
    for name, value in numbers.items():
        if value is None:
            continue
        least, above = LEAST[name], name in ABOVE
        if not (value > least if above else value >= least) or value == float(
            "inf"
        ):  # NaN is not above anything either
            bound = f"above {least}" if above else f"at least {least}"
            raise SondeError(f"{name} is {value:g}", f"give a number {bound}")
    seed = numbers.get("seed")
    if seed is not None and seed >= 2**63:
        raise SondeError(f"seed is {seed}", "give a whole number below 2**63")


def over(
    recipe: Recipe,
    *,
    data: Build[Any] | None = None,
    net: Build[Any] | None = None,
    methods: Sequence[Build[Method]] = (),
    epochs: float | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    patience: int | None = None,
    microbatch: int | None = None,
    seed: int | None = None,
    engine: Engine | None = None,
) -> Recipe:
    """A whole recipe with what was asked for beside it; None changes nothing."""
    from sonde.core import Backprop
    from sonde.methods import EarlyStopping
    from sonde.recipes.defaults import with_methods, with_rates

    if net is not None:
        recipe = recipe.changed(objective=recipe.objective.with_arguments(net=net))
    asked: list[Build[Any]] = list(methods)
    if microbatch is not None:
        asked.append(Build(Backprop, microbatch=microbatch))
    if patience is not None:
        own = next((b for b in recipe.methods if b.make is EarlyStopping), Build(EarlyStopping))
        asked.append(own.with_arguments(patience=patience))
    chosen = with_rates(with_methods(recipe.methods, asked), lr=lr, weight_decay=weight_decay)
    limits: dict[str, Any] = {"steps": steps, "epochs": epochs, "seconds": seconds}
    limits = {k: v for k, v in limits.items() if v is not None}
    stages = []
    for stage in recipe.stages:
        given: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
        takes = inspect.signature(stage.source.make).parameters
        given = {k: v for k, v in given.items() if v is not None and k in takes}
        budget = Budget(**limits) if limits else stage.budget
        stages.append(Stage(source=stage.source.with_arguments(**given), budget=budget))
    return recipe.changed(
        methods=tuple(chosen),
        stages=tuple(stages),
        data=recipe.data if data is None else data,
        seed=recipe.seed if seed is None else seed,
        engine=recipe.engine if engine is None else engine,
    )


def resized(recipe: Recipe, known: Mapping[str, Any]) -> Recipe:
    """The recipe with the sizes that its net gives and the data decides taken from the data.

    known: see `sonde.recipes.defaults.decided_by`. Outputs are left alone where they are not the data's classes: in an
    objective that counts them itself.
    """
    net = recipe.objective.arguments.get("net")
    if not isinstance(net, Build):
        return recipe
    own = inspect.signature(recipe.objective.make).parameters
    counted = {"outputs", "classes"} if "classes" in own else set()
    sizes = {k: v for k, v in known.items() if k in net.arguments and k not in counted}
    return recipe.changed(objective=recipe.objective.with_arguments(net=net.with_arguments(**sizes)))


def check_whole(recipe: Recipe) -> Recipe:
    """The recipe, if every constructor in it has what it needs; else an error that names the option.

    What builds the data set, and a parameter called `data`, are not asked for: the run gives them.
    """
    for build in builds([recipe.objective, *recipe.methods, *(s.source for s in recipe.stages)]):
        for p in inspect.signature(build.make).parameters.values():
            needed = p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            if needed and p.name not in build.arguments and p.name != "data":
                name = snake(build.make.__name__)
                raise SondeError(
                    f"{name} needs {p.name}, which neither you nor the data gives", f"write {name}({p.name}=...)"
                )
    return recipe


def builds(value: Any) -> Iterator[Build[Any]]:
    """Every build in a value, whatever it is nested in."""
    if isinstance(value, Build):
        yield value
        value = list(value.arguments.values())
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from builds(part)
