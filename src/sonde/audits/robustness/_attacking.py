"""What audits by attack share: which models they can ask, on which rows, and how a share of them is told."""

# N rows, C classes

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from sonde.attacks.losses import rightly
from sonde.core import Batch, Measure, SondeError, Subject

from ..quality.intervals import settings, wilson
from ._asking import decided, no_classes, no_pictures

DISAGREES = 0.01  # share of rows: more of them, and what is attacked is not what answers


def not_attacked(subject: Subject) -> str:
    """Why the rows of this subject cannot be attacked by their gradient; "" where they can."""
    if reason := no_classes(subject) or no_pictures(subject):
        return reason
    if subject.logits is None:
        return "the model gives no logits, which attacks climb"
    if len(subject.classes) < 2:
        return "with one class no answer can be wrong"
    return ""


def logits_of(subject: Subject) -> Callable[[Tensor], Tensor]:
    """The function that is attacked; `not_attacked` has been asked before."""
    if subject.logits is None:
        raise SondeError(f"{subject.name} gives no logits", "audit what asks for its answers alone")
    return subject.logits


def range_of(subject: Subject) -> tuple[tuple[float, float], float]:
    """The bounds of the inputs, and the distance between them."""
    low, high = subject.bounds or (0.0, 1.0)
    return (low, high), high - low


def classes_of(rows: Batch) -> Tensor:
    """The true classes (N,) where the rows are."""
    return rows.y.to(rows.x.device).long()


def right_by_logits(subject: Subject, x: Tensor, y: Tensor) -> Tensor:
    """Which rows the logits answer rightly, (N,)."""
    return rightly(subject.ask(x, subject.logits), y.cpu())


def check_agreement(subject: Subject, rows: Batch) -> None:
    """Raise SondeError where the logits decide otherwise than the model: their attacks would say nothing of it."""
    by_logits = right_by_logits(subject, rows.x, classes_of(rows))
    by_answers = decided(subject, rows, rows.x) == rows.y.cpu()
    apart = int((by_logits != by_answers).sum())
    if apart > max(1, DISAGREES * len(rows)):
        raise SondeError(
            f"on {apart} of {len(rows)} rows the likeliest class by the logits is not what the model decides",
            "audit the model before its thresholds, or give the logits that it decides by",
        )


def share(
    name: str,
    count: int,
    n: int,
    better: Literal["lower", "higher", "neither"],
    source: str,
    split: str,
    how: Mapping[str, Any],
) -> Measure:
    """A share of n rows, with Wilson's interval."""
    interval = wilson(count, n)
    return Measure(name, count / n, "1", n, better, source, interval, split, settings("wilson", interval, **how))


def picture(x: Tensor) -> Any:
    """An image (C, H, W) as matplotlib shows it: (H, W, 3) in colour, else (H, W), the mean of its channels."""
    x = x.detach().cpu().float()
    return (x.movedim(0, 2) if len(x) == 3 else x.mean(0)).numpy()


def magnified(change: Tensor) -> Tensor:
    """A change as an image in [0, 1]: grey where nothing changes, its largest number at an end."""
    most = float(change.abs().max())
    return 0.5 + change / (2 * most) if most > 0 else torch.full_like(change, 0.5)
