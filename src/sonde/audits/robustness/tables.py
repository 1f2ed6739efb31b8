"""Tables attacked in their own domain: how few cells, changed to values that occur, flip a decision.

Only what could stand in the table is tried: another category of the same column, another number that was observed
nearby (a step along the column's quantiles), another date. The search is `sonde.attacks.tables`: a beam search, so that
the shares found are lower bounds of what an exhaustive search would find.

Ballet, Renard, Aigrain, Laugel, Frossard and Detyniecki, Imperceptible adversarial attacks on tabular data, 2019.

Entry: adversarial examples; audits.
"""

# N rows, F numeric and K categorical columns

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde.attacks.tables import Cell, Flip, Judge, changed, flips
from sonde.core import Audit, Batch, Clock, Measure, SondeError, Subject
from sonde.core.finding import Figure, Shown, Table
from sonde.data.columns import Column
from sonde.data.tables import TableSchema
from sonde.drawing import COLOURS, INK, canvas

from ..quality.intervals import settings, wilson
from ._asking import decided, drawn, no_classes

SOURCE = "after Ballet et al., 2019; least changed cells by beam search"
WORDS = ("one_cell", "two_cells", "three_cells", "four_cells", "five_cells")
AT_ONCE = 20  # rows searched together
TRIED = 20_000  # changed rows held in memory at a time, about
EXAMPLES = 8


class TableAttack(Audit):
    """How few changed cells of a row flip the decision on it.

    cells: changed at most, 1 to 5. step: how far a number moves along the quantiles of its column, and how many such
    `moves` either way are tried. beam: changed rows kept from step to step. fixed: columns that nobody can change.
    rows: of the split at most, drawn by `seed`.
    """

    cost = 2.0

    def __init__(
        self,
        cells: int = 3,
        step: float = 0.1,
        moves: int = 2,
        beam: int = 3,
        fixed: tuple[str, ...] = (),
        rows: int = 200,
        split: str = "test",
        seed: int = 0,
    ) -> None:
        if not 1 <= cells <= len(WORDS) or not 0 < step <= 1 or min(moves, beam, rows) < 1:
            raise SondeError(
                f"TableAttack(cells={cells}, step={step}, moves={moves}, beam={beam}, rows={rows}) tries nothing",
                f"choose 1 to {len(WORDS)} cells, a step in (0, 1], and at least one move, beam and row",
            )
        self.cells, self.step, self.moves, self.beam = cells, step, moves, beam
        self.fixed, self.rows, self.split, self.seed = tuple(fixed), rows, split, seed

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        if reason := no_classes(subject):
            return reason
        if not isinstance(subject.schema, TableSchema):
            return "its rows are not those of a table whose columns are known"
        names = [column.name for column in subject.schema.columns]
        if unknown := [name for name in self.fixed if name not in names]:
            return f"fixed= names {unknown[0]!r}, which is none of its columns: {', '.join(names)[:200]}"
        if len(subject.classes) < 2:
            return "it has one class, so that no decision can flip"
        if not set(names) - set(self.fixed):
            return "every column is fixed"
        return ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        rows = drawn(subject, self.split, self.rows, self.seed)
        known = subject.splits["train"] if len(subject.splits.get("train", ())) else subject.rows(self.split)
        cells = cells_of(subject.schema, known.x, rows.x, self.step, self.moves, self.fixed)
        before = decided(subject, rows, rows.x)
        found: list[Flip] = []
        for start in range(0, len(rows), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            some = [Cell(c.name, c.part, c.at, c.options[part], c.allowed[part]) for c in cells]
            judge = _judge(subject, rows[part], before[part])
            found += flips(judge, rows[part].x, some, self.cells, self.beam)
            clock.at(len(found) / len(rows))
            if clock.left <= 0:
                break
        answered = [f for f, b in zip(found, before.tolist(), strict=False) if b >= 0]
        yield from self._measures(answered)
        yield _columns(answered, [c.name for c in cells])
        if shown := _examples(subject, rows, before, cells, found):
            yield shown
        yield _drawn(answered, [c.name for c in cells], self.cells)

    def _measures(self, found: list[Flip]) -> Iterator[Measure]:
        how = {name: getattr(self, name) for name in ("step", "moves", "beam", "seed")}
        how |= {"fixed": ", ".join(self.fixed)} if self.fixed else {}
        for most, word in enumerate(WORDS[: self.cells], 1):
            hits, n = sum(0 < len(f.changes) <= most for f in found), len(found)
            ends = wilson(hits, n)
            yield Measure(
                f"robustness/table_attack/{word}/flipped_share", hits / n if n else float("nan"), "1", n, "lower",
                SOURCE, ends, self.split, settings("wilson", ends, cells=most, **how),
            )  # fmt: skip


def cells_of(
    schema: TableSchema, known: Mapping[str, Tensor], x: Mapping[str, Tensor], step: float, moves: int, fixed: Any = ()
) -> list[Cell]:
    """What may be changed in rows x to what was seen in the `known` rows; missing values stay missing."""
    found: list[Cell] = []
    number = category = 0
    for column in schema.columns:
        width = len(column.outputs)
        if column.kind == "categorical":
            if column.name not in fixed:
                found.append(_categories(column, x["categorical"][:, category], category))
            category += 1
            continue
        at = tuple(range(number, number + width))
        number += width
        if column.name not in fixed:
            now, seen = x["numeric"][:, list(at)], known["numeric"][:, list(at)]
            found.append(
                _truths(column, now, at) if column.kind == "boolean" else _near(column, now, seen, at, step, moves)
            )
    return [cell for cell in found if bool(cell.allowed.any())]


def _categories(column: Column, now: Tensor, at: int) -> Cell:
    codes = torch.arange(1, len(column.categories) + 1)  # 0 stands for missing or unseen
    allowed = (codes != now.cpu()[:, None]) & (now.cpu()[:, None] > 0)
    return Cell(column.name, "categorical", (at,), codes[None, :, None].expand(len(now), -1, -1), allowed)


def _truths(column: Column, now: Tensor, at: tuple[int, ...]) -> Cell:
    return Cell(column.name, "numeric", at, 1 - now[:, None, :].nan_to_num(0.0), now.isfinite())


def _near(column: Column, now: Tensor, seen: Tensor, at: tuple[int, ...], step: float, moves: int) -> Cell:
    """Observed values, `step` apart along the quantiles around each row's own. now: (N, width), by the first column."""
    seen = seen[seen.isfinite().all(1)]
    seen = seen[seen[:, 0].argsort()].contiguous()  # a date's parts stay together
    n, away = len(now), [k for k in range(-moves, moves + 1) if k != 0]
    if not len(seen):
        return Cell(
            column.name, "numeric", at, now[:, None, :].expand(-1, len(away), -1), torch.zeros(n, len(away)).bool()
        )
    first, mine = seen[:, 0].contiguous(), now[:, 0].nan_to_num(0.0).contiguous()
    middle = (torch.searchsorted(first, mine) + torch.searchsorted(first, mine, right=True)) / 2  # (N,)
    places = middle[:, None] + torch.tensor(away) * step * len(seen)
    places = places.round().long()
    options = seen[places.clamp(0, len(seen) - 1)]  # (N, 2 moves, width)
    allowed = (options != now[:, None, :]).any(2) & now.isfinite().all(1)[:, None]
    allowed &= (places >= 0) & (places < len(seen))
    for j in range(1, len(away)):  # the same value twice is one option
        allowed[:, j] &= ~(options[:, j : j + 1] == options[:, :j]).all(2).any(1)
    return Cell(column.name, "numeric", at, options, allowed)


def _judge(subject: Subject, rows: Batch, before: Tensor) -> Judge:
    """How much likelier the decision is than any other class, and whether it flipped."""

    def judge(x: dict[str, Tensor], of: Tensor) -> tuple[Tensor, Tensor]:
        far, flipped = [], []
        for start in range(0, len(of), TRIED):
            part = slice(start, start + TRIED)
            some = {name: t[part] for name, t in x.items()}
            same, was = rows[of[part]], before[of[part]]
            p = subject.ask(some).double()
            own = p.gather(1, was.clamp_min(0)[:, None]).squeeze(1)
            far.append(own - p.scatter(1, was.clamp_min(0)[:, None], -torch.inf).amax(1))
            now = p.argmax(1) if subject.decide is None else decided(subject, same, some)
            flipped.append((now != was) & (was >= 0) & p.isfinite().all(1))
        return torch.cat(far), torch.cat(flipped)

    return judge


def _columns(found: list[Flip], names: Sequence[str]) -> Table:
    """The columns that were changed most often."""
    used = Counter(names[c] for f in found for c, _ in f.changes)
    alone = _alone(found, names)
    order = sorted(names, key=lambda name: (-alone[name], -used[name], name))
    rows = tuple((name, round(alone[name], 4), used[name]) for name in order[:20])
    caption = "Share of rows that a change of this column alone flips, and how many of the flips found change it."
    return Table("table_columns", caption, ("column", "flips alone", "in flips"), rows)


def _alone(found: list[Flip], names: Sequence[str]) -> dict[str, float]:
    return {name: sum(f.alone[c] for f in found) / max(1, len(found)) for c, name in enumerate(names)}


def _examples(subject: Subject, rows: Batch, before: Tensor, cells: Sequence[Cell], found: list[Flip]) -> Table | None:
    """A few rows and what flips them, in words."""
    hit = sorted((i for i, f in enumerate(found) if f.changes), key=lambda i: (len(found[i].changes), i))[:EXAMPLES]
    if not hit:
        return None
    at = torch.tensor(hit)
    after = decided(subject, rows[at], changed(rows.x, cells, at, [found[i].changes for i in hit]))
    lines = []
    for i, now in zip(hit, after.tolist(), strict=True):
        words = "; ".join(_said(subject.schema, rows.x, cells[c], i, j) for c, j in found[i].changes)
        lines.append((words, subject.classes[int(before[i])], subject.classes[now] if now >= 0 else "no answer"))
    return Table("table_flips", "Some of the flips.", ("changed", "decision before", "after"), tuple(lines))


def _said(schema: TableSchema, x: Mapping[str, Tensor], cell: Cell, row: int, option: int) -> str:
    """`age 39 -> 47`."""
    value = cell.options[row, option]
    if cell.part == "categorical":
        column = next(c for c in schema.columns if c.name == cell.name)
        old, new = int(x["categorical"][row, cell.at[0]]), int(value[0])
        return f"{cell.name} {column.categories[old - 1]} → {column.categories[new - 1]}"
    return f"{cell.name} {float(x['numeric'][row, cell.at[0]]):.6g} → {float(value[0]):.6g}"


def _drawn(found: list[Flip], names: Sequence[str], most: int) -> Figure:
    """Shares of rows flipped by so many cells, and by a change of one column alone."""
    drawing, (left, right) = canvas(7, 3.4, columns=2)
    n = max(1, len(found))
    shares = [100 * sum(0 < len(f.changes) <= k for f in found) / n for k in range(1, most + 1)]
    ends = [wilson(round(s * n / 100), n) or (0.0, 0.0) for s in shares]
    whiskers = np.abs(np.array([[100 * low, 100 * high] for low, high in ends]).T - shares)
    left.bar(range(1, most + 1), shares, color=COLOURS[0], width=0.6, yerr=whiskers, ecolor=INK, capsize=3)
    left.set_xticks(range(1, most + 1))
    left.set_ylim(0, min(100, max(1, 1.15 * (max(shares) + whiskers[1].max()))))
    left.set_xlabel("cells changed, at most")
    left.set_ylabel("decisions flipped, %")
    alone = _alone(found, names)
    order = sorted(names, key=lambda name: (alone[name], name))[-10:]
    right.barh(range(len(order)), [100 * alone[name] for name in order], color=COLOURS[1], height=0.65)
    right.set_yticks(
        range(len(order)), [f"{name[:21]}…" if len(name) > 22 else name for name in order], parse_math=False
    )
    right.set_xlabel("flipped by this column alone, %")
    right.set_xlim(left=0)
    return Figure.of("table_attack", "How few cells flip a decision (95 % interval), and which columns do.", drawing)
