"""Frozen dataclasses to JSON and back, strictly: what is written is read as the same value, or refused by name."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sonde.core.errors import SondeError

T = TypeVar("T")
DEPTH = 60  # nesting of plain data; far above any recipe, far below Python's own limit
_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # JSON has no word for these: written {"float": "nan"}


def to_plain(value: Any, where: str = "facts") -> Any:
    """Dataclasses, tuples and mappings as dicts and lists that `json.dumps(..., allow_nan=False)` accepts.

    Raises SondeError for a value JSON cannot hold exactly (an object, a key that is no string, nesting beyond `DEPTH`).
    """
    return _write(value, where, 0)


def from_plain(kind: type[T], value: Any, where: str = "facts") -> T:
    """The dataclass `kind` from what `to_plain` made of it; `where` names the value in errors.

    Raises SondeError for a missing or unknown key (with the closest match), or a value of another type.
    """
    read: T = _read(kind, value, where)
    return read


def _write(value: Any, where: str, depth: int) -> Any:
    if depth > DEPTH:
        raise SondeError(f"{where[:200]} is nested more than {DEPTH} deep", "flatten it")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if is_dataclass(value):
        return {f.name: _write(getattr(value, f.name), f"{where}.{f.name}", depth + 1) for f in fields(value)}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise SondeError(f"{where} has the key {key!r}", "keys are strings")
        if _special(value) is not None:
            raise SondeError(f"{where} is {dict(value)!r}, which stands for a number", "use another key than 'float'")
        return {key: _write(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_write(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise SondeError(f"{where} is a {type(value).__name__}", "use numbers, strings, lists and dicts")


def _special(value: Any) -> float | None:
    """The number that {"float": "nan"} and its like stand for; None for anything else."""
    if isinstance(value, Mapping) and len(value) == 1 and isinstance(value.get("float"), str):
        return _SPECIAL.get(value["float"])
    return None


def _expected(where: str, what: str, value: Any) -> SondeError:
    return SondeError(f"{where} should be {what}, not {repr(value)[:80]}", "write it with Facts.to_data()")


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return _read_any(value, where)
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if kind is float:
        special = _special(value)
        if special is not None:
            return special
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        raise _expected(where, "a number", value)
    if kind in (int, str, bool):
        if type(value) is kind:
            return value
        raise _expected(where, {int: "a whole number", str: "text", bool: "true or false"}[kind], value)
    if origin is Literal:
        if value in args:
            return value
        raise _expected(where, "one of " + ", ".join(map(repr, args)), value)
    if origin in (Union, types.UnionType):  # only ever `X | None` in facts
        return None if value is None else _read(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        return _read_tuple(args, value, where)
    if origin is not Mapping:
        raise TypeError(f"{where}: there is no rule for reading {kind}")
    if not isinstance(value, dict):
        raise _expected(where, "an object", value)
    return {_read(str, key, where): _read(args[1], item, f"{where}.{key}") for key, item in value.items()}


def _read_any(value: Any, where: str) -> Any:
    special = _special(value)
    if special is not None:
        return special
    if isinstance(value, dict):
        return {_read(str, key, where): _read_any(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_read_any(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise _expected(where, "plain data", value)


def _read_tuple(args: Sequence[Any], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _expected(where, "a list", value)
    if args[-1] is Ellipsis:
        return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(args):
        raise _expected(where, f"a list of {len(args)}", value)
    return tuple(_read(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, value, strict=True)))


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _expected(where, "an object", value)
    known = {f.name: f for f in fields(kind)}
    for key in value:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"it may have: {', '.join(known)}"
            raise SondeError(f"{where} has no field {str(key)[:80]!r}", hint)
    for name, field in known.items():
        if name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise SondeError(f"{where} lacks the field '{name}'", "write it with Facts.to_data()")
    hints = get_type_hints(kind)
    try:
        return kind(**{key: _read(hints[key], item, f"{where}.{key}") for key, item in value.items()})
    except ValueError as error:  # the dataclass's own rules
        raise SondeError(f"{where}: {error}", "write it with Facts.to_data()") from error
