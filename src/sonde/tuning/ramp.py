"""The learning-rate range test: the same recipe for a few hundred steps, at a rate that grows exponentially.

Smith, Cyclical learning rates for training neural networks, 2017, section 3.3. Deliberate differences:

- The rate grows exponentially, as is usual by now, and the test ends when the loss has quadrupled.
- Each loss is paired with the rate of the step before it, which it is the outcome of.
- It is repeated with other seeds, since where a single noisy curve falls fastest is partly chance.
"""

from __future__ import annotations

import inspect
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sonde.core import Budget, Build, Event, Method, Recipe, Run, SondeError, Stepped, fit
from sonde.core.backprop import NonFinite
from sonde.core.engine import rng_state, set_rng_state
from sonde.methods import LBFGS, Descend, EarlyStopping, ReduceOnPlateau
from sonde.names import snake
from sonde.optim.schedules import Constant
from sonde.recipes.defaults import updates
from sonde.tuning import Misasked
from sonde.tuning.privacy import check_public
from sonde.tuning.rates import Curve, curve, highest

RULES = {
    "steepest": "where the loss falls fastest per decade",
    "minimum / 10": "a tenth of the rate at which it is lowest",
    "minimum / 3": "a third of it",
    "minimum": "where the loss is lowest: about the highest rate of use",
}


@dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    rule: the update rule's name. rate: the recipe's own learning rate, which its schedule multiplies.
    anneals: whether the schedule, or an average in its place, lets the rate fall. curves: one a seed.
    others: further rates of the update rule, scaled in proportion (Muon's for what is no matrix), by name.
    seconds: what it took.
    """

    rule: str
    rate: float
    anneals: bool
    others: Mapping[str, float]
    curves: tuple[Curve, ...]
    seconds: float

    @property
    def suggestions(self) -> dict[str, tuple[float, float, float]]:
        """(median, lowest, highest) over the seeds, by rule, of those that suggest one; {} unless most seeds do."""
        found = [s for c in self.curves if (s := c.suggested())]
        if 2 * len(found) <= len(self.curves):
            return {}
        return {
            name: (
                _round(statistics.median(s[name] for s in found)),
                min(s[name] for s in found),
                max(s[name] for s in found),
            )
            for name in RULES
        }

    @property
    def chosen(self) -> str:
        """The rule that fits the recipe's schedule.

        A peak from which the rate falls may be as high as training bears; a rate that stays must also settle. A tenth,
        which is usually advised, was worse in everything that was measured (docs/tuning.md).
        """
        return "minimum" if self.anneals else "minimum / 3"

    @property
    def suggestion(self) -> float | None:
        """The rate to begin with; None where the loss did not clearly fall."""
        found = self.suggestions
        return found[self.chosen][0] if found else None

    @property
    def still_falling(self) -> bool:
        """Whether the highest rate was reached before the loss rose: the useful rates may lie beyond."""
        return all(c.ended == "highest" and c.lowest >= len(c.rates) - 2 for c in self.curves)

    def settings(self, rate: float) -> dict[str, float]:
        """What a recipe is to be given to train at `rate`: `lr`, and the other rates in the same proportion."""
        return {"lr": rate, **{k: _round(v * rate / self.rate) for k, v in self.others.items()}}


class Ramp(Method):
    """Raises the rate from `low` to `high` over `steps` steps, exponentially, and ends when the loss quadruples.

    rate: the update rule's own, in whose place the test's comes; groups at other rates keep their proportion.
    """

    def __init__(self, rate: float, low: float, high: float, steps: int) -> None:
        self.rates = [low * (high / low) ** (t / max(1, steps - 1)) for t in range(steps)]
        self.rate, self.step = rate, 0
        self.losses: list[float] = []
        self.remembers_for = max(1.0, 0.15 * steps / math.log10(high / low))  # steps: about a sixth of a decade
        self._sum = self._weight = 0.0
        self._best = math.inf

    def pace(self) -> float:
        """See `Paces`."""
        return self.rates[min(self.step, len(self.rates) - 1)] / self.rate

    def paces(self, run: Run, turn: str) -> dict[str, float]:
        """See `Paces`."""
        return {}

    def on(self, run: Run, event: Event) -> None:
        """Keep the loss, and end the stage when its running average is far above its best."""
        if not isinstance(event, Stepped):
            return
        self.step += 1
        loss = next(iter(event.losses.values()), None)
        value = math.nan if loss is None else float(loss.total(denominator=event.batch.denominator))
        self.losses.append(value)
        if math.isnan(value):
            return
        fade = 1 - 1 / self.remembers_for
        self._sum, self._weight = fade * self._sum + value, fade * self._weight + 1
        now = self._sum / self._weight
        self._best = min(self._best, now)
        if now > highest(self._best, self.losses[0]):
            run.stop = "diverged"


def range_test(
    recipe: Recipe,
    data: Any,
    *,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 200,
    seeds: int = 3,
    despite_privacy: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> RangeTest:
    """Try the rates from `low` to `high` on a recipe, `seeds` times from fresh weights, and read off which to use.

    data: the data set that the recipe is for. steps: of each ramp. tell: a line of progress.
    The recipe's schedule is left out, and so is what measures, stops or slows down. Nothing is kept of what was
    trained, and the generators are as they were.

    Raises SondeError where no rate can be raised (no update rule with a rate, a game), Refused in private training.
    """
    import time

    if not 0 < low < high < math.inf:
        raise Misasked(f"the rates go from {low:g} to {high:g}", "give two positive numbers, the lower one first")
    if steps < 20 or seeds < 1:
        raise Misasked(f"{steps} steps of {seeds} seeds show no curve", "give 20 steps or more, and one seed or more")
    check_public(recipe, despite_privacy, "a range test")
    bare, rate, others = prepared(recipe)
    build = next(b for b in recipe.methods if updates(b))
    before, began = rng_state(), time.perf_counter()
    try:
        curves = []
        for seed in range(recipe.seed, recipe.seed + seeds):
            curves.append(_ramped(_seeded(bare, seed), data, rate, low, high, steps))
            tell(f"seed {seed}: {_told(curves[-1])}")
    finally:
        set_rng_state(before)
    name = snake(build.make.__name__)
    return RangeTest(name, rate, anneals(build), others, tuple(curves), time.perf_counter() - began)


def prepared(recipe: Recipe) -> tuple[Recipe, float, dict[str, float]]:
    """The recipe at a constant rate and without what reacts to measurements, its rate, and its other rates by name."""
    build = next((b for b in recipe.methods if updates(b)), None)
    if build is None:
        raise SondeError("the recipe has no update rule", "add one: --with adamw")
    parameters = inspect.signature(build.make).parameters
    name = snake(build.make.__name__)
    if "lr" not in parameters:
        raise SondeError(f"{name} has no learning rate that could be raised", "choose another rule: --with adamw")
    if build.make is LBFGS and build.arguments.get("line_search", parameters["line_search"].default):
        raise SondeError("lbfgs searches for the length of every step itself", "there is no rate to choose")

    def given(option: str) -> float:
        return float(build.arguments.get(option, parameters[option].default))

    constant: dict[str, Any] = {"schedule": Build(Constant)} if "schedule" in parameters else {}
    constant |= {"warmup": 0.0} if "warmup" in parameters else {}
    kept = tuple(
        b.with_arguments(**constant) if b is build else b
        for b in recipe.methods
        if not getattr(b.make, "measures", False) and b.make not in (EarlyStopping, ReduceOnPlateau)
    )
    others = {p: given(p) for p in parameters if p.endswith("_lr")}
    return recipe.changed(methods=kept), given("lr"), others


def anneals(build: Build[Any]) -> bool:
    """Whether an update rule ends far below the rate it is given, by its schedule, or averages in place of that."""
    parameters = inspect.signature(build.make).parameters
    if "schedule" not in parameters:
        return "warmup" in parameters  # schedule-free
    schedule = build.arguments.get("schedule", parameters["schedule"].default)
    schedule = schedule() if isinstance(schedule, Build) else schedule
    return bool(schedule(999, 1000) <= 0.1)


def _seeded(recipe: Recipe, seed: int) -> Recipe:
    stage = recipe.stages[0]
    takes = "seed" in inspect.signature(stage.source.make).parameters
    source = stage.source.with_arguments(seed=seed) if takes else stage.source
    return recipe.changed(seed=seed, stages=(replace(stage, source=source),))


def _ramped(recipe: Recipe, data: Any, rate: float, low: float, high: float, steps: int) -> Curve:
    ramp = Ramp(rate, low, high, steps)
    run = recipe.start(data, extra=(ramp,))
    if not isinstance(run.updater, Descend):
        name = type(run.updater).__name__
        raise SondeError(f"{name} has no learning rate that could be raised", "choose another rule: --with adamw")
    if not run.alone:
        raise SondeError(
            "in a game each player's loss falls at another's cost, so no loss tells a good rate",
            "search the rate by a score: sonde tune DATA --metric NAME --search 'lr=1e-5..1e-2 log'",
        )
    try:
        fit(run, recipe.stages[0].source(data=data), Budget(steps=steps))
    except NonFinite:
        run.stop = "diverged"
    if len(ramp.losses) < 3:
        raise SondeError(
            f"the loss was not finite after {len(ramp.losses)} steps from the rate {low:g}", "begin lower: --from 1e-9"
        )
    if run.interrupted:
        raise KeyboardInterrupt
    after = ramp.losses[1:]
    return curve(recipe.seed, ramp.rates[: len(after)], after, ramp.losses[0], run.stop or "highest")


def _told(found: Curve) -> str:
    how = "diverged at" if found.ended == "diverged" else "reached"
    lowest = f"lowest loss {found.smoothed[found.lowest]:.3g} at {found.rates[found.lowest]:.2g}"
    return f"{len(found.rates) + 1} steps, {lowest}, {how} {found.rates[-1]:.2g}"


def _round(rate: float) -> float:
    return float(f"{rate:.2g}")
