"""What audits of changed inputs share: which rows, what the model decides on them, and how many there is time for."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sonde.core import Batch, Clock, Subject

# N rows, C classes

LEAST = 20  # rows: fewer say so little that time is better overspent
SHARE = 0.8  # of the time that is left: what a plan may use


def drawn(subject: Subject, split: str, most: int, seed: int) -> Batch:
    """At most so many rows of a split, drawn by `seed`; all of them in their order where they are few."""
    rows = subject.rows(split)
    if len(rows) <= most:
        return rows
    generator = torch.Generator().manual_seed(seed)
    return rows[torch.randperm(len(rows), generator=generator)[:most].sort().values]


def decided(subject: Subject, rows: Batch, x: Any) -> Tensor:
    """The class that the model decides for where the rows read x instead, (N,) int64; -1 where it answers no number."""
    answers = subject.ask(x)
    wanted = answers.argmax(1) if subject.decide is None else subject.decide(replace(rows, x=x)).cpu()
    return torch.where(answers.isfinite().all(1), wanted, -1)


def affordable(subject: Subject, rows: Batch, passes: float, clock: Clock) -> Batch:
    """As many of the first rows as there is time to ask about `passes` times; at least `LEAST` or all."""
    if clock.left == float("inf"):
        return rows
    few = rows[: min(len(rows), 64)]
    subject.ask(few.x)  # the first call may be slow
    started = time.monotonic()
    subject.ask(few.x)
    each = max(1e-9, time.monotonic() - started) / len(few)
    most = int(SHARE * max(0.0, clock.left) / (passes * each))
    return rows if most >= len(rows) else rows[: max(LEAST, most)]


def no_classes(subject: Subject) -> str:
    """Why this subject has no decision that could be right or wrong; "" where it has."""
    if subject.task != "classification":
        return f"it asks whether a decision stays right, and {subject.name} is a model of {subject.task}"
    return ""


def no_pictures(subject: Subject) -> str:
    """Why the rows of this subject are no pictures whose colours have a range; "" where they are."""
    if subject.kind != "image":
        return "its inputs are not images"
    if subject.bounds is None:
        return "the range of its inputs is not known: bounds=(low, high)"
    x = subject.splits["test"].x if "test" in subject.splits else None
    if not isinstance(x, Tensor) or x.dim() != 4:
        return "its images are not one tensor (N, C, H, W)"
    low, high = subject.bounds
    if bool(((x < low) | (x > high) | x.isnan()).any()):
        return f"some of its inputs lie outside [{low:g}, {high:g}]"
    return ""
