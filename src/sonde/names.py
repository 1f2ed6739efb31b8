"""Names at the border: what a person types on a command line, resolved to the package's classes and functions.

Inside, classes are passed as classes; only here do strings become constructors, and only from the package's own
vocabulary.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sonde.core.build import Build
from sonde.core.errors import SondeError

BY_DATA = ("data", "outputs", "classes", "targets", "channels", "height", "width", "shape", "numeric", "cardinalities")
"""Parameters that the data decides, unless a person does."""


@dataclass(frozen=True)
class Entry:
    """A constructor of the package: the name a person types, the constructor, and what it does in one line."""

    name: str
    make: Callable[..., Any]
    summary: str

    @property
    def signature(self) -> str:
        """All parameters, with their defaults."""
        return self._shown(())

    @property
    def choices(self) -> str:
        """The parameters left to a person, with their defaults: not those that the data decides."""
        return self._shown(BY_DATA)

    @property
    def typed(self) -> bool:
        """Whether a person can name it on a command line: it writes no files and asks for nothing but plain values."""
        if getattr(self.make, "writes", False):
            return False
        needs = [p for p in inspect.signature(self.make).parameters.values() if p.default is p.empty]
        return all(_plain(str(p.annotation)) for p in needs if p.name not in BY_DATA)

    def _shown(self, without: Collection[str]) -> str:
        shown = []
        for p in inspect.signature(self.make).parameters.values():
            default = p.default
            if p.name in without:
                continue
            if default is p.empty:
                shown.append(p.name)
            elif isinstance(default, bool | int | float | str | tuple) or default is None:
                shown.append(f"{p.name}={default!r}")
            else:
                shown.append(f"{p.name}={snake(type(default).__name__)}")
        return ", ".join(shown)


def _plain(annotation: str) -> bool:
    """Whether one of the kinds of value that a parameter takes can be typed."""
    plain = {"int", "float", "str", "bool", "tuple", "list", "Sequence", "class"}
    kinds = [kind for kind in annotation.split(" | ") if kind != "None"]
    return any(set(re.findall(r"\w+", kind)) <= plain for kind in kinds)


@cache
def catalogue(part: str) -> tuple[Entry, ...]:
    """Every public constructor of `sonde.<part>`, by name, found by walking the package."""
    package = importlib.import_module(f"sonde.{part}")
    modules = [package]
    for info in pkgutil.walk_packages(getattr(package, "__path__", ()), prefix=f"{package.__name__}."):
        if not any(piece.startswith("_") for piece in info.name.split(".")):
            modules.append(importlib.import_module(info.name))
    exported = {name: getattr(package, name) for name in getattr(package, "__all__", ())}
    found: dict[str, Entry] = {}
    for module in modules:
        for name, value in {**vars(module), **(exported if module is package else {})}.items():
            if name.startswith("_") or not _constructs(part, value):
                continue
            named = part != "nets" or squash(name) == squash(module.__name__.rpartition(".")[2])  # not a net's parts
            if (value.__module__ == module.__name__ and named) or exported.get(name) is value:
                found.setdefault(squash(name), Entry(snake(name), value, summary_of(value)))
    return tuple(sorted(found.values(), key=lambda e: e.name))


def _constructs(part: str, value: Any) -> bool:
    """Whether `value` is a constructor of the kind that `part` holds."""
    if part == "methods":
        from sonde.core import Method

        if inspect.isclass(value):
            return issubclass(value, Method) and value is not Method
        return inspect.isfunction(value) and returns(value, Method)
    if part == "nets":
        from torch import nn

        return inspect.isclass(value) and issubclass(value, nn.Module) and ".layers" not in value.__module__
    if part == "objectives":
        from sonde.core import Objective

        return inspect.isclass(value) and issubclass(value, Objective) and value is not Objective
    if part in ("optim", "losses"):
        called = inspect.isclass(value) and any("__call__" in vars(base) for base in value.__mro__)  # a schedule
        return called and "Protocol" not in [b.__name__ for b in value.__mro__[:2]]
    if part == "data.streams":
        from sonde.data.streams import Stream

        return inspect.isfunction(value) and returns(value, Stream)
    if part == "recipes":
        from sonde.core import Recipe

        ready = inspect.isfunction(value) and not inspect.signature(value).parameters
        return ready and returns(value, Recipe)
    return inspect.isclass(value) or inspect.isfunction(value)


def returns(function: Callable[..., Any], kind: type) -> bool:
    """Whether a function says that it returns a `kind`."""
    name = function.__annotations__.get("return", "")
    value = function.__globals__.get(name, None) if isinstance(name, str) else name
    return inspect.isclass(value) and issubclass(value, kind)


def find(part: str, name: str) -> Entry:
    """The constructor of `sonde.<part>` called `name`, however it is cased; an error with the closest match if none."""
    entries = catalogue(part)
    for entry in entries:
        if squash(entry.name) == squash(name):
            return entry
    names = [e.name for e in entries]
    listing = f"choose from {', '.join(names)}" if "." in part else f"`sonde {part}` lists them"
    raise SondeError(
        f"there is no {part.rpartition('.')[2].rstrip('s')} called {name!r}", did_you_mean(name, names) or listing
    )


def parse(part: str, text: str, given: Mapping[str, Any] | None = None) -> Build[Any]:
    """The build that a person's text names, e.g. `mixup(alpha=0.2)` or `adamw(lr=1e-3, schedule=cosine(warmup=0.1))`.

    given: values for parameters that the text does not give and the constructor has (what the data decides).
    """
    node: ast.expr | None = None
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # what the parser raises for text that is no Python
        pass
    if isinstance(node, ast.Name):
        node = ast.Call(node, [], [])
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        plain = text.strip().replace("-", "_")
        if plain.isidentifier():  # early-stopping is a name to a person, a subtraction to Python
            node = ast.Call(ast.Name(plain), [], [])
        else:
            raise SondeError(f"{text!r} cannot be read", "write NAME or NAME(option=value, ...), e.g. mixup(alpha=0.2)")
    return _build(part, node, text, given or {})


def _build(part: str, node: ast.Call, text: str, given: Mapping[str, Any]) -> Build[Any]:
    entry = find(part, node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func))
    if getattr(entry.make, "writes", False):
        raise SondeError(f"{entry.name} writes files, and every run has its own", f"`sonde {part}` lists the others")
    names = list(inspect.signature(entry.make).parameters)
    arguments: dict[str, Any] = {}
    for position, value in enumerate(node.args):
        if position >= len(names):
            raise SondeError(f"{text!r} gives more values than {entry.name} takes", f"it takes: {entry.signature}")
        arguments[names[position]] = _value(value, text)
    for keyword in node.keywords:
        if keyword.arg is None:
            raise SondeError(f"{text!r} cannot be read", f"give options by name; {entry.name} takes: {entry.signature}")
        arguments[keyword.arg.replace("-", "_")] = _value(keyword.value, text)
    unknown = next((name for name in arguments if name not in names), None)
    if unknown is not None:
        near = did_you_mean(unknown, names)
        raise SondeError(f"{entry.name} has no option {unknown!r}", near or f"it takes: {entry.choices or 'none'}")
    build = Build(entry.make, **arguments)
    return completed(build, given)


def _value(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _build("optim", node, text, {})
    if isinstance(node, ast.Name) and any(squash(e.name) == squash(node.id) for e in catalogue("optim")):
        return _build("optim", ast.Call(node, [], []), text, {})
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise SondeError(
            f"{ast.unparse(node)!r} in {text!r} is neither a number, a quoted text, a list nor a schedule",
            "put quotes around a text, e.g. early_stopping(metric='accuracy')",
        ) from None


def completed(build: Build[Any], given: Mapping[str, Any]) -> Build[Any]:
    """The build with parameters it has and does not give filled in from `given`."""
    names = inspect.signature(build.make).parameters
    missing = {k: v for k, v in given.items() if k in names and k not in build.arguments}
    return build.with_arguments(**missing) if missing else build


# ---------------------------------------------------------------- settings by path
NAMED = {"loss": "losses", "schedule": "optim"}
"""Settings whose text names a constructor: `--set 'objective.loss=focal(gamma=2)'`."""


def apply_settings(data: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe data with values replaced by path, e.g. `{"methods.ema.decay": 0.99, "stages.0.budget.epochs": 3}`.

    An item of a list is found by number or by the name of what it builds. Raises SondeError with the closest match.
    """
    for path, value in settings.items():
        *parents, last = path.split(".")
        at: Any = data
        for i, step in enumerate(parents):
            at = _child(at, step, ".".join(parents[: i + 1]))
        if isinstance(at, list):
            at[_position(at, last, path)] = value
        elif isinstance(at, dict):
            if last not in at and not _parameter(at, last):
                raise SondeError(f"there is no setting {path!r}", _choices(last, _settable(at)))
            at[last] = parse(NAMED[last], value).to_data() if last in NAMED and isinstance(value, str) else value
        else:
            raise SondeError(f"there is no setting {path!r}", f"{'.'.join(parents)} is {at!r}, which has no parts")
    return data


def _child(at: Any, step: str, path: str) -> Any:
    if isinstance(at, list):
        return at[_position(at, step, path)]
    if isinstance(at, dict) and step in at:
        return at[step]
    raise SondeError(f"there is no setting {path!r}", _choices(step, list(at) if isinstance(at, dict) else []))


def _position(items: list[Any], step: str, path: str) -> int:
    built = [str(item["build"]) if isinstance(item, dict) and "build" in item else "" for item in items]
    names = [squash(name.partition(":")[2]) for name in built]
    if step.isdigit() and int(step) < len(items):
        return int(step)
    if squash(step) in names:
        return names.index(squash(step))
    raise SondeError(f"there is no setting {path!r}", _choices(step, [n or str(i) for i, n in enumerate(names)]))


def _settable(at: dict[str, Any]) -> list[str]:
    if "build" not in at:
        return list(at)
    from sonde.core.build import resolve

    return list(inspect.signature(resolve(at["build"])).parameters)


def _parameter(at: dict[str, Any], name: str) -> bool:
    return "build" in at and name in _settable(at)


def _choices(given: str, names: list[str]) -> str:
    return did_you_mean(given, names) or f"choose one of {', '.join(names) or 'nothing'}"


def read_value(text: str) -> Any:
    """A value typed on a command line: a number, true/false/null, a list, or a text.

    >>> [read_value(t) for t in ("0.99", "true", "[1, 2]", "accuracy")]
    [0.99, True, [1, 2], 'accuracy']
    """
    lowered = text.strip().lower()
    if lowered in ("true", "false", "null", "none"):
        return {"true": True, "false": False}.get(lowered)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return list(value) if isinstance(value, tuple) else value


# ---------------------------------------------------------------- words
def squash(name: str) -> str:
    """A name without case, hyphens and underscores, by which names are compared."""
    return name.replace("-", "").replace("_", "").lower()


def snake(name: str) -> str:
    """The name as it is typed: EarlyStopping -> early_stopping, EMA -> ema, MixUp -> mixup, TabM -> tabm.

    >>> [snake(n) for n in ("EarlyStopping", "EMA", "MixUp", "TabM", "ResNet", "LeNet5")]
    ['early_stopping', 'ema', 'mixup', 'tabm', 'resnet', 'lenet5']
    """
    words = re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z][a-z0-9]*|[a-z0-9]+", name)
    short = len(words) > 1 and (len(name) <= 7)  # MixUp, CutMix, ResNet: one word to everybody
    return ("" if short else "_").join(w.lower() for w in words)


def summary_of(value: Any) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(value) or "").partition("\n")[0].strip()


def did_you_mean(given: str, names: list[str]) -> str:
    """'did you mean NAME?', or nothing when no name is close."""
    by_squash = {squash(n): n for n in names}
    close = difflib.get_close_matches(squash(given), list(by_squash), 1, cutoff=0.6)
    return f"did you mean {by_squash[close[0]]!r}?" if close else ""
