"""Whether a model notices rows that are none of its kind: three scores against rows from elsewhere.

The scores are those of Hendrycks and Gimpel (2017), Liu et al. (2020) and Lee et al. (2018), see `_detectors.py`; the
foreign rows are made of the subject's own, see `_elsewhere.py`, and may come from another data set of pictures.

Entry: out-of-distribution generalisation; distribution shift; audits.
"""

# N rows, B resamples

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from sonde.core import Audit, Clock, Measure, SondeError, Subject
from sonde.core.finding import Figure, Shown, Table
from sonde.drawing import COLOURS, canvas, legend

from ..quality.intervals import Array, Interval, Statistic, bootstrap, left_out, settings, wilson
from ._asking import affordable, drawn, no_classes
from ._detectors import energy, gaussians, probability
from ._elsewhere import elsewhere

KEPT = 0.95  # of the own rows, where the share of foreign rows that are let through is measured
RESAMPLES = 1000
TITLES = {
    "softmax": "log of the largest probability",
    "energy": "minus the energy",
    "mahalanobis": "minus the distance",
}
SOURCES = {
    "softmax": "Hendrycks and Gimpel, 2017, sec. 3",
    "energy": "Liu et al., 2020, eq. 4",
    "mahalanobis": "Lee et al., 2018, eq. 2",
}


class OutOfDistribution(Audit):
    """Whether rows from elsewhere are noticed.

    rows: of the split at most, and of every foreign kind, drawn by `seed`. known: training rows at most that the
        Mahalanobis distance learns from. other: a data set of pictures, by its name, whose rows are foreign too.
    """

    cost = 1.0

    def __init__(self, rows: int = 500, known: int = 2000, other: str = "", split: str = "test", seed: int = 0) -> None:
        if min(rows, known) < 2:
            raise SondeError(f"OutOfDistribution(rows={rows}, known={known}) has too few rows", "choose 2 or more")
        self.rows, self.known, self.other, self.split, self.seed = rows, known, other, split, seed

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        if reason := no_classes(subject):
            return reason
        if subject.kind == "image" and subject.bounds is None:
            return "the range of its inputs is not known: bounds=(low, high)"
        rows = subject.splits.get(self.split)
        return "it needs two rows or more" if rows is None or len(rows) < 2 else ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        rows = affordable(subject, drawn(subject, self.split, self.rows, self.seed), 20, clock)
        generator = torch.Generator().manual_seed(self.seed)
        foreign = elsewhere(subject, rows.x, self.other, generator)
        detectors, lacking = self._detectors(subject)
        clock.at(0.3)
        lines: list[tuple[str | float | int | None, ...]] = []
        seen: dict[str, dict[str, Array]] = {}
        for i, (name, score) in enumerate(detectors.items()):
            own = score(subject, rows.x).numpy()
            others = {kind: score(subject, x).numpy() for kind, x in foreign.items()}
            lost = sum(int((~np.isfinite(s)).sum()) for s in (own, *others.values()))
            if lost:
                lacking[name] = f"the scores of {lost} rows are not numbers"
                continue
            seen[name] = {"": own, **others}
            yield from self._measures(name, own, others)
            for kind, s in others.items():
                lines.append((kind, name, round(area(own, s), 4), round(passed(own, s), 4)))
            clock.at(0.3 + 0.6 * (i + 1) / len(detectors))
        for name, why in lacking.items():
            for what, better in (("roc_auc", "higher"), ("false_positive_rate", "lower")):
                full = f"robustness/out_of_distribution/{name}/{what}"
                yield left_out(full, "1", len(rows), better, SOURCES[name], self.split, why)
        if seen:
            columns = ("foreign rows", "score", "ROC AUC", "let through")
            caption = f"{len(rows)} own rows against as many of each kind; let through where 95 % of the own rows are."
            yield Table("elsewhere", caption, columns, tuple(sorted(lines, key=lambda line: str(line[0]))))
            yield histograms(seen)

    def _detectors(self, subject: Subject) -> tuple[dict[str, Callable[[Subject, Any], torch.Tensor]], dict[str, str]]:
        """The scores that can be had, and why the others cannot."""
        found: dict[str, Callable[[Subject, Any], torch.Tensor]] = {"softmax": probability}
        if subject.logits is None:
            return found, dict.fromkeys(("energy", "mahalanobis"), "the model gives no logits")
        found["energy"] = energy
        if "train" not in subject.splits or not len(subject.splits["train"]):
            return found, {"mahalanobis": "there are no training rows to learn it from"}
        fitted = gaussians(subject, drawn(subject, "train", self.known, self.seed))
        if isinstance(fitted, str):
            return found, {"mahalanobis": fitted}
        return {**found, "mahalanobis": fitted.score}, {}

    def _measures(self, name: str, own: Array, others: Mapping[str, Array]) -> Iterator[Measure]:
        """Both numbers, each the mean over the foreign kinds."""
        how = {"over": ", ".join(others), "seed": self.seed}
        statistic = _areas(own, list(others.values()))
        ends = bootstrap({"": statistic})[""]
        yield Measure(
            f"robustness/out_of_distribution/{name}/roc_auc", statistic.value, "1", len(own), "higher", SOURCES[name],
            ends, self.split, settings("bca", ends, linearised="placement values (DeLong et al., 1988)", **how),
        )  # fmt: skip
        share = float(np.mean([passed(own, s) for s in others.values()]))
        between, made = _passed_between(own, list(others.values()), share, self.seed)
        yield Measure(
            f"robustness/out_of_distribution/{name}/false_positive_rate", share, "1", len(own), "lower", SOURCES[name],
            between, self.split, {"interval": made, "own rows kept": KEPT, **how},
        )  # fmt: skip


def area(own: Array, foreign: Array) -> float:
    """The chance that an own row scores above a foreign one; a tie counts one half (Hanley and McNeil, 1982).

    >>> area(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875
    """
    return float(_below(own, foreign).mean())


def passed(own: Array, foreign: Array) -> float:
    """The share of foreign rows at or above the score that at least 95 % of the own rows reach.

    >>> passed(np.arange(100.0), np.array([0.0, 4.0, 5.0, 50.0]))
    0.5
    """
    return float((foreign >= _threshold(own)).mean())


def _threshold(own: Array) -> Any:
    """The largest score that `KEPT` of the own rows (..., N) reach."""
    drop = own.shape[-1] - int(np.ceil(KEPT * own.shape[-1]))
    return np.partition(own, drop, axis=-1)[..., drop]


def _below(values: Array, others: Array) -> Array:
    """For each value, the share of `others` below it; a tie counts one half."""
    others = np.sort(others)
    return (np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")) / (2 * len(others))


def _areas(own: Array, others: list[Array]) -> Statistic:
    """The mean area over kinds; foreign row i was made of own row i or is drawn with it, so both count for row i."""
    influence, areas = np.zeros(len(own)), []
    for foreign in others:
        place = _below(own, foreign)
        areas.append(a := place.mean())
        influence += ((place - a) + (1 - _below(foreign, own) - a)) / len(others)
    mean = float(np.mean(areas))
    columns = np.stack([np.ones(len(own)), influence], 1)
    return Statistic(columns, lambda s: mean + s[..., 1] / s[..., 0], low=0.0, high=1.0)


def _passed_between(own: Array, others: list[Array], share: float, seed: int) -> tuple[Interval | None, str]:
    """The interval of the mean share let through, and how it was made: rows are resampled, the threshold with them."""
    n = len(own)
    drawn = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    least = _threshold(own[drawn])[:, None]
    shares = np.mean([(foreign[drawn] >= least).mean(1) for foreign in others], axis=0)  # (B,)
    low, high = np.quantile(shares, [0.025, 0.975])
    if low == high:
        return wilson(round(share * n), n), "Wilson (1927), at the threshold found"
    return (float(low), float(high)), f"percentile bootstrap (Efron, 1979), {RESAMPLES} resamples"


def histograms(seen: Mapping[str, Mapping[str, Array]]) -> Figure:
    """Where own and foreign rows lie on every score."""
    drawing, axes = canvas(7, 0.5 + 2.1 * len(seen), rows=len(seen))
    for one, (name, scores) in zip(np.atleast_1d(axes), seen.items(), strict=True):
        every = np.concatenate(list(scores.values()))
        low, high = np.quantile(every, [0.01, 0.99])
        low, high = (low, high) if high > low else (low - 1, low + 1)
        edges = np.linspace(low, high, 41)
        for i, (kind, s) in enumerate(scores.items()):
            weights = np.full(len(s), 100 / len(s))
            cut = np.clip(s, low, high)
            if i == 0:
                one.hist(cut, edges, weights=weights, color=COLOURS[0], alpha=0.3, label="own rows")
            else:
                colour = COLOURS[1 + (i - 1) % (len(COLOURS) - 1)]
                one.hist(cut, edges, weights=weights, histtype="step", color=colour, linewidth=1.5, label=kind)
        one.axvline(_threshold(scores[""]), color=COLOURS[0], linewidth=1.2, linestyle=(0, (4, 3)))
        one.set_xlim(low, high)
        one.set_ylabel("rows, %")
        one.set_xlabel(f"{name}: {TITLES[name]}")
    legend(np.atleast_1d(axes)[0], "upper left")
    caption = "Own and foreign rows by score; right of the dashed line lie 95 % of the own. Ends hold what is beyond."
    return Figure.of("elsewhere", caption, drawing)
