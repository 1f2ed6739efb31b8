"""The space of a search: which settings of a recipe are varied, and between what.

lr=1e-4..1e-1 log        any number between, evenly in its logarithm
methods.ema.decay=0.9..0.999
net.members=4..32        whole numbers, since both ends are
net.widths=(64,),(128,128)
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonde.changes import builds, check_numbers, check_whole, over
from sonde.core import Build, Recipe, SondeError
from sonde.names import apply_settings, read_value
from sonde.recipes.defaults import updates
from sonde.tuning import Misasked

SHORT = ("lr", "weight_decay", "batch_size")
"""Settings that a recipe has wherever they stand in it, by the names of the command line's options."""
FORM = "write e.g. 'lr=1e-4..1e-1 log' or 'net.dropout=0,0.1,0.3'"


@dataclass(frozen=True)
class Between:
    """Any number from `low` to `high`, whole if both are; evenly in its logarithm if `log`."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise Misasked(f"{self.low:g}..{self.high:g} is no range", "give the lower end first, then the higher")
        if self.log and self.low <= 0:
            raise Misasked(f"{self.low:g} has no logarithm", "begin above 0, or leave out log")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values to check beforehand: if the ends are fine, so is what lies between."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:
        """Whether the search could have chosen this value."""
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}{' log' if self.log else ''}"


@dataclass(frozen=True)
class Among:
    """One of the given values: numbers, texts, or lists of them."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise Misasked(f"{list(self.values)} leaves nothing to choose", "give two values or more")

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values to check beforehand: all."""
        return self.values

    @property
    def labels(self) -> tuple[str, ...]:
        """The values as texts, each its own."""
        return tuple(json.dumps(v) for v in self.values)

    def holds(self, value: Any) -> bool:
        """Whether the search could have chosen this value."""
        return json.dumps(value) in self.labels

    def __str__(self) -> str:
        return ", ".join(map(shown, self.values))


Dimension = Between | Among
Space = dict[str, Dimension]
"""Path of a setting -> the values it may take."""


def read_space(given: Mapping[str, Any]) -> Space:
    """A space from what a person gave: by path, a text, a list of values, or a `Between` or `Among`."""
    space: Space = {}
    for path, values in given.items():
        if isinstance(values, Between | Among):
            space[path] = values
        elif isinstance(values, str):
            space[path] = read_dimension(path, values)
        elif isinstance(values, Sequence):
            space[path] = Among(tuple(_listed(v) for v in values))
        else:
            raise Misasked(f"{path}={values!r} is no range and no list of values", FORM)
    return space


def read_dimension(path: str, text: str) -> Dimension:
    """The values that a text describes: `1e-4..1e-1 log`, `0..3`, `64,128,256`.

    >>> read_dimension("lr", "1e-4..0.1 log"), read_dimension("net.widths", "(64,), (128, 128)")
    (Between(low=0.0001, high=0.1, log=True), Among(values=([64], [128, 128])))
    """
    low, dots, rest = text.partition("..")
    if not dots:
        return Among(tuple(_listed(read_value(part)) for part in _parts(text)))
    high, _, how = rest.strip().partition(" ")
    ends = read_value(low.strip()), read_value(high)
    if how.strip() not in ("", "log") or not all(isinstance(e, int | float) for e in ends):
        raise Misasked(f"{path}={text!r} cannot be read", FORM)
    return Between(*ends, log=bool(how.strip()))


def _parts(text: str) -> list[str]:
    """What stands between the commas that no bracket or quote encloses."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [p.strip() for p in parts if p.strip()]


def _listed(value: Any) -> Any:
    return [_listed(v) for v in value] if isinstance(value, list | tuple) else value


# ---------------------------------------------------------------- a space and a recipe
def applied(recipe: Recipe, values: Mapping[str, Any], own: Collection[Callable[..., Any]] = ()) -> Recipe:
    """The recipe with these values, by path; raises SondeError where it has no such setting."""
    short = {k: v for k, v in values.items() if k in SHORT}
    check_numbers(**short)
    changed = over(recipe, **short) if short else recipe
    if "batch_size" in short and not any("batch_size" in s.source.arguments for s in changed.stages):
        raise Misasked("batch_size changes nothing: the source of the data has none", "leave it out of the search")
    if rest := {_full(k): v for k, v in values.items() if k not in SHORT}:
        makes = [b.make for b in builds([changed.objective, *changed.methods, *(s.source for s in changed.stages)])]
        makes += [] if changed.data is None else [changed.data.make]
        changed = Recipe.from_data(apply_settings(changed.to_data(), rest), own=[*own, *makes])
    return check_whole(changed)


def check_space(recipe: Recipe, space: Space, data: Any, own: Collection[Callable[..., Any]] = ()) -> None:
    """Refuse a space before anything is trained: every end and choice, by itself, must make a net and its methods."""
    if not space:
        raise Misasked("there is nothing to search", FORM)
    for path, dimension in space.items():
        if _full(path).split(".")[0] in ("data", "seed", "engine", "name", "audits"):
            raise Misasked(
                f"{path} is no setting to be searched: results would not compare, or differ by luck alone",
                "search settings of the net, the methods and the batch size",
            )
        for value in dimension.ends:
            try:
                changed = applied(recipe, {path: value}, own)
                changed.objective(data=data)
                parts: list[Build[Any]] = [*changed.methods, *(s.source for s in changed.stages)]
                for build in parts:
                    build(data=data)
            except SondeError as error:
                raise error if error.code != 1 else Misasked(error.cause, error.remedy) from None
            except (TypeError, ValueError) as error:
                raise Misasked(f"{path}={shown(value)} cannot be: {error}", "leave it out of the search") from None


def default_space(recipe: Recipe, rows: int) -> Space:
    """What usually matters, around the recipe's own values: rate, decay, batch size, dropout and the net's size.

    rows: of the training split. A setting that the recipe does not have is left out.
    """
    space: Space = {}
    rule = next((b for b in recipe.methods if updates(b)), None)
    if rule is not None:
        if rate := _number(rule, "lr"):
            space["lr"] = Between(_two(rate / 10), _two(rate * 10), log=True)
        if decay := _number(rule, "weight_decay"):
            space["weight_decay"] = Between(_two(decay / 30), _two(min(1.0, decay * 10)), log=True)
    size = recipe.stages[0].source.arguments.get("batch_size")
    if isinstance(size, int):
        sizes = tuple(s for s in (size // 2, size, size * 2) if 8 <= s <= max(8, rows // 8))
        if len(sizes) > 1:
            space["batch_size"] = Among(sizes)
    net = recipe.objective.arguments.get("net")
    if isinstance(net, Build):
        space |= _of_net(net)
    return space


def _of_net(net: Build[Any]) -> Space:
    space: Space = {}
    parameters = inspect.signature(net.make).parameters
    dropout = _number(net, "dropout")
    if dropout is not None:
        space["net.dropout"] = Between(0.0, 0.5)
    if "widths" in parameters and (own := net.arguments.get("widths", parameters["widths"].default)):
        widths = [int(w) for w in own]
        options = [[max(1, w // 2) for w in widths], widths, [2 * w for w in widths]]
        if len(set(widths)) == 1:  # a plain stack of layers may also be deeper; a pyramid follows the picture's size
            options.append([*widths, widths[-1]])
        space["net.widths"] = Among(tuple(options))
    return space


def _full(path: str) -> str:
    """`net.widths` stands for `objective.net.widths`."""
    return f"objective.{path}" if path.split(".")[0] == "net" else path


def _number(build: Build[Any], name: str) -> float | None:
    """The value of an option that is a number, given or by default; None where there is none."""
    parameter = inspect.signature(build.make).parameters.get(name)
    if parameter is None:
        return None
    value = build.arguments.get(name, parameter.default)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _two(value: float) -> float:
    return float(f"{value:.2g}")


def own_values(recipe: Recipe, space: Space) -> dict[str, Any]:
    """The recipe's own values of the settings that are searched, of those that it names or has by default."""
    found: dict[str, Any] = {}
    rule = next((b for b in recipe.methods if updates(b)), None)
    for path in space:
        if path == "batch_size":
            value = recipe.stages[0].source.arguments.get("batch_size")
        elif path in SHORT:
            value = None if rule is None else _number(rule, path)
        else:
            value = _at(recipe, _full(path))
        if value is not None:
            found[path] = _listed(value)
    return found


def _at(recipe: Recipe, path: str) -> Any:
    *parents, last = path.split(".")
    at: Any = {"objective": recipe.objective, "methods": recipe.methods, "stages": recipe.stages}.get(
        parents[0] if parents else ""
    )
    for step in parents[1:]:
        at = _child(at, step)
    return _child(at, last)


def _child(at: Any, step: str) -> Any:
    from sonde.names import squash

    if isinstance(at, Build):
        parameter = inspect.signature(at.make).parameters.get(step)
        default = None if parameter is None or parameter.default is parameter.empty else parameter.default
        return at.arguments.get(step, default)
    if isinstance(at, list | tuple):
        if step.isdigit():
            return at[int(step)] if int(step) < len(at) else None
        return next((b for b in at if isinstance(b, Build) and squash(b.make.__name__) == squash(step)), None)
    return getattr(at, step, None)


def shown(value: Any) -> str:
    """A value as a table has it.

    >>> shown(0.00123456), shown([64, 64]), shown("focal")
    ('0.00123', '64x64', 'focal')
    """
    if isinstance(value, list | tuple):
        return "x".join(map(shown, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
