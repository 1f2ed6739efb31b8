"""Two models on the same rows: scores row by row, kept beside an audit, and the tests that compare them in pairs.

A difference of two models is seen far better in pairs than in two intervals that overlap: most rows are as hard for one
as for the other. The rows' scores stand in `audit.rows.safetensors`, by the name of the measure that is their mean.

Two audits differ in a hundred measures, and of a hundred differences that are chance five look real at 5 %. So Holm's
procedure (1979) keeps the chance of a single false claim at 5 % in each of two families: the few measures that are
means over rows, and all others. The first are the ones to decide by, and are not held back by the many.
"""

# N rows, L labels, T targets

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sonde.audits.quality.intervals import HOW, compare
from sonde.audits.quality.slices import holm
from sonde.core import SondeError, Subject
from sonde.core.state import disk_error
from sonde.report.audit import AuditFacts, Change
from sonde.report.facts import Score

Scores = Mapping[str, NDArray[Any]]

FILE = "audit.rows.safetensors"
THRESHOLD = 0.5  # above which a label is given, as in `audits.quality.multilabel`
ALPHA, Z = 0.05, NormalDist().inv_cdf(0.975)
RECOVERED = "as if of other rows: from both intervals (Zou and Donner, 2008)"
MCNEMAR = "McNemar (1947), mid-p (Fagerland et al., 2013)"


def scores(subject: Subject) -> dict[str, NDArray[Any]]:
    """What each test row adds to the measures that are means over rows, (N,) float64 by the measures' names.

    Classification: accuracy, negative log-likelihood and Brier score; several labels: the share of labels that are
    right, and whether all are; regression: the absolute error of each target. A row whose answer is not a number counts
    as wrong, and a measure that it leaves undefined is left out. Nothing where there are no test rows.
    """
    rows = subject.splits.get("test")
    if rows is None or not len(rows):
        return {}
    answers = subject.answers()
    p, y = answers.double().numpy(), rows.y.numpy()  # (N, ...)
    there = np.isfinite(p).reshape(len(p), -1).all(1)  # (N,)
    if subject.task == "classification":
        found = {"quality/accuracy": ((p.argmax(1) == y) & there).astype(float)}
        if there.all():
            eps = float(np.finfo(answers.numpy().dtype).eps)
            found["quality/nll"] = -np.log(np.clip(p[np.arange(len(p)), y], eps, 1 - eps))
            found["calibration/brier"] = np.square(p - np.eye(p.shape[1])[y]).sum(1)
        return found
    if subject.task == "multilabel":
        right = ((p > THRESHOLD) == (y > THRESHOLD)) & np.isfinite(p)  # (N, L)
        return {"quality/exact_match": right.all(1).astype(float), "quality/label_accuracy": right.mean(1)}
    error = np.abs(p - y)  # (N, T)
    names = _targets(subject, error.shape[1])
    return {name: error[:, t] for t, name in enumerate(names) if np.isfinite(error[:, t]).all()}


def _targets(subject: Subject, count: int) -> list[str]:
    """`quality/mae`, or `quality/mae/TARGET` for each of several targets, as the audit of quality names them."""
    columns = getattr(getattr(subject.schema, "target", None), "columns", None)
    known = columns or [str(t) for t in range(count)]
    return ["quality/mae"] if count == 1 else [f"quality/mae/{name}" for name in known]


@dataclass(frozen=True)
class Difference:
    """How much more one model has of a measure than another, from the rows in pairs.

    value: this model's measure less the other's; in pairs, the mean over rows. interval: 95 %; None where all rows
    differ alike. p: of McNemar's test for right and wrong answers, else as the interval has it. apart: whether chance
    in the choice of the rows can be ruled out at 5 %, this difference by itself. how: the method, in words.
    """

    value: float
    interval: tuple[float, float] | None
    p: float | None
    apart: bool
    how: str

    @property
    def chance(self) -> float:
        """p, or 0 and 1 where there is none: all rows differ alike, or not at all."""
        return self.p if self.p is not None else float(not self.apart)


def difference(before: NDArray[Any], after: NDArray[Any]) -> Difference:
    """The change from one model's scores (N,) to another's on the same rows."""
    found = compare(after, before)
    how = HOW["bca"] + ", rows in pairs"
    return Difference(
        found.difference,
        found.interval,
        _chance(found.difference, found.interval) if found.p is None else found.p,
        found.distinguishable,
        how if found.p is None else f"{MCNEMAR}; interval: {how}",
    )


def changes(
    before: AuditFacts, after: AuditFacts, old: Scores | None = None, new: Scores | None = None
) -> tuple[Change, ...]:
    """Each measure that two audits both have, and whether chance in the choice of the test rows can be ruled out.

    old, new: the rows' scores of each; where a measure is in both, it is compared in pairs. The others are compared by
    their two intervals as if of different rows, which understates how sure a difference is where most rows are as hard
    for both. Nothing is told apart that was measured on other data, or has no interval.
    """
    same = before.fingerprint == after.fingerprint
    pairs = differences(old or {}, new or {}) if same else {}
    both: dict[str, tuple[Score, Score]] = {}
    for name, now in after.measures.items():
        was = before.measures.get(name)
        if was is not None and not math.isnan(was.value) and not math.isnan(now.value):
            both[name] = was, now
    found = {name: pairs[name] if name in pairs else recovered(*ends) for name, ends in both.items()}
    apart: set[str] = set()
    for family in (pairs.keys() & both.keys(), both.keys() - pairs.keys()):
        apart |= _claimed({name: d.chance for name in family if (d := found[name]) is not None}) if same else set()
    return tuple(
        _change(name, was, now, found[name] if same else None, name in apart) for name, (was, now) in both.items()
    )


def _change(name: str, was: Score, now: Score, found: Difference | None, apart: bool) -> Change:
    verdict: Literal["better", "worse", "not told apart", "changed"] = "not told apart"
    if apart and found is not None and found.apart and was.value != now.value:
        better = (now.value > was.value) == (now.better == "higher")
        verdict = "changed" if now.better == "neither" else "better" if better else "worse"
    ends, p, how = (None, None, "") if found is None else (found.interval, found.p, found.how)
    return Change(name, was.value, now.value, verdict, ends, p, how)


def recovered(was: Score, now: Score) -> Difference | None:
    """The difference of two measures as if of independent rows, its interval from their two (Zou and Donner, 2008,
    eq. 6); None where one has no interval, or no finite one.
    """
    if was.interval is None or now.interval is None or not np.isfinite([*was.interval, *now.interval]).all():
        return None
    value = now.value - was.value
    down = math.hypot(now.value - now.interval[0], was.interval[1] - was.value)
    up = math.hypot(now.interval[1] - now.value, was.value - was.interval[0])
    ends = value - down, value + up
    return Difference(value, ends, _chance(value, ends), not ends[0] <= 0 <= ends[1], RECOVERED)


def _chance(value: float, interval: tuple[float, float] | None) -> float | None:
    """How often chance alone makes as large a difference, from its 95 % interval as if the estimate were normal."""
    if interval is None:
        return None
    half = value - interval[0] if value > 0 else interval[1] - value
    return 2 * (1 - NormalDist().cdf(Z * abs(value) / half)) if half > 0 else float(value == 0)


def _claimed(chances: Mapping[str, float]) -> set[str]:
    """Those that Holm's procedure claims at 5 %."""
    adjusted = holm(np.array(list(chances.values())))
    return {name for name, p in zip(chances, adjusted, strict=True) if p < ALPHA}


# ---------------------------------------------------------------- on disk
def save(folder: Path, rows: Scores, fingerprint: str) -> None:
    """Write the rows' scores into a run's folder. fingerprint: of the data, which says which rows they are of."""
    from safetensors.numpy import save as packed

    content = packed({k: np.ascontiguousarray(v) for k, v in rows.items()}, {"fingerprint": fingerprint, "format": "1"})
    fresh = folder / f".{FILE}.tmp"
    try:
        fresh.write_bytes(content)
        fresh.replace(folder / FILE)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise disk_error(error, f"writing {FILE}") from None


def read(folder: Path, fingerprint: str) -> dict[str, NDArray[Any]]:
    """The rows' scores of a run, if they are of the data of this fingerprint; nothing where there are none.

    Raises SondeError for a damaged file.
    """
    from safetensors import SafetensorError, safe_open

    if not (folder / FILE).exists():
        return {}
    try:
        with safe_open(folder / FILE, "numpy") as file:
            of = (file.metadata() or {}).get("fingerprint")
            rows = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, TypeError):
        raise SondeError(f"{FILE} of run {folder.name} cannot be read", "audit it again") from None
    if any(v.dtype != np.float64 or v.ndim != 1 or not np.isfinite(v).all() for v in rows.values()):
        raise SondeError(f"{FILE} of run {folder.name} is damaged", "audit it again")
    return rows if of == fingerprint else {}


def differences(before: Scores, after: Scores) -> dict[str, Difference]:
    """The change of every measure whose rows both models have, where they are as many."""
    return {
        name: difference(before[name], rows)
        for name, rows in after.items()
        if name in before and before[name].shape == rows.shape
    }
