"""What recalibration would change: calibrators fitted on the validation rows, judged on the test rows.

A calibrator is worth having if it lowers the negative log-likelihood of rows that it was not fitted on. That is found
out on the validation rows alone, each fold of them by calibrators fitted on the other folds (Stone, 1974), so the test
rows choose nothing. The best of those that do is fitted on all validation rows, and measured on the test rows, where
before and after are compared row by row.

A scaling that answers every validation row rightly has no best fit: nothing there says how sure is too sure. It is left
out, and isotonic calibration, whose steps stay off 0 and 1, is then what remains.

If the validation rows also chose the weights (early stopping), the model looks a little better on them than it is, and
what is fitted there corrects a little too little.

Entry: calibration.
"""

# N rows, C classes

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sonde.audits.quality.classes import ends
from sonde.audits.quality.intervals import LEVEL, Array, Interval, Statistic, bootstrap, left_out, mean, settings
from sonde.calibration import Temperature, isotonic, temperature, vector
from sonde.core import Audit, Clock, Measure, SondeError, Subject, Table
from sonde.core.finding import Shown

from ._answers import scores, surprise
from .errors import BINS, Binned, equal_mass, equal_width
from .reliability import diagram

Calibrator: TypeAlias = Callable[[Tensor], Tensor]

GUO = "Guo et al. (2017), sec. 4.2"
ZADROZNY = "Zadrozny and Elkan (2002)"
FITS: dict[str, tuple[Callable[[Tensor, Tensor], Calibrator], str]] = {
    "temperature": (temperature.fit, GUO),
    "vector": (vector.fit, GUO),
    "isotonic": (lambda z, y: _of_probabilities(isotonic.fit(z.softmax(1), y)), ZADROZNY),
}


class Recalibration(Audit):
    """What temperature scaling, vector scaling or isotonic calibration would change.

    folds: of the validation rows, by which it is decided whether a calibrator is worth having.
    """

    headline = "ece_change"

    def __init__(self, folds: int = 5) -> None:
        if folds < 2:
            raise SondeError(f"folds must be at least 2; got {folds}", "5 is usual")
        self.folds = folds

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        if subject.task != "classification":
            return "recalibration here is of class probabilities"
        if "val" not in subject.splits or len(subject.splits["val"]) < 2 * self.folds:
            return "there are too few validation rows to fit on, and test rows must not be fitted on"
        return ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        z, y = scores(subject, "val")
        z_test, y_test = scores(subject, "test")
        before, truth = z.softmax(1).numpy(), y.numpy()
        fold = np.random.default_rng(0).permutation(len(y)) % self.folds
        changes: dict[str, Measure] = {}
        fitted: dict[str, Calibrator] = {}
        for i, (name, (fit, source)) in enumerate(FITS.items()):
            where = f"calibration/{name}/held_out_nll_change"
            try:
                held_out = cross_fitted(fit, z, y, fold)
                fitted[name] = fit(z, y)
            except SondeError as error:
                yield left_out(where, "nat", len(y), "lower", source, "val", error.cause)
                continue
            changes[name] = self._held_out(where, source, surprise(held_out, truth) - surprise(before, truth))
            yield changes[name]
            clock.at((i + 1) / (len(FITS) + 1))
        if "temperature" in fitted:
            yield _temperature(fitted["temperature"], z, y)
        old, y_now = z_test.softmax(1).numpy(), y_test.numpy()
        new = {name: calibrated(z_test).numpy() for name, calibrated in fitted.items()}
        kept = [name for name, change in changes.items() if change.value < 0]
        yield _table(old, new, y_now, changes)
        if not kept:
            why = "no calibrator lowered the negative log-likelihood of rows that it was not fitted on"
            for name, better, source in MEASURES:
                unit = "nat" if "nll" in name else "1"
                yield left_out(f"calibration/recalibrated/{name}", unit, len(y_now), better, source, "test", why)
            return
        best = min(kept, key=lambda name: changes[name].value)
        yield from after(old, new[best], y_now, best)
        yield diagram(_answers(old, y_now), "of the answers", _answers(new[best], y_now))

    def _held_out(self, where: str, source: str, change: Array) -> Measure:
        s = mean(change)
        interval = bootstrap({"": s})[""]
        how = settings("bca", interval, folds=self.folds, kept=bool(s.value < 0))
        return Measure(where, s.value, "nat", len(change), "lower", source, interval, "val", how)


def cross_fitted(fit: Callable[[Tensor, Tensor], Calibrator], z: Tensor, y: Tensor, fold: Array) -> Array:
    """Probabilities (N, C) of rows by calibrators fitted on the other folds. fold: (N,) of each row."""
    out = torch.empty(z.shape, dtype=torch.float64)
    for k in np.unique(fold):
        own = torch.from_numpy(fold == k)
        out[own] = fit(z[~own], y[~own])(z[own])
    return out.numpy()


NLL = "Good (1952), mean negative log-probability of the true class"
ECE = "Guo et al. (2017), eq. 3"
MEASURES: tuple[tuple[str, Any, str], ...] = (
    ("nll", "lower", NLL),
    ("nll_change", "lower", NLL),
    ("ece", "lower", ECE),
    ("ece_change", "lower", ECE),
)


def after(old: Array, new: Array, y: Array, calibrator: str) -> Iterator[Measure]:
    """The negative log-likelihood and calibration error once recalibrated, and how they changed, row by row.

    old, new: probabilities (N, C) of the same rows. y: (N,).
    """
    n = len(y)
    was, now = _width(old, y), _width(new, y)
    before, loss = surprise(old, y), surprise(new, y)
    statistics = {"nll": mean(loss, low=0.0), "nll_change": mean(loss - before), "ece_change": ece_change(was, now)}
    found = bootstrap(statistics)
    for name, better, source in MEASURES:
        if name == "ece":
            value, (interval, how) = now.error, now.interval()
        else:
            value, interval = statistics[name].value, found[name]
            how = settings("bca", interval)
        how = {**how, "calibrator": calibrator, "fitted_on": "val"}
        if "ece" in name:
            how["bins"] = f"{BINS} of equal width, over the probability of the answer"
        unit = "nat" if "nll" in name else "1"
        yield Measure(f"calibration/recalibrated/{name}", value, unit, n, better, source, interval, settings=how)


def ece_change(was: Binned, now: Binned) -> Statistic:
    """The calibration error of the second less that of the first, of the same rows."""
    first, second = was.statistic(), now.statistic()
    cut = first.columns.shape[1]
    columns = np.concatenate([first.columns, second.columns], 1)
    return Statistic(columns, lambda s: second.of(s[..., cut:]) - first.of(s[..., :cut]), low=-1.0, high=1.0)


def temperature_interval(found: Temperature, z: Tensor, y: Tensor) -> Interval | None:
    """95 % of the temperature, by the sandwich variance of 1 / T (White, 1982); None where T is at an end of its range.

    z: (N, C) the rows it was fitted on. y: (N,).
    """
    b = 1 / found.value
    if not temperature.LOWEST * 1.001 < found.value < temperature.HIGHEST / 1.001 or len(y) < 2:
        return None
    p = (z * b).softmax(1)
    middle = (p * z).sum(1)  # (N,)
    slope = middle - z.gather(1, y[:, None])[:, 0]
    bend = float(((p * z * z).sum(1) - middle**2).mean())
    if bend <= 0:
        return None
    half = NormalDist().inv_cdf(0.5 + LEVEL / 2) * math.sqrt(float(slope.pow(2).mean()) / len(y)) / bend
    return 1 / (b + half), (1 / (b - half) if b > half else math.inf)


def _temperature(found: Any, z: Tensor, y: Tensor) -> Measure:
    interval = temperature_interval(found, z, y)
    if interval is not None and math.isinf(interval[1]):
        interval = (interval[0], temperature.HIGHEST)
    how = {"interval": "sandwich variance of 1 / T (White, 1982)" if interval else "none: at an end of its range"}
    name = "calibration/temperature/temperature"
    return Measure(name, found.value, "1", len(y), "neither", f"{GUO}, eq. 9; 1 changes nothing", interval, "val", how)


def _table(old: Array, new: dict[str, Array], y: Array, changes: dict[str, Measure]) -> Table:
    was, before = _width(old, y), surprise(old, y)
    right = float((old.argmax(1) == y).mean())
    rows: list[tuple[Any, ...]] = [
        ("as it is", None, None, float(before.mean()), None, None, was.error, None, None, right)
    ]
    for name, p in new.items():
        now, loss = _width(p, y), surprise(p, y)
        nll, ece = mean(loss - before), ece_change(was, now)
        found = bootstrap({"nll": nll, "ece": ece})
        kept = "yes" if changes[name].value < 0 else "no"
        rows.append((
            name, changes[name].value, kept, float(loss.mean()), nll.value, ends(found["nll"], 4),
            now.error, ece.value, ends(found["ece"], 4), float((p.argmax(1) == y).mean()),
        ))  # fmt: skip
    columns = (
        "calibrator", "held-out change", "kept", "NLL", "NLL change", "95 %", "ECE", "ECE change", "95 %", "accuracy",
    )  # fmt: skip
    caption = "Fitted on the validation rows, measured on the test rows; kept where it lowers the NLL of held-out rows."
    return Table("recalibration", caption, columns, tuple(rows))


def _of_probabilities(calibrator: Calibrator) -> Calibrator:
    return lambda z: calibrator(z.softmax(1))


def _answers(p: Array, y: Array) -> Binned:
    return equal_mass(p.max(1), p.argmax(1) == y)


def _width(p: Array, y: Array) -> Binned:
    return equal_width(p.max(1), p.argmax(1) == y)
