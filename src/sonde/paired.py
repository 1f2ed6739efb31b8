"""Two models on the same rows: scores row by row, kept beside an audit, and the tests that compare them in pairs.

A difference of two models is seen far better in pairs than in two intervals that overlap: most rows are as hard for one
as for the other. The rows' scores stand in `audit.rows.safetensors`, by the name of the measure that is their mean.
"""

# N rows, L labels, T targets

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonde.audits.quality.intervals import HOW, compare
from sonde.core import SondeError, Subject
from sonde.core.state import disk_error
from sonde.report.audit import AuditFacts, Change

Scores = Mapping[str, NDArray[Any]]

FILE = "audit.rows.safetensors"
THRESHOLD = 0.5  # above which a label is given, as in `audits.quality.multilabel`
MCNEMAR = "McNemar (1947), mid-p (Fagerland et al., 2013)"


def scores(subject: Subject) -> dict[str, NDArray[Any]]:
    """What each test row adds to the measures that are means over rows, (N,) float64 by the measures' names.

    Classification: accuracy and negative log-likelihood; several labels: the share of labels that are right, and
    whether all are; regression: the absolute error of each target. A row whose answer is not a number counts as wrong,
    and a measure that it leaves undefined is left out. Nothing where there are no test rows.
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

    value: the mean over rows of this model's score less the other's. interval: 95 %, by resampling rows in pairs; None
    where all rows differ alike. p: for right and wrong answers, McNemar's test. apart: whether chance in the choice of
    the rows can be ruled out at 5 %. how: the method, in words.
    """

    value: float
    interval: tuple[float, float] | None
    p: float | None
    apart: bool
    how: str


def difference(before: NDArray[Any], after: NDArray[Any]) -> Difference:
    """The change from one model's scores (N,) to another's on the same rows."""
    found = compare(after, before)
    how = HOW["bca"] + ", rows in pairs"
    return Difference(
        found.difference,
        found.interval,
        found.p,
        found.distinguishable,
        how if found.p is None else f"{MCNEMAR}; interval: {how}",
    )


def changes(
    before: AuditFacts, after: AuditFacts, old: Scores | None = None, new: Scores | None = None
) -> tuple[Change, ...]:
    """Each measure that two audits both have, and whether chance in the choice of the test rows can be ruled out.

    old, new: the rows' scores of each; where a measure is in both, it is compared in pairs. The others are told apart
    where their 95 % intervals are disjoint, which is a stricter test than one of the difference at 5 %. Nothing is told
    apart that was measured on other data, or has no interval.
    """
    same = before.fingerprint == after.fingerprint
    pairs = differences(old or {}, new or {}) if same else {}
    found = []
    for name, now in after.measures.items():
        was = before.measures.get(name)
        if was is None or math.isnan(was.value) or math.isnan(now.value):
            continue
        pair = pairs.get(name)
        apart = same and (pair.apart if pair else _disjoint(was.interval, now.interval))
        if not apart or was.value == now.value:
            verdict = "not told apart"
        elif now.better == "neither":
            verdict = "changed"
        else:
            verdict = "better" if (now.value > was.value) == (now.better == "higher") else "worse"
        ends, p, how = (pair.interval, pair.p, pair.how) if pair else (None, None, "")
        found.append(Change(name, was.value, now.value, verdict, ends, p, how))  # type: ignore[arg-type]
    return tuple(found)


def _disjoint(a: tuple[float, float] | None, b: tuple[float, float] | None) -> bool:
    return a is not None and b is not None and max(a[0], b[0]) > min(a[1], b[1])


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
