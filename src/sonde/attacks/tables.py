"""Rows of a table changed in few cells, each to a value that it may have, until the decision is another.

A beam search over cells: in every step each kept row is changed in one more cell, in every way allowed, and the ones
that come nearest to another decision are kept; with a beam of 1 it is the greedy search of Ballet et al., Imperceptible
adversarial attacks on tabular data, 2019, without gradients and over allowed values only. A beam that keeps everything
is an exhaustive search.

Entry: adversarial examples.
"""

# N rows, B kept rows each, M ways to change one cell, F numeric and K categorical columns

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Table = dict[str, Tensor]
Judge = Callable[[Table, Tensor], tuple[Tensor, Tensor]]
"""x of n rows and which of the N each was made of, (n,) -> how far each is from another decision, (n,) float, and
whether it has one, (n,) bool."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One column that may be changed, and to what.

    part, at: where it stands in x: several columns of numbers where they change together (the parts of a date).
    options: (N, m, len(at)) values; allowed: (N, m), False for an option that is none (the value that is there).
    """

    name: str
    part: Literal["numeric", "categorical"]
    at: tuple[int, ...]
    options: Tensor
    allowed: Tensor


@dataclass(frozen=True)
class Flip:
    """The fewest changes that were found to flip the decision on a row; () where none were.

    changes: pairs (cell, option). alone: of each cell, whether changing it alone flips the decision.
    """

    changes: tuple[tuple[int, int], ...]
    alone: tuple[bool, ...]


def flips(judge: Judge, x: Table, cells: Sequence[Cell], most: int = 3, beam: int = 3) -> list[Flip]:
    """For each row of x = {"numeric": (N, F), "categorical": (N, K)} the fewest changed cells, up to `most`."""
    n = len(x["numeric"])
    ways = [(c, j) for c, cell in enumerate(cells) for j in range(cell.options.shape[1])]
    found: list[Flip] = [Flip((), (False,) * len(cells))] * n
    if not ways or not n:
        return found
    allowed = torch.cat([cell.allowed for cell in cells], 1)  # (N, M)
    cell_of = torch.tensor([c for c, _ in ways])
    marks = torch.rand(len(ways), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(n)  # those whose decision still stands, (R,)
    made: list[list[tuple[int, ...]]] = [[()] for _ in range(n)]  # the ways taken by every kept row
    for depth in range(1, most + 1):
        paths = torch.tensor([[list(p) for p in made[int(r)]] for r in rows], dtype=torch.int64)  # (R, B, depth - 1)
        free = _free(paths, allowed[rows], cell_of)  # (R, B, M)
        far, flipped = _judged(judge, x, cells, ways, rows, paths)
        far = torch.where(free, far.nan_to_num(torch.inf), torch.inf)
        flipped &= free
        keys = torch.where(free, marks[paths].sum(2)[:, :, None] + marks, torch.inf)  # whatever the order of changes
        for i, row in enumerate(rows.tolist()):
            if depth == 1:
                hit = {int(cell_of[m]) for m in flipped[i, 0].nonzero().flatten()}
                found[row] = Flip((), tuple(c in hit for c in range(len(cells))))
            if bool(flipped[i].any()):
                best = int(torch.where(flipped[i], far[i], torch.inf).flatten().argmin())
                if not bool(flipped[i].flatten()[best]):  # all are infinitely far
                    best = int(flipped[i].flatten().int().argmax())
                path = (*made[row][best // len(ways)], best % len(ways))
                found[row] = Flip(tuple(ways[m] for m in path), found[row].alone)
        standing = ~flipped.flatten(1).any(1)
        kept = [_kept(far[i], keys[i], beam * depth, beam) for i in standing.nonzero().flatten().tolist()]
        rows = rows[standing]
        for row, best_ways in zip(rows.tolist(), kept, strict=True):
            made[row] = [(*made[row][k // len(ways)], k % len(ways)) for k in best_ways]
        rows = torch.tensor([r for r in rows.tolist() if made[r]], dtype=torch.int64)
        if not len(rows):
            break
        width = max(len(made[r]) for r in rows.tolist())
        for r in rows.tolist():  # a table needs as many kept rows everywhere: the last one again
            made[r] += [made[r][-1]] * (width - len(made[r]))
    return found


def changed(x: Table, cells: Sequence[Cell], rows: Tensor, changes: Sequence[Sequence[tuple[int, int]]]) -> Table:
    """Rows of x (R,), each with its own changes: as many for each."""
    numbers, codes = x["numeric"][rows].clone(), x["categorical"][rows].clone()
    for i, (row, pairs) in enumerate(zip(rows.tolist(), changes, strict=True)):
        for c, j in pairs:
            part = numbers if cells[c].part == "numeric" else codes
            part[i, list(cells[c].at)] = cells[c].options[row, j].to(part.dtype)
    return {"numeric": numbers, "categorical": codes}


def _free(paths: Tensor, allowed: Tensor, cell_of: Tensor) -> Tensor:
    """Which ways every kept row may go: allowed ones, of cells not yet changed. (R, B, M)."""
    free = allowed[:, None, :].expand(-1, paths.shape[1], -1).clone()
    for step in range(paths.shape[2]):
        free &= cell_of[paths[:, :, step]][:, :, None] != cell_of
    return free


def _judged(
    judge: Judge, x: Table, cells: Sequence[Cell], ways: Sequence[tuple[int, int]], rows: Tensor, paths: Tensor
) -> tuple[Tensor, Tensor]:
    """Every kept row in every way: how far from another decision, and whether it has one, (R, B, M) each."""
    r, b, steps = paths.shape
    m = len(ways)
    numbers, codes = (x[part][rows][:, None].repeat(1, b, 1) for part in ("numeric", "categorical"))  # (R, B, F or K)
    every = torch.arange(len(rows))[:, None].expand(r, b)
    for step in range(steps):
        for w in paths[:, :, step].unique().tolist():
            _put(numbers, codes, cells, ways[w], rows, paths[:, :, step] == w, every)
    numbers = numbers[:, :, None].repeat(1, 1, m, 1)  # (R, B, M, F)
    codes = codes[:, :, None].repeat(1, 1, m, 1)
    for w, (c, j) in enumerate(ways):
        value = cells[c].options[rows, j][:, None]  # (R, 1, width)
        part = numbers if cells[c].part == "numeric" else codes
        part[:, :, w, list(cells[c].at)] = value.to(part.dtype).expand(-1, b, -1)
    of = rows[:, None, None].expand(r, b, m).flatten()
    far, flipped = judge({"numeric": numbers.flatten(0, 2), "categorical": codes.flatten(0, 2)}, of)
    return far.view(r, b, m), flipped.view(r, b, m).clone()


def _put(
    numbers: Tensor,
    codes: Tensor,
    cells: Sequence[Cell],
    way: tuple[int, int],
    rows: Tensor,
    where: Tensor,
    every: Tensor,
) -> None:
    """Go one way in the kept rows `where` (R, B)."""
    c, j = way
    part = numbers if cells[c].part == "numeric" else codes
    values = cells[c].options[rows, j].to(part.dtype)[every[where]]  # (hits, width)
    for k, column in enumerate(cells[c].at):
        part[..., column][where] = values[:, k]


def _kept(far: Tensor, keys: Tensor, look: int, beam: int) -> list[int]:
    """The nearest few, (B, M) -> indices; the same changes in another order count once."""
    flat, key = far.flatten(), keys.flatten()
    order = flat.sort(stable=True).indices
    kept: list[int] = []
    seen: set[float] = set()
    for k in order[: min(look + beam, len(order))].tolist() if look < len(order) else order.tolist():
        mark = round(float(key[k]), 12)
        if key[k] == torch.inf or mark in seen:
            continue
        seen.add(mark)
        kept.append(k)
        if len(kept) == beam:
            break
    return kept
