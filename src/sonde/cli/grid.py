"""The matrix of methods as text: a triangle with one character a pair, and the refusals it stands for."""

from __future__ import annotations

import re
import string
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sonde.matrix import Cell

TRAINS, FAILS = "·", "!"
MARKS = string.ascii_lowercase + string.ascii_uppercase + string.digits
GROUP = 5  # columns between two gaps, so that the eye finds its column


@dataclass
class Reason:
    """A refusal, the pairs it refuses, and the methods it refuses even when they are alone."""

    cause: str
    remedy: str
    failed: bool = False
    alone: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)


def grid(cells: Sequence[Cell], width: int = 100) -> list[str]:
    """The lines of one objective's cells: how many train, the triangle, and below it every refusal with its pairs."""
    names = sorted({c.first for c in cells if c.first == c.second})
    number = {name: i for i, name in enumerate(names)}
    reasons = _reasons(cells)
    marks = {id(r): MARKS[i % len(MARKS)] for i, r in enumerate(r for r in reasons if not r.failed)}
    at: dict[tuple[int, int], str] = {}
    for reason in reasons:
        for a, b in [*((name, name) for name in reason.alone), *reason.pairs]:
            at[max(number[a], number[b]), min(number[a], number[b])] = marks.get(id(reason), FAILS)
    left = max(map(len, names)) + 5
    trains = {frozenset((c.first, c.second)) for c in cells if c.outcome == "trains"}
    lines = [_summary(cells), ""]
    for digit in (10, 1) if len(names) > 9 else (1,):
        heads = [str((i + 1) // digit % 10) if digit == 1 or (i + 1) % 10 == 0 else " " for i in range(len(names))]
        lines.append(" " * left + _gapped(heads).rstrip())
    for i, name in enumerate(names):
        row = _gapped([at.get((i, j), TRAINS) for j in range(i + 1)])
        lines.append(f"{i + 1:>3} {name:<{left - 4}}{row}")
    for reason in reasons:
        lines += ["", *_told(marks.get(id(reason), FAILS), reason, trains, width)]
    return lines


def _summary(cells: Sequence[Cell]) -> str:
    pairs = [c for c in cells if c.first != c.second]
    count = {word: sum(c.outcome == word for c in pairs) for word in ("trains", "refused", "fails")}
    failing = f", {count['fails']} fail ({FAILS})" if count["fails"] else ""
    methods = len(cells) - len(pairs)
    return (
        f"{cells[0].objective}: of {len(pairs)} pairs of {methods} methods {count['trains']} train ({TRAINS}), "
        f"{count['refused']} are refused (a letter){failing}"
    )


def _gapped(characters: Sequence[str]) -> str:
    return " ".join("".join(characters[i : i + GROUP]) for i in range(0, len(characters), GROUP))


def _reasons(cells: Iterable[Cell]) -> list[Reason]:
    """Refusals with the same words, the most frequent first; A and B stand for a pair that a text names."""
    cells = list(cells)
    alone = {c.reason for c in cells if c.first == c.second}
    found: dict[tuple[str, str, str], Reason] = {}
    for c in cells:
        if c.outcome == "trains":
            continue
        cause, remedy = (c.reason, c.remedy) if c.reason in alone else _template(c)
        reason = found.setdefault((c.outcome, cause, remedy), Reason(cause, remedy, c.outcome == "fails"))
        if c.first == c.second:
            reason.alone.append(c.first)
        else:
            reason.pairs.append((c.first, c.second))
    return sorted(found.values(), key=lambda r: (r.failed, -len(r.alone) - len(r.pairs), r.cause))


def _template(c: Cell) -> tuple[str, str]:
    places = {name: re.search(rf"\b{name}\b", c.reason) for name in (c.first, c.second)}
    if None in places.values():
        return c.reason, c.remedy
    first, second = sorted(places, key=lambda name: places[name].start())  # type: ignore[union-attr]
    stands: Mapping[str, str] = {first: "A", second: "B"}
    pattern = rf"\b({first}|{second})\b"
    a, b = (re.sub(pattern, lambda m: stands[m[0]], text) for text in (c.reason, c.remedy))
    return a, b


def _any(name: str, trains: set[frozenset[str]]) -> str:
    """A method that is refused alone, and the company in which it is not."""
    but = sorted(other for pair in trains if name in pair for other in pair - {name})
    return f"{name} with any" + (f" but {' or '.join(but)}" if but else "")


def _told(mark: str, reason: Reason, trains: set[frozenset[str]], width: int) -> list[str]:
    text = reason.cause + (f"; {reason.remedy}" if reason.remedy else "")
    lines = textwrap.wrap(text, width - 3)
    others = [pair for pair in reason.pairs if not set(pair) & set(reason.alone)]
    who = [_any(name, trains) for name in reason.alone] + [f"{a} + {b}" for a, b in others]
    lines += textwrap.wrap(
        ", ".join(s.replace(" ", "\xa0") for s in who), width - 5, initial_indent="  ", subsequent_indent="  "
    )
    return [f"{mark if i == 0 else ' '}  {line}".replace("\xa0", " ") for i, line in enumerate(lines)]


def read(lines: Iterable[str]) -> dict[tuple[str, str], str]:
    """What a printed triangle says of each pair (`trains`, `refused`, `fails`), and of each method with itself."""
    rows = [m for line in lines if (m := re.match(r"\s*(\d+) ([A-Za-z_]\w*) +([^ ].*)$", line))]
    names = [m[2] for m in rows]
    words = {TRAINS: "trains", FAILS: "fails"}
    return {(names[j], m[2]): words.get(mark, "refused") for m in rows for j, mark in enumerate(m[3].replace(" ", ""))}
