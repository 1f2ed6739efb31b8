"""Which rows train, which choose, which judge: stratified, seeded, and the same for the same rows and seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sonde.core.errors import SondeError

TRAIN, VAL, TEST = 0, 1, 2
SYNONYMS = {
    "train": TRAIN, "training": TRAIN, "tr": TRAIN,
    "val": VAL, "valid": VAL, "validation": VAL, "dev": VAL,
    "test": TEST, "testing": TEST, "eval": TEST, "evaluation": TEST, "holdout": TEST,
}  # fmt: skip


def strata(y: Tensor, task: str) -> Tensor:
    """A stratum (N,) int64 for each row: its class; its rarest label; its tenth of the first target."""
    if task == "classification":
        return y
    if task == "multilabel":
        counts = y.sum(0)
        rarity = torch.where(y > 0, counts, torch.inf)  # (N, L)
        least, label = rarity.min(1)
        return torch.where(least.isinf(), y.shape[1], label)
    order = torch.argsort(y[:, 0], stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    return place * min(10, max(1, len(y) // 10)) // max(1, len(y))


def hold_out(rows: Tensor, stratum: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split `rows` (n,) into (kept, held out): a seeded draw of `fraction` of them, each stratum in its share.

    Shares are rounded by largest remainder, so the held-out count is round(fraction n) whenever the strata allow it;
    a stratum always keeps one row. Both results are sorted.
    """
    n = len(rows)
    wanted = round(fraction * n)
    if wanted == 0:
        return rows.sort().values, rows[:0]
    generator = torch.Generator().manual_seed(seed)
    shuffled = rows[torch.randperm(n, generator=generator)]
    _, code = torch.unique(stratum[shuffled], return_inverse=True)
    order = torch.argsort(code, stable=True)  # grouped by stratum, shuffled within
    counts = torch.bincount(code)
    share = counts.to(torch.float64) * wanted / n
    take = torch.minimum(share.floor().long(), counts - 1)
    room = counts - 1 - take
    remainder = torch.where(room > 0, share - take, -1.0)
    most = torch.argsort(remainder, descending=True, stable=True)
    for i in most[: max(0, wanted - int(take.sum()))].tolist():
        take[i] += int(room[i] > 0)
    start = torch.cumsum(counts, 0) - counts
    rank = torch.arange(n) - start[code[order]]  # place within the stratum
    held = rank < take[code[order]]
    grouped = shuffled[order]
    return grouped[~held].sort().values, grouped[held].sort().values


def make(y: Tensor, task: str, test: float, val: float, seed: int, given: Tensor | None = None) -> dict[str, Tensor]:
    """Row indices of "train", "val" and "test".

    given: (N,) of 0 train, 1 val, 2 test where the data come already split; a part that is given is honoured as it
        is, a part that is not is drawn from the training rows.
    test: fraction of all rows; val: fraction of what is left after the test rows.
    """
    for name, value in {"test": test, "val": val}.items():
        if not 0 <= value < 1:
            raise SondeError(f"{name}={value} is no fraction of the rows", f"choose {name} between 0 and 1, e.g. 0.2")
    everything = torch.arange(len(y))
    stratum = strata(y, task)
    if given is None:
        given = torch.zeros(len(y), dtype=torch.int64)
    pool = everything[given == TRAIN]
    parts = {"val": everything[given == VAL], "test": everything[given == TEST]}
    if len(parts["test"]) == 0:
        pool, parts["test"] = hold_out(pool, stratum, test, seed)
    if len(parts["val"]) == 0:
        pool, parts["val"] = hold_out(pool, stratum, val, seed + 1)
    if len(pool) == 0:
        raise SondeError("no rows are left to train on", "lower test= and val=, or bring more rows")
    return {"train": pool, "val": parts["val"], "test": parts["test"]}


def twins(x: Tensor | dict[str, Tensor], splits: dict[str, Tensor], other: str) -> list[tuple[int, int]]:
    """Rows of the split `other` whose x equals, bit for bit, that of a training row: (row, training row) pairs.

    Rows are hashed with a random linear form over 64-bit words, and every match is then compared exactly.
    """
    train, rows = splits["train"].numpy(), splits[other].numpy()
    if not len(train) or not len(rows):
        return []
    words = _words(x)  # (N, words) uint64
    form = np.random.default_rng(0).integers(1, 2**63, words.shape[1], dtype=np.uint64) * 2 + 1
    key = np.zeros(len(words), dtype=np.uint64)
    step = max(1, (1 << 22) // max(1, words.shape[1]))  # at most 32 MiB of products at a time
    for start in range(0, len(words), step):
        key[start : start + step] = (words[start : start + step] * form).sum(1, dtype=np.uint64)
    order = np.argsort(key[train], kind="stable")
    known = key[train][order]
    place = np.minimum(np.searchsorted(known, key[rows]), len(known) - 1)
    hits = np.flatnonzero(known[place] == key[rows])
    pairs = [(int(rows[i]), int(train[order[place[i]]])) for i in hits]
    return [(a, b) for a, b in pairs if (words[a] == words[b]).all()]


def _words(x: Tensor | dict[str, Tensor]) -> np.ndarray:
    """The bytes of each row, as (N, words) uint64, padded with zeros; every NaN has the same bits."""
    columns = []
    for value in x.values() if isinstance(x, dict) else [x]:
        flat = value.detach().cpu().flatten(1).contiguous()
        if flat.is_floating_point():
            flat = torch.where(flat.isnan(), torch.full_like(flat, float("nan")), flat)
        array = flat.numpy()
        raw = array.view(np.uint8).reshape(len(array), -1) if array.size else np.zeros((len(array), 0), np.uint8)
        padding = -raw.shape[1] % 8
        columns.append(np.pad(raw, ((0, 0), (0, padding))) if padding else raw)
    joined = columns[0] if len(columns) == 1 else np.concatenate(columns, 1)
    return np.ascontiguousarray(joined).view(np.uint64)


def duplicate_notes(
    x: Tensor | dict[str, Tensor], y: Tensor, splits: dict[str, Tensor], names: Sequence[str]
) -> tuple[str, ...]:
    """One note for each of "val" and "test" that holds copies of training rows: how many, how many relabelled."""
    notes = []
    for other in ("val", "test"):
        found = twins(x, splits, other)
        if not found:
            continue
        mine, theirs = (torch.tensor(side) for side in zip(*found, strict=True))
        differ = int((y[mine] != y[theirs]).reshape(len(found), -1).any(1).sum())
        example = f"{names[found[0][0]]} and {names[found[0][1]]}"
        notes.append(
            f"duplicates: {len(found)} of {len(splits[other])} {other} rows are equal to a training row"
            f" ({differ} with another label), e.g. {example}"
        )
    return tuple(notes)
