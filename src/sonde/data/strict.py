"""Reading JSON that anyone may have written: exact keys, exact types, bounded sizes, or an error that says what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from sonde.core.errors import SondeError

MAX_NAMES = 100_000  # classes, categories or groups in one list
MAX_TEXT = 10_000  # characters in one name

Choice = TypeVar("Choice", bound=str)


class Reader:
    """One JSON object with exactly the keys `keys`; `what` names it in errors."""

    def __init__(self, data: object, what: str, keys: Sequence[str]) -> None:
        self.what = what
        if not isinstance(data, dict):
            raise self.error("is not an object")
        if set(data) != set(keys):
            strange, lacking = sorted(map(str, set(data) - set(keys))), sorted(set(keys) - set(data))
            raise self.error(f"has unknown keys {strange[:5]} and lacks {lacking[:5]}")
        self.data: dict[str, Any] = data

    def error(self, reason: str) -> SondeError:
        """What to raise for this object."""
        return SondeError(
            f"the stored {self.what} is not usable: {reason}", "restore it from a copy that was not changed"
        )

    def text(self, key: str) -> str:
        """A string of bounded length."""
        value = self.data[key]
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise self.error(f"{key!r} is not a text of at most {MAX_TEXT} characters")
        return value

    def choice(self, key: str, allowed: Sequence[Choice]) -> Choice:
        """One of the allowed strings."""
        value = self.data[key]
        if not isinstance(value, str) or value not in allowed:
            raise self.error(f"{key!r} is none of {tuple(allowed)}")
        return allowed[[str(known) for known in allowed].index(value)]

    def whole(self, key: str, low: int, high: int) -> int:
        """An integer in low..high."""
        value = self.data[key]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(f"{key!r} is not a whole number from {low} to {high}")
        return value

    def items(self, key: str, most: int = MAX_NAMES) -> list[Any]:
        """A list of bounded length."""
        value = self.data[key]
        if not isinstance(value, list) or len(value) > most:
            raise self.error(f"{key!r} is not a list of at most {most} items")
        return value

    def names(self, key: str, most: int = MAX_NAMES) -> tuple[str, ...]:
        """A list of different strings of bounded length."""
        value = self.items(key, most)
        if not all(isinstance(name, str) and len(name) <= MAX_TEXT for name in value) or len(set(value)) != len(value):
            raise self.error(f"{key!r} is not a list of different names")
        return tuple(value)

    def rising(self, key: str, most: int = MAX_NAMES) -> tuple[float, ...]:
        """A list of finite numbers, each larger than the one before."""
        value = self.items(key, most)
        if not all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in value):
            raise self.error(f"{key!r} is not a list of finite numbers")
        if any(a >= b for a, b in zip(value, value[1:], strict=False)):
            raise self.error(f"{key!r} does not rise")
        return tuple(float(x) for x in value)
