"""What a model is worth that may leave the rows it is least sure of to someone else.

    risk(c)  the share of wrong answers among the c N rows with the most probable answers
    AURC     the mean of the risk over rows, each at its own probability     Geifman, Uziel and El-Yaniv (2019), sec. 2
    E-AURC   AURC less that of the best order, with all wrong answers last   the same, eq. 3

AURC mixes how good the answers are with how well the model knows it; E-AURC is about the second alone.

Entry: audits.
"""

# N rows, B resamples

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sonde.audits._show import figure
from sonde.audits.quality.classes import ends
from sonde.audits.quality.intervals import HOW, Array, percentile, settings, wilson
from sonde.core import Audit, Clock, Figure, Measure, Subject, Table
from sonde.core.finding import Shown
from sonde.drawing import COLOURS, MUTED, canvas, legend

from ._answers import probabilities

SOURCE = "Geifman, Uziel and El-Yaniv (2019), sec. 2"
COVERAGES = (0.8, 0.9, 0.95)
RESAMPLES = 1000


class Selective(Audit):
    """What is gained by leaving the least sure answers to a person."""

    headline = "at_90_percent_coverage/accuracy"

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        if subject.task != "classification":
            return "only a class comes with how sure the model is of it"
        return ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        p, y = probabilities(subject)
        sure, wrong = p.max(1), (p.argmax(1) != y).astype(float)
        n = len(y)
        areas = area(sure, wrong, np.ones((1, n)))  # (1, 2)
        drawn = resampled(sure, wrong) if n > 1 else np.zeros((0, 2))
        for k, name in enumerate(("aurc", "e_aurc")):
            interval = percentile(drawn[:, k].clip(0))  # an area of zero may come out as -4e-17
            how: dict[str, Any] = {"interval": f"percentile bootstrap (Efron, 1979), {RESAMPLES} resamples"}
            how = how if interval else {"interval": "none: too few rows, or the same on every resample"}
            value = float(areas[0, k])
            yield Measure(f"calibration/selective/{name}", value, "1", n, "lower", SOURCE, interval, settings=how)
        rows = []
        for share in COVERAGES:
            right, kept, bound = answered(sure, wrong, share)
            interval = wilson(round(right), kept)
            where = f"calibration/at_{100 * share:.0f}_percent_coverage/accuracy"
            how = {**settings("wilson", interval), "probability_at_least": bound, "rows_left_out": n - kept}
            yield Measure(where, right / kept, "1", kept, "higher", SOURCE, interval, settings=how)
            rows.append((f"{100 * share:.0f} %", kept, bound, right / kept, ends(interval)))
        whole = float(1 - wrong.mean())
        rows.append(("100 %", n, float(sure.min()), whole, ends(wilson(round(whole * n), n))))
        columns = ("coverage", "rows answered", "probability at least", "accuracy", "95 %")
        caption = f"Accuracy on the rows that the model is surest of. Intervals: {HOW['wilson']}."
        yield Table("selective", caption, columns, tuple(rows))
        yield _drawn(sure, wrong)


def risks(sure: Array, wrong: Array, times: Array) -> tuple[Array, Array]:
    """Rows answered, and their share of wrong answers, (B, U) each, at each of the U probabilities from the top.

    sure, wrong: (N,). times: (B, N) how often each row counts.
    """
    order = np.argsort(-sure, kind="stable")
    last = np.append(np.diff(sure[order]) != 0, True)  # rows with the same probability are answered together
    answered = np.cumsum(times[:, order], 1)[:, last]
    errors = np.cumsum((times * wrong)[:, order], 1)[:, last]
    return answered, errors / np.maximum(answered, 1)


def area(sure: Array, wrong: Array, times: Array) -> Array:
    """AURC and E-AURC, (B, 2), where row i counts times[b, i] times."""
    answered, risk = risks(sure, wrong, times)
    n = answered[:, -1:]
    own = np.diff(answered, axis=1, prepend=0)
    aurc = (own * risk).sum(1) / n[:, 0]
    return np.stack([aurc, aurc - _best(n[:, 0], (times * wrong).sum(1))], 1)


def _best(n: Array, wrong: Array) -> Array:
    """The AURC with all wrong answers last, one row after the other: sum_k max(0, k - right) / k / n."""
    most = int(n.max())
    inverse = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, most + 1))])  # harmonic numbers
    n, right = n.astype(int), (n - wrong).round().astype(int)
    return ((n - right) - right * (inverse[n] - inverse[right])) / n  # type: ignore[no-any-return]


def resampled(sure: Array, wrong: Array, resamples: int = RESAMPLES) -> Array:
    """Both areas on resamples of the rows, (B, 2)."""
    n = len(sure)
    generator = np.random.default_rng(0)
    at_once = max(1, int(2e6 // n))
    return np.concatenate([
        area(sure, wrong, generator.multinomial(n, np.full(n, 1 / n), size=min(at_once, resamples - b)))
        for b in range(0, resamples, at_once)
    ])  # fmt: skip


def answered(sure: Array, wrong: Array, share: float) -> tuple[float, int, float]:
    """Of the `share` of rows that the model is surest of: how many are right, how many, and their lowest probability.

    Rows that share the last probability count as much as there is room for: on average over their order.
    """
    n = len(sure)
    kept = max(1, int(np.ceil(share * n - 1e-9)))
    bound = float(np.sort(sure)[::-1][kept - 1])
    above, at = sure > bound, sure == bound
    errors = wrong[above].sum() + (kept - above.sum()) * wrong[at].mean()
    return float(kept - errors), kept, bound


def _drawn(sure: Array, wrong: Array) -> Figure:
    drawing, axes = canvas(7, 3.8)
    n = len(sure)
    rows, risk = (v[0] for v in risks(sure, wrong, np.ones((1, n))))
    shown = rows >= min(n, max(10, 0.02 * n))  # before, a single wrong answer is a spike
    axes.fill_between(rows[shown] / n, *_band(rows[shown], risk[shown]), color=COLOURS[0], alpha=0.13, linewidth=0)
    axes.plot(rows[shown] / n, risk[shown], linewidth=1.8, label="the model's order")
    k = np.arange(1, n + 1)
    right = n - wrong.sum()
    axes.plot(k / n, np.maximum(0, k - right) / k, "--", color=COLOURS[2], linewidth=1.4, label="the best order")
    axes.axhline(wrong.mean(), color=MUTED, linestyle=":", linewidth=1.2, label="any order")
    axes.set_xlim(0, 1.005)
    # Few answers say little: where the band is far above all else, it runs out of the picture.
    axes.set_ylim(0, max(0.02, 1.25 * float(risk[shown].max()), 1.6 * float(wrong.mean())))
    axes.set_xlabel("share of rows answered, the surest first (coverage)")
    axes.set_ylabel("wrong among them (risk)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda v, _: f"{100 * v:.3g} %")
    legend(axes, "upper left")
    return figure(
        "risk-coverage", "Wrong answers among those given, by how many are given; 95 % at each place.", drawing
    )


def _band(rows: Array, risk: Array) -> tuple[Array, Array]:
    ends_ = [wilson(round(r * n), int(n)) or (0.0, 1.0) for n, r in zip(rows, risk, strict=True)]
    low, high = np.array(ends_).reshape(-1, 2).T
    return low, high
