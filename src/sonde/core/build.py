"""A constructor and its arguments: checked when written, called when needed, plain data in between."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

from .errors import Refused

T = TypeVar("T")
PACKAGE = __name__.split(".")[0]
VOCABULARY = (
    *("nets", "optim", "losses", "objectives", "methods", "audits", "core.backprop"),
    *("data.rows", "data.loader", "data.named", "data.opening", "data.several", "data.streams"),  # nothing that fetches
)
"""The parts of the package whose public classes and functions a recipe that is read from a file may name."""


class Build(Generic[T]):
    """A constructor and its arguments, e.g. `Build(EMA, decay=0.999)`.

    Arguments may themselves be builds, also inside lists and dicts. Unknown arguments are refused when written, with
    the closest match. Two builds are equal if they call the same constructor with equal arguments.

    >>> from statistics import NormalDist
    >>> Build(NormalDist, mu=3.0)()
    NormalDist(mu=3.0, sigma=1.0)
    >>> Build(NormalDist, sigme=2.0)
    Traceback (most recent call last):
    TypeError: NormalDist has no parameter 'sigme'; did you mean 'sigma'? It takes: mu, sigma
    """

    def __init__(self, make: Callable[..., T], /, **arguments: Any) -> None:
        parameters = inspect.signature(make).parameters
        names = [n for n, p in parameters.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
        for given in arguments:
            if given not in names:
                close = difflib.get_close_matches(given, names, 1)
                raise TypeError(
                    f"{make.__qualname__} has no parameter {given!r}"
                    + (f"; did you mean {close[0]!r}?" if close else ".")
                    + f" It takes: {', '.join(names) or 'nothing'}"
                )
        self.make, self.arguments, self._names = make, arguments, names

    def __call__(self, **context: Any) -> T:
        """Call the constructor.

        context: values for parameters of these names, here and in nested builds, where the build does not give one
            itself: how the recipe's `data` reaches whatever asks for `data`.
        """
        given = {k: _built(v, context) for k, v in self.arguments.items()}
        offered = {k: v for k, v in context.items() if k in self._names and k not in given}
        return self.make(**given, **offered)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Build) and self.make is other.make and self.arguments == other.arguments

    def __hash__(self) -> int:
        return hash(self.make)

    def __repr__(self) -> str:
        inside = ", ".join([self.make.__qualname__, *(f"{k}={v!r}" for k, v in self.arguments.items())])
        return f"Build({inside})"

    def with_arguments(self, **changes: Any) -> Build[T]:
        """The same constructor with some arguments replaced."""
        return Build(self.make, **{**self.arguments, **changes})

    def to_data(self) -> dict[str, Any]:
        """Plain data: the constructor as `module:qualname` under `build`, and the arguments."""
        return {"build": f"{self.make.__module__}:{self.make.__qualname__}", **_plain(self.arguments)}

    @staticmethod
    def from_data(data: Mapping[str, Any], own: Collection[Callable[..., Any]] = ()) -> Build[Any]:
        """The inverse of `to_data`, for untrusted data: only the package's vocabulary and `own` may be named.

        own: constructors of the caller's, which the data may name too.

        Raises Refused (exit code 4) for any other name, so that reading a recipe runs nothing the reader did not
        install.
        """
        arguments = {k: _read(v, own) for k, v in data.items() if k != "build"}
        return Build(resolve(data["build"], own), **arguments)


def resolve(path: str, own: Collection[Callable[..., Any]] = ()) -> Callable[..., Any]:
    """The public class or function that `module:qualname` names, if it is in the vocabulary or among `own`."""
    for make in own:
        if path == f"{make.__module__}:{make.__qualname__}":
            return make
    module, _, name = str(path).partition(":")
    parts = module.split(".")
    refusal = Refused(
        f"the recipe names {path!r}, which is not part of {PACKAGE}'s vocabulary",
        f"use names from {', '.join(f'{PACKAGE}.{v}' for v in VOCABULARY)}, or pass your own code: own=[...]",
    )
    private = any(part.startswith("_") or not part.isidentifier() for part in [*parts, name])
    if private or not _within(module, {part.partition(".")[0] for part in VOCABULARY}):
        raise refusal
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise refusal from None
    # What a module merely imported from elsewhere (the writer of states, say) is not its vocabulary.
    if not callable(make) or not _within(getattr(make, "__module__", ""), VOCABULARY) or getattr(make, "writes", False):
        raise refusal
    return make  # type: ignore[no-any-return]


def _within(module: str, parts: Collection[str]) -> bool:
    return any(f"{module}.".startswith(f"{PACKAGE}.{part}.") for part in parts)


def _built(value: Any, context: Mapping[str, Any]) -> Any:
    if isinstance(value, Build):
        return value(**context)
    if isinstance(value, list | tuple):
        return type(value)(_built(v, context) for v in value)
    if isinstance(value, dict):
        return {k: _built(v, context) for k, v in value.items()}
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Build):
        return value.to_data()
    if isinstance(value, Mapping):
        if "build" in value:
            raise TypeError("'build' names a constructor in plain data; call the entry something else")
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a recipe holds plain data and builds; {value!r} is a {type(value).__name__}")


def _read(value: Any, own: Collection[Callable[..., Any]]) -> Any:
    if isinstance(value, Mapping):
        if "build" in value:
            return Build.from_data(value, own)
        return {k: _read(v, own) for k, v in value.items()}
    if isinstance(value, list):
        return [_read(v, own) for v in value]
    return value
