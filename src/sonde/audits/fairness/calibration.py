"""Whether an answer of 70 % means 70 % for every group.

Kleinberg, Mullainathan and Raghavan, Inherent trade-offs in the fair determination of risk scores, 2016: calibration
within groups (condition A). Except in special cases it excludes equal error rates (theorem 1.1), so that both cannot be
asked of a model.

Entry: calibration; expected calibration error; audits.
"""

# N rows, G groups, B bins

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from sonde.core import Audit, Clock, Measure, SondeError, Subject
from sonde.core.finding import Figure, Shown, Table
from sonde.fairness.comparisons import MINIMUM

from ..quality.intervals import LEVEL, RESAMPLES, Interval, Statistic, bootstrap, left_out, settings, wilson
from ._rows import Array, Grouped, favoured, file_name, grouped, listed, percent, refusal, short

BINS = 10
MOST = 12  # groups that get a measure of their own
DRAWN = 5  # groups in the figure
GUO = "Guo et al., On calibration of modern neural networks, 2017, eq. 3, of the favourable class in one group"
RESIDUAL = "Kleinberg et al., Inherent trade-offs, 2016, condition A, over all probabilities together"


class GroupCalibration(Audit):
    """Whether the probabilities of the favourable class come true alike in every group.

    favourable: as in `GroupFairness`. minimum: rows below which a group is left out, and named.
    """

    headline = "calibration_in_the_large_difference"

    def __init__(self, favourable: str = "", minimum: int = MINIMUM, split: str = "test") -> None:
        if minimum < 2:
            raise SondeError(f"minimum={minimum}: a single row has no spread", "give 2 or more")
        self.favourable, self.minimum, self.split = favourable, minimum, split

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        return refusal(subject, self.favourable, binary=True)

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        code = favoured(subject, self.favourable) or 0
        every = grouped(subject, self.split)
        for i, rows in enumerate(every):
            yield from self._of(rows, code, subject.classes[code])
            clock.at((i + 1) / len(every))

    def _of(self, rows: Grouped, code: int, label: str) -> Iterator[Shown]:
        p, y = rows.answers[:, code].clip(0, 1), (rows.y == code).astype(float)
        large = rows.large(self.minimum)
        more = {"favourable": label, "minimum": self.minimum, **rows.settings}
        yield residual(rows, p, y, large, more)
        body: list[tuple[str, Array, Array]] = []
        cells: list[tuple[str | float | int | None, ...]] = []
        for g in large[:MOST]:
            mine, name = rows.codes == g, rows.names[g]
            value, ends, chance = error(p[mine], y[mine])
            how = {**settings("upward", ends), "bins": f"{BINS} of equal width", **more}
            yield Measure(
                f"fairness/{rows.attribute}/{name}/ece", value, "1", len(p[mine]), "lower", GUO, ends, rows.split, how
            )
            body.append((name, p[mine], y[mine]))
            means = [f"{100 * v[mine].mean():.1f} %" for v in (p, y)]
            cells.append((name, len(p[mine]), *means, percent(value, ends), f"{100 * chance:.1f} %"))
        if not body:
            return
        caption = f"Probability of {label} and how often it is so, by {rows.attribute}. The last column is what the"
        caption += " error of a calibrated model stays below in 97.5 % of test sets with so few rows."
        small = rows.small(self.minimum)
        caption += f" Too small to say: {listed(small)}." if small else ""
        columns = (rows.attribute, "rows", "mean probability", "is so", "calibration error", "by chance, up to")
        yield Table(f"calibration by {rows.attribute}", caption, columns, tuple(cells))
        yield figure(rows.attribute, body[:DRAWN], label)


def error(p: Array, y: Array) -> tuple[float, Interval | None, float]:
    """Expected calibration error of a probability, its interval, and how large it is by chance.

        sum_b n_b / N |mean y_b - mean p_b|, over bins of p of equal width

    p: (N,). y: (N,) of 0 and 1. The last number is what the error of a calibrated probability stays below in 97.5 % of
    such samples; where the error is as small, its interval begins at 0, which the bootstrap of an error that is biased
    upwards cannot see (Bröcker and Smith, 2007).
    """
    at = _bin(p)
    columns = np.zeros((len(p), BINS + 1))
    columns[:, BINS] = 1
    columns[np.arange(len(p)), at] = p - y
    found = Statistic(columns, lambda s: np.abs(s[..., :BINS]).sum(-1) / s[..., BINS], "upward", 0.0, 1.0)
    rows = np.bincount(at, minlength=BINS)
    mean = np.clip(np.bincount(at, p, BINS) / np.maximum(rows, 1), 0.0, 1.0)
    drawn = np.random.default_rng(0).binomial(rows, mean, size=(RESAMPLES, BINS))
    chance = float(np.quantile(np.abs(drawn - rows * mean).sum(1) / len(p), 0.5 + LEVEL / 2))
    ends, value = bootstrap({"": found})[""], found.value
    return value, ends and (0.0 if value <= chance else ends[0], ends[1]), chance


def residual(rows: Grouped, p: Array, y: Array, large: list[int], more: dict[str, Any]) -> Measure:
    """The largest less the smallest mean of label less probability over groups: who is underrated against whom."""
    name = f"fairness/{rows.attribute}/calibration_in_the_large_difference"
    n = int(rows.counts[large].sum())
    if len(large) < 2:
        return left_out(
            name, "1", n, "lower", RESIDUAL, rows.split, f"fewer than two groups have {more['minimum']} rows"
        )
    over = [(y - p)[rows.codes == g] for g in large]
    means = np.array([r.mean() for r in over])  # (G,)
    value, ends = spread(means, np.array([r.std(ddof=1) / math.sqrt(len(r)) for r in over]))
    how = {"groups": len(large), "left_out": rows.small(more["minimum"])}
    how |= {"highest": rows.names[large[means.argmax()]], "lowest": rows.names[large[means.argmin()]]}
    how["interval"] = "normal draws of the groups' means, basic below and percentile above (Davison and Hinkley, 1997)"
    return Measure(name, value, "1", n, "lower", RESIDUAL, ends, rows.split, {**how, **more})


def spread(means: Array, errors: Array, draws: int = 10_000) -> tuple[float, Interval]:
    """The largest less the smallest of some means (G,) with these standard errors, and its interval.

    Means of a few dozen rows are normal enough; their spread is biased upwards as that of rates is, and its interval is
    made as theirs is: see `sonde.fairness.comparisons`.
    """
    value = float(np.ptp(means))
    drawn = np.random.default_rng(0).normal(means, errors, size=(draws, len(means)))  # (B, G)
    low, high = (float(v) for v in np.quantile(np.ptp(drawn, axis=1), [0.025, 0.975]))
    several = len(means) > 2
    least = value - float(np.quantile(np.ptp(drawn - means, axis=1), 0.95)) if several else value
    return value, (max(0.0, min(low, 2 * value - high, least)), high)


def _bin(p: Array) -> Array:
    return np.asarray(np.clip(np.ceil(p * BINS).astype(int) - 1, 0, BINS - 1))


def figure(attribute: str, drawn: list[tuple[str, Array, Array]], label: str) -> Figure:
    """A reliability diagram with a line for each group; bins of fewer than ten rows are left out."""
    from sonde.drawing import COLOURS, MUTED, canvas, legend

    drawing, at = canvas(6, 4.4)
    at.plot([0, 100], [0, 100], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    for i, (name, p, y) in enumerate(drawn):
        points = []
        for b in range(BINS):
            mine = _bin(p) == b
            ends = wilson(int(y[mine].sum()), int(mine.sum()))
            if mine.sum() >= 10 and ends is not None:
                points.append((p[mine].mean(), y[mine].mean(), *ends))
        if not points:
            continue
        x, share, low, high = 100 * np.array(points).T
        x = x + (i - (len(drawn) - 1) / 2) * 0.6  # beside each other where they would hide one another
        at.vlines(x, low, high, color=COLOURS[i], linewidth=1.4, alpha=0.55)
        at.plot(x, share, "o-", color=COLOURS[i], linewidth=1.4, markersize=4.5, label=short(name))
    at.set_xlabel("probability that the model gives, %")
    at.set_ylabel("how often it is so, %")
    at.set_xlim(-2, 102)
    at.set_ylim(-2, 102)
    if at.get_legend_handles_labels()[0]:
        legend(at, "lower right")
        for text in at.get_legend().get_texts():
            text.set_parse_math(False)
    caption = f"Reliability by {attribute}: how often {label} is right, against the probability that the model gives"
    caption += " it, with 95 % intervals. On the dashed line probabilities mean what they say."
    return Figure.of(file_name("reliability", attribute), caption, drawing)
