"""Average accuracy, forgetting and transfer over a stream of experiences, with intervals.

a_sj is the accuracy on experience j after stage s; a_0j is that of the untrained model.

Entry: continual learning; catastrophic forgetting.
"""

# T experiences, S stages, R test rows of all experiences, U records among them

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonde.audits.quality.intervals import HOW, NONE, Statistic, bootstrap
from sonde.core import Measure

Array = NDArray[Any]

LOPEZ_PAZ = "Lopez-Paz and Ranzato (2017), sec. 2"
CHAUDHRY = "Chaudhry, Dokania, Ajanthan and Torr (2018), sec. 3.2"


def accuracy_matrix(right: Array, task: Array) -> Array:
    """a (S + 1, T): the share of right answers for each experience after each stage, row 0 before training.

    right: (S + 1, R) of 0 and 1. task: (R,) the experience of each test row.

    >>> accuracy_matrix(np.array([[0, 0, 1], [1, 0, 1]]), np.array([0, 0, 1])).tolist()
    [[0.0, 1.0], [0.5, 1.0]]
    """
    right, task = np.asarray(right, float), np.asarray(task)
    return np.stack([right[:, task == t].mean(1) for t in range(int(task.max()) + 1)], 1)


def continual(right: Array, task: Array, records: Array, split: str = "test") -> list[Measure]:
    """The measures of a stream that is learned to its end.

        average accuracy   1/T sum_j a_Tj
        forgetting         1/(T-1) sum_(j<T) max_(s<T) a_sj - a_Tj
        backward transfer  1/(T-1) sum_(j<T) a_Tj - a_jj
        forward transfer   1/(T-1) sum_(j>1) a_(j-1)j - a_0j

    right: (T + 1, R) of 0 and 1: row 0 before training, row s after stage s. task: (R,), the experience of each test
    row, from 0. records: (R,), the record behind each: one that is in several experiences is drawn with all its rows.

    The intervals are bootstraps over test records. They say how sure the numbers are for this model; they do not cover
    what another seed or another order of experiences would give.
    """
    right, task = np.asarray(right, float), np.asarray(task)
    tasks, stages = int(task.max()) + 1, len(right) - 1
    if stages != tasks:
        raise ValueError(f"needs a row before training and one after each of {tasks} stages; got {len(right)} rows")
    ids, place = np.unique(np.asarray(records), return_inverse=True)
    rows = np.zeros((len(ids), tasks))  # (U, T) how many rows of each experience are of this record
    np.add.at(rows, (place, task), 1.0)
    hits = np.zeros((len(ids), stages + 1, tasks))  # (U, S + 1, T) and how many of them are right
    for s in range(stages + 1):
        np.add.at(hits[:, s], (place, task), right[s])
    found = _statistics(rows, hits, tasks)
    intervals = bootstrap(found)
    n, made = len(ids), []
    for name, (better, source) in _ABOUT.items():
        interval = intervals.get(name)
        if name in found:
            settings = {"interval": HOW["bca"] if interval else NONE, "tasks": tasks, "over": "test records"}
            made.append(Measure(name, found[name].value, "1", n, better, source, interval, split, settings))  # type: ignore[arg-type]
        else:
            why = {"omitted": "one experience has nothing to be forgotten or carried over"}
            made.append(Measure(name, math.nan, "1", n, better, source, None, split, why))  # type: ignore[arg-type]
    return made


_ABOUT = {
    "continual/average_accuracy": ("higher", LOPEZ_PAZ),
    "continual/forgetting": ("lower", CHAUDHRY),
    "continual/backward_transfer": ("higher", LOPEZ_PAZ),
    "continual/forward_transfer": ("higher", LOPEZ_PAZ),
}


def _statistics(rows: Array, hits: Array, tasks: int) -> dict[str, Statistic]:
    """The measures as functions of sums over records."""
    last = hits[:, tasks]  # (U, T)
    found = {"continual/average_accuracy": Statistic(np.concatenate([rows, last], 1), _average, low=0.0, high=1.0)}
    if tasks == 1:
        return found
    early = slice(0, tasks - 1)
    within = hits[:, 1:tasks, early].reshape(len(rows), -1)  # (U, (T - 1)^2), stages 1 to T - 1 of experiences before T

    def forgetting(sums: Array) -> Array:
        n, end, rest = np.split(sums, [tasks - 1, 2 * (tasks - 1)], -1)
        best = rest.reshape(*rest.shape[:-1], tasks - 1, tasks - 1).max(-2)
        return ((best - end) / n).mean(-1)

    own = np.stack([hits[:, j + 1, j] for j in range(tasks - 1)], 1)  # a_jj
    before = np.stack([hits[:, j, j] for j in range(1, tasks)], 1)  # a_(j-1)j
    start = hits[:, 0, 1:]  # a_0j
    columns = {
        "continual/forgetting": ([rows[:, early], last[:, early], within], forgetting),
        "continual/backward_transfer": ([rows[:, early], last[:, early] - own], _average),
        "continual/forward_transfer": ([rows[:, 1:], before - start], _average),
    }
    for name, (parts, of) in columns.items():
        found[name] = Statistic(np.concatenate(parts, 1), of, low=-1.0, high=1.0)
    return found


def _average(sums: Array) -> Array:
    """The mean over experiences of a ratio of sums."""
    n, hits = np.split(sums, 2, -1)
    value: Array = (hits / n).mean(-1)
    return value
