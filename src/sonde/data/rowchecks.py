"""Whether the labels can be learned from: enough classes, enough rows of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sonde.core.errors import SondeError
from sonde.data.problems import Problem, listed, quoted
from sonde.data.splits import TEST, TRAIN
from sonde.data.targets import Target


def check_classes(
    target: Target,
    y: np.ndarray,
    keep: np.ndarray,
    names: Sequence[str],
    given: np.ndarray | None = None,
    strict: bool = False,
) -> list[Problem]:
    """Rows that are the only one of their class; marks them in `keep` (N,) bool, in place.

    Raises:
        SondeError: no rows, one class only, more classes than half the rows, a constant target, a test class that has
            no training row; with `strict`, also a class with a single row.
    """
    what = " and ".join(quoted(column) for column in target.columns)
    rows = np.flatnonzero(keep)
    if not len(rows):
        return []  # every row is bad: that is the error, and it is raised with the list of them
    if target.task == "regression":
        if len(rows) > 1 and (y[rows] == y[rows[0]]).all():
            raise SondeError(f"target {what} is {y[rows[0]].tolist()} in every row", "choose a target that varies")
        return []
    if target.task == "multilabel":
        if not (y[rows] != y[rows[0]]).any():
            raise SondeError(f"target {what} is the same in every row", "choose labels that vary")
        return []
    counts = np.bincount(y[rows], minlength=len(target.classes))
    present = int((counts > 0).sum())
    if present < 2:
        only = target.classes[int(counts.argmax())]
        raise SondeError(f"every row has the class {quoted(only)} in {what}", "bring rows of at least two classes")
    if present > len(rows) / 2:
        raise SondeError(
            f"target {what} has {present} classes in {len(rows)} rows",
            "choose a target with several rows a class, or task='regression' if it is a number",
        )
    if given is not None:
        train = np.bincount(y[rows[given[rows] == TRAIN]], minlength=len(counts))
        judged = np.bincount(y[rows[given[rows] == TEST]], minlength=len(counts))
        unseen = np.flatnonzero((train == 0) & (judged > 0))
        if len(unseen):
            which = listed([target.classes[i] for i in unseen])
            raise SondeError(f"test rows have classes that no training row has: {which}", "bring training rows of them")
    lonely = [int(i) for i in rows if counts[y[i]] == 1] if (counts == 1).any() else []
    if strict and lonely:
        raise SondeError(f"class {quoted(target.classes[y[lonely[0]]])} has a single row", "bring more rows of it")
    keep[lonely] = False
    return [Problem(names[i], f"the only row of class {quoted(target.classes[y[i]])}") for i in lonely]
