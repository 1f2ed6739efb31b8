"""What is wrong with data, listed whole: every bad file or row is found before training starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sonde.core.errors import SondeError

SHOWN = 20  # problems spelt out in a message; the rest are counted and stay in `BadData.found`


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: `where` names the file or row, `reason` says why it cannot be used."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class BadData(SondeError):
    """Rows or files that cannot be used; `found` lists all of them."""

    def __init__(self, cause: str, remedy: str, found: Sequence[Problem] = ()) -> None:
        super().__init__(cause, remedy)
        self.found = list(found)


def bad_data(name: str, found: Sequence[Problem], remedy: str = "") -> BadData:
    """The error for `found`: how many, and the first 20 by name.

    >>> print(bad_data("people.csv", [Problem("row 3", "2 fields instead of 5")]))
    people.csv: 1 problem: row 3: 2 fields instead of 5
      mend it, or leave it out with on_bad='skip'
    """
    one = len(found) == 1
    remedy = remedy or f"mend {'it' if one else 'them'}, or leave {'it' if one else 'them'} out with on_bad='skip'"
    if one:
        return BadData(f"{name}: 1 problem: {found[0]}", remedy, found)
    lines = [str(problem) for problem in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"and {len(found) - SHOWN} more")
    return BadData(f"{name}: {len(found)} problems:" + "".join(f"\n    {line}" for line in lines), remedy, found)


def quoted(value: object, longest: int = 60) -> str:
    """A value as it may be shown in one line of a message: control characters escaped, long text cut.

    >>> quoted("a\\nb"), quoted("x" * 99, 5)
    ("'a\\\\nb'", "'xxxxx…'")
    """
    text = str(value)
    return repr(text if len(text) <= longest else text[:longest] + "…")


def listed(values: Sequence[object], most: int = 12) -> str:
    """A short list of names for a message.

    >>> listed(["a", "b"]), listed(list("abcd"), 2)
    ("'a', 'b'", "'a', 'b' and 2 more")
    """
    shown = ", ".join(quoted(value) for value in values[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")


def closest(name: str, known: Sequence[str]) -> str:
    """ " (did you mean 'x'?)" when a known name is near, else nothing."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1, 0.6) or [k for k in known if k.lower() == name.lower()]
    return f" (did you mean {near[0]!r}?)" if near else ""
