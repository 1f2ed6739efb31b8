"""Where the answers are worst: parts of the test rows picked out by one column or two.

Parts are a category, a quarter of a numeric column (of texts: of their lengths; of pictures: of their brightness and
contrast), its missing cells, a group, and what two of them from different columns have in common (Chung, Kraska,
Polyzotis, Tae and Whang, "Slice Finder", 2019, sec. 3, without its trees). There are thousands, and among thousands
some do badly by chance. So

- whether a part is worse than the other rows is Fisher's exact test (1935), one-sided, and Holm's procedure (1979)
  keeps the chance of a single false claim among all parts at 5 %;
- the part named worst is the one whose accuracy is known to be lowest: the lowest upper end among exact intervals that
  hold for all parts at once (see `worst`). Its observed accuracy alone would be too low: it was chosen for being low.

Entry: audits.
"""

# N rows, S slices

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from torch import Tensor

from sonde.audits._show import short
from sonde.core import Audit, Clock, Measure, Subject, Table, Texts, some_rows
from sonde.core.finding import Shown

from .classes import ends
from .intervals import LEVEL, Array, left_out
from .multilabel import THRESHOLD
from .worst import HOW, simultaneous

SOURCE = "Chung et al. (2019), slices of one or two columns; Holm (1979) over all of them"
MOST_CATEGORIES = 30  # of a column that are slices of their own: the commonest
SHOWN = 12  # rows of the table
SAME = 0.7  # of the rows of either in both: one slice under two names
ERRORS = 0.9  # a predicted number is badly off where its error is among the largest tenth


@dataclass(frozen=True, eq=False)
class Slice:
    """Some of the rows: (N,) bool, and what they have in common, by column."""

    columns: tuple[str, ...]
    words: str
    rows: Array


class Slices(Audit):
    """Where the answers are worst: by column, group, and pairs of them.

    smallest: test rows of a slice, at least. pairs: whether two columns are combined.
    """

    def __init__(self, smallest: int = 30, pairs: bool = True) -> None:
        self.smallest, self.pairs = smallest, pairs

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        x = _x(subject)
        if not _is_table(subject) and not subject.groups and not (x is not None and _aspects(subject, x)):
            return "there are no columns or groups to look at parts of the rows by"
        return ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        n = len(subject.rows())
        wrong, what = wrong_rows(subject)
        found = slices(subject, self.smallest, self.pairs)
        facts: dict[str, Any] = {"right": what, "smallest": self.smallest, "pairs": self.pairs}
        if not found:
            why = f"no part of the {n} test rows has {self.smallest} rows and leaves as many"
            yield left_out("quality/worst_slice/accuracy", "1", n, "higher", SOURCE, "test", why)
            return
        rows = np.stack([s.rows for s in found])  # (S, N)
        size = rows.sum(1)
        right = size - rows @ wrong
        low, high = simultaneous(right, size)
        p = fisher(size - right, size, int(wrong.sum()), n)
        adjusted = holm(p)
        worst = int(np.lexsort((right / size, high))[0])
        yield Measure(
            "quality/worst_slice/accuracy",
            float(right[worst] / size[worst]),
            "1",
            int(size[worst]),
            "higher",
            SOURCE,
            (float(low[worst]), float(high[worst])),
            settings={
                "slice": found[worst].words,
                "p": float(adjusted[worst]),
                "test": "Fisher, one-sided, against the other rows; Holm over all slices",
                "interval": HOW.format(len(found)),
                "chosen": "lowest upper end of the interval",
                **facts,
            },
        )
        worse = int((adjusted < 1 - LEVEL).sum())
        yield Measure(
            "quality/slices_worse_than_the_rest",
            float(worse),
            "slices",
            n,
            "lower",
            SOURCE,
            settings={
                "slices": len(found),
                "interval": "none: the chance of one false slice among them is 5 %",
                **facts,
            },
        )
        yield _table(found, right, size, adjusted, (low, high), 1 - float(wrong.mean()), what)


def wrong_rows(subject: Subject) -> tuple[Array, str]:
    """Which test rows are answered wrongly (N,) of 0 and 1, and what counts as right."""
    y, guess = subject.rows().y.numpy(), subject.answers().double().numpy()
    known = np.isfinite(guess).all(1)
    if subject.task == "classification":
        right = subject.decisions().numpy() == y
        return (~(right & known)).astype(int), "the class answered is the true one"
    if subject.task == "multilabel":
        right = ((guess > THRESHOLD) == (y > 0.5)).all(1)
        return (~(right & known)).astype(int), "every label is right"
    error = np.abs(guess - y) / np.maximum(np.abs(y - y.mean(0)).mean(0), 1e-300)  # (N, T), in units of the spread
    largest = np.where(known, np.nan_to_num(error, nan=np.inf).max(1), np.inf)
    bound = np.quantile(largest[known], ERRORS) if known.any() else 0.0
    return (largest > bound).astype(int), "the error is not among the largest tenth"


def slices(subject: Subject, smallest: int, pairs: bool) -> list[Slice]:
    """Every part of the test rows with at least `smallest` rows that leaves as many; one of two with the same rows."""
    n = len(subject.rows())
    single = [s for s in _single(subject) if s.rows.sum() >= smallest]
    found = list(single)
    if pairs:
        for a, b in combinations(single, 2):
            if a.columns[0] != b.columns[0]:
                both = a.rows & b.rows
                if smallest <= both.sum() < min(a.rows.sum(), b.rows.sum()):
                    found.append(Slice((*a.columns, *b.columns), f"{a.words}, {b.words}", both))
    kept: dict[bytes, Slice] = {}
    for s in found:
        if s.rows.sum() <= n - smallest:
            kept.setdefault(s.rows.tobytes(), s)
    return list(kept.values())


def _x(subject: Subject) -> Any:
    """A row of any split, or none."""
    return next((some_rows(rows.x, slice(0, 1)) for rows in subject.splits.values()), None)


def _is_table(subject: Subject) -> bool:
    x = _x(subject)
    return hasattr(subject.schema, "columns") and isinstance(x, dict) and {"numeric", "categorical"} <= x.keys()


def _single(subject: Subject) -> Iterator[Slice]:
    rows, done = subject.rows(), set()
    if _is_table(subject):
        numeric, codes = rows.x["numeric"].double().numpy(), rows.x["categorical"].numpy()
        f = k = 0
        for column in subject.schema.columns:
            if column.kind == "categorical":
                yield from _categories(column.name, column.categories, codes[:, k], missing=1)
                done.add(column.name)
                k += 1
            for name in column.outputs:
                yield from _quarters(name, numeric[:, f])
                f += 1
    for name, aspect in _aspects(subject, rows.x).items():
        yield from _quarters(name, aspect)
    for name, values in subject.groups.items():
        if name in rows.fields and name not in done:
            yield from _categories(name, values, rows.fields[name].numpy(), missing=0)


def _aspects(subject: Subject, x: Any) -> dict[str, Array]:
    """What rows without columns can be told apart by: how long a text is, how bright and how even a picture; (N,)."""
    if isinstance(x, Texts):
        return {"words": np.array([float(len(text.split())) for text in x])}
    if subject.kind == "image" and isinstance(x, Tensor) and x.dim() == 4:
        flat = x.detach().cpu().double().flatten(1).numpy()
        return {"brightness": flat.mean(1), "contrast": flat.std(1)}
    return {}


def _categories(name: str, values: tuple[str, ...], codes: Array, missing: int) -> Iterator[Slice]:
    """missing: 1 where code 0 stands for no value and code i + 1 for value i; 0 where code i does."""
    seen, times = np.unique(codes, return_counts=True)
    for code in sorted(seen[np.argsort(-times, kind="stable")[:MOST_CATEGORIES]]):
        at = int(code) - missing
        called = short(values[at], 40) if 0 <= at < len(values) else "missing or unseen"
        yield Slice((name,), f"{short(name, 40)} = {called}", codes == code)


def _quarters(name: str, values: Array) -> Iterator[Slice]:
    known = np.isfinite(values)
    if not known.all():
        yield Slice((name,), f"{short(name, 40)} missing", ~known)
    if not known.any():
        return
    distinct = np.unique(values[known])
    if len(distinct) <= 4:
        for v in distinct:
            yield Slice((name,), f"{short(name, 40)} = {v:.4g}", values == v)
        return
    edges = np.unique(np.quantile(values[known], (0, 0.25, 0.5, 0.75, 1)))
    for i, (a, b) in enumerate(zip(edges, edges[1:], strict=False)):
        last = i == len(edges) - 2
        inside = known & (values >= a) & ((values <= b) if last else (values < b))
        yield Slice((name,), f"{short(name, 40)} {a:.4g} to {b:.4g}", inside)


def fisher(wrong: Array, size: Array, wrong_in_all: int, n: int) -> Array:
    """P(at least so many wrong rows in the slice by chance), (S,): the hypergeometric tail."""
    from scipy.stats import hypergeom

    return np.asarray(hypergeom.sf(wrong - 1, n, wrong_in_all, size))


def holm(p: Array) -> Array:
    """p values (S,) made larger so that calling those below 5 % worse errs once in 20 tries over all of them.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty(len(p))
    found[order] = np.minimum(raised, 1.0)
    return found


def _different(found: list[Slice], order: Array) -> list[int]:
    """The first of the slices in this order that have not mostly the same rows as one before."""
    kept: list[int] = []
    for i in order:
        rows = found[i].rows
        if all((rows & found[k].rows).sum() <= SAME * (rows | found[k].rows).sum() for k in kept):
            kept.append(int(i))
        if len(kept) == SHOWN:
            break
    return kept


def _table(
    found: list[Slice], right: Array, size: Array, p: Array, interval: tuple[Array, Array], overall: float, what: str
) -> Table:
    cells = []
    for i in _different(found, np.lexsort((interval[1], p >= 1 - LEVEL))):
        between = ends((float(interval[0][i]), float(interval[1][i])))
        said = "worse" if p[i] < 1 - LEVEL else "not told apart"
        cells.append((found[i].words, int(size[i]), float(right[i] / size[i]), between, float(p[i]), said))
    columns = ("part of the rows", "rows", "accuracy", f"95 %, all {len(found):,} at once", "p (Holm)", "than the rest")
    caption = f"Where accuracy is known to be lowest. Of all rows {100 * overall:.1f} % are right: {what}."
    return (
        Table("slices", caption, columns, tuple(cells)) if not math.isnan(overall) else Table("slices", "", columns, ())
    )
