"""Where things go in a chart: axes, ticks and paths in per cent of the plot, so that one drawing fits every width.

Lines and dots are stretched SVG with strokes that do not scale; text is HTML, placed in per cent, so it stays legible.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sonde.report import words

MOST_POINTS, STRETCHES = 300, 120  # of a line: beyond, its noise is a grey block, so it is summed up in stretches
MOST_DOTS = 1500


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, `at` per cent from its start."""

    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """Values low to high (log10 of them if `log`) on 0 to 100 per cent."""

    low: float
    high: float
    log: bool
    ticks: tuple[Tick, ...]

    def at(self, value: float) -> float:
        """Per cent from the start, kept within [0, 100]."""
        v = math.log10(value) if self.log and value > 0 else self.low if self.log else value
        return round(min(100.0, max(0.0, 100 * (v - self.low) / (self.high - self.low))), 2)


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that can be drawn: finite, and not beyond 1e300, where differences overflow."""
    return [v for v in values if v is not None and math.isfinite(v) and abs(v) < 1e300]


def linear(values: Iterable[float], count: int = 5, percent: bool = False, pad: float = 0.0, unit: str = "") -> Axis:
    """An axis over the values with about `count` round ticks; `pad` widens it by that share on both sides."""
    drawn = finite(values) or [0.0, 1.0]
    low, high = min(drawn), max(drawn)
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # nothing to spread: half a unit around the value
        room = max(abs(low) * 0.1, 1e-6 if low else 0.5)
        low, high = low - room, high + room
    low, high = low - pad * (high - low), high + pad * (high - low)
    step = _round_step((high - low) / count)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    if places <= 6 and round(step * 10**places, 6) % 1:  # 0.25 takes two decimals where 0.2 takes one
        places += 1
    first = math.ceil(low / step - 1e-9)
    marks = [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)][: 3 * count]

    def label(v: float) -> str:
        if percent:
            return words.share(v, max(0, places - 2))
        big = abs(v) >= 1e6 or places > 6
        return (words.number(float(v)) if big else words.number(float(v), places)) + unit

    span = high - low
    return Axis(low, high, False, tuple(Tick(round(100 * (v - low) / span, 2), label(v)) for v in marks))


def logarithmic(values: Iterable[float], unit: str = "") -> Axis:
    """An axis over positive values with ticks at 1, (2, 5,) 10; fall back on `linear` where values are not positive."""
    drawn = [math.log10(v) for v in finite(values) if v > 0]
    low, high = min(drawn), max(drawn)
    low, high = low - 0.03 * (high - low), high + 0.03 * (high - low)
    heads = (1, 2, 5) if high - low < 2.2 else (1,)
    stride = max(1, math.ceil((high - low) / 8))
    powers = range(math.floor(low), math.ceil(high) + 1)
    marks = [e + math.log10(h) for e in powers for h in heads if e % stride == 0 or h > 1]
    inside = [m for m in marks if low <= m <= high]
    ticks = tuple(Tick(round(100 * (m - low) / (high - low), 2), words.number(10**m) + unit) for m in inside)
    return Axis(low, high, True, ticks)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= rough * (1 - 1e-9))


def spans_decades(values: Iterable[float]) -> bool:
    """Whether positive values spread so far (a factor of 50) that a linear axis would hide the small ones."""
    drawn = finite(values)
    return bool(drawn) and min(drawn) > 0 and max(drawn) / min(drawn) > 50


def line(steps: Sequence[float], values: Sequence[float], x: Axis, y: Axis) -> str:
    """An SVG path through the points; a value that is not finite breaks it.

    A series longer than `MOST_POINTS` is drawn as the mean of each of `STRETCHES` stretches, within its `band`.
    """
    points = _means(steps, values) if len(values) > MOST_POINTS else list(zip(steps, values, strict=True))
    path, pen_up = [], True
    for step, value in points:
        if not math.isfinite(value) or (y.log and value <= 0):
            pen_up = True
            continue
        path.append(f"{'M' if pen_up else 'L'}{x.at(step):g} {100 - y.at(value):g}")
        pen_up = False
    # a point without neighbours would not show: each part starts with a line of no length, drawn as its round cap
    return "".join(p + "h0" if p[0] == "M" else p for p in path)


def band(steps: Sequence[float], values: Sequence[float], x: Axis, y: Axis) -> str:
    """Of a series longer than `MOST_POINTS`, the outline between lowest and highest of each stretch; else empty."""
    if len(values) <= MOST_POINTS:
        return ""
    parts = _stretches(steps, values)
    if len(parts) < 2:
        return ""
    upper = [f"{x.at(step):g} {100 - y.at(max(part)):g}" for step, part in parts]
    lower = [f"{x.at(step):g} {100 - y.at(min(part)):g}" for step, part in reversed(parts)]
    return "M" + "L".join(upper + lower) + "Z"


def _means(steps: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    return [(step, math.fsum(v / len(part) for v in part)) for step, part in _stretches(steps, values)]


def _stretches(steps: Sequence[float], values: Sequence[float]) -> list[tuple[float, list[float]]]:
    """(middle step, finite values) of consecutive stretches; those without a finite value are left out."""
    size = math.ceil(len(values) / STRETCHES)
    parts = []
    for start in range(0, len(values), size):
        known = finite(values[start : start + size])
        if known:
            last = min(start + size, len(values)) - 1
            parts.append(((steps[start] + steps[last]) / 2, known))
    return parts


def dots(xs: Sequence[float], ys: Sequence[float], x: Axis, y: Axis) -> tuple[str, int]:
    """An SVG path that draws a dot a point (a line of no length with a round cap), and how many: evenly thinned."""
    points = [(a, b) for a, b in zip(xs, ys, strict=True) if len(finite((a, b))) == 2]
    every = max(1, math.ceil(len(points) / MOST_DOTS))
    points = points[::every]
    return "".join(f"M{x.at(a):g} {100 - y.at(b):g}h0" for a, b in points), len(points)


def without_stragglers(spans: Sequence[tuple[float, float]], keep: int = 0) -> list[bool]:
    """Which intervals an axis should cover: one so far off that it makes the rest thrice as narrow goes to the edge.

    `spans` are (low, high); the one at index `keep` always stays.
    """
    inside = [True] * len(spans)
    while sum(inside) > 2:
        whole = _width([s for s, k in zip(spans, inside, strict=True) if k])
        rest = []
        for i in range(len(spans)):
            if inside[i] and i != keep:
                others = [s for j, s in enumerate(spans) if inside[j] and j != i]
                rest.append((_width(others), i))
        best, worst = min(rest)
        if best * 3 >= whole or best <= 0:
            return inside
        inside[worst] = False
    return inside


def _width(spans: Sequence[tuple[float, float]]) -> float:
    return max(h for _, h in spans) - min(low for low, _ in spans)
