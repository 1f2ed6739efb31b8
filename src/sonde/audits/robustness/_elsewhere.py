"""Rows that come from elsewhere: made of the rows of a subject so that they are none of its kind any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Generator, Tensor

from sonde.core import SondeError, Subject, Texts, map_tree
from sonde.data import load

# N rows, F numbers, K categorical columns

Rows = dict[str, Any]  # by name, x of as many rows as there were
FAR = 5.0  # standard deviations


def elsewhere(subject: Subject, x: Any, other: str, generator: Generator) -> Rows:
    """Foreign rows by the name of their kind, as many of each as x has.

    other: a data set of pictures whose test rows come along, fitted to the size of these; "" for none.
    """
    if subject.kind == "image" and isinstance(x, Tensor) and x.dim() == 4 and subject.bounds is not None:
        found = pictures(x, subject.bounds, generator)
        if other:
            found[other] = fitted(_pictures_of(other, len(x)), x, subject.bounds)
        return found
    if other:
        raise SondeError(f"the rows of {subject.name} are no pictures like those of {other}", 'leave out other=""')
    return sentences(x, generator) if isinstance(x, Texts) else tables(x, generator)


def pictures(x: Tensor, bounds: tuple[float, float], generator: Generator) -> Rows:
    """x (N, C, H, W): of noise alone, with its pixels or its quarters in another order, and as a negative."""
    low, high = bounds
    n, _, h, w = x.shape
    order = torch.rand(n, 1, h * w, generator=generator).argsort(2).to(x.device)
    shuffled = x.flatten(2).gather(2, order.expand(-1, x.shape[1], -1)).view(x.shape)
    noise = low + (high - low) * torch.rand(x.shape, generator=generator)
    return {
        "noise": noise.to(x),
        "shuffled pixels": shuffled,
        "shuffled quarters": x.roll((h // 2, w // 2), (2, 3)),
        "negative": low + high - x,
    }


def tables(x: Any, generator: Generator) -> Rows:
    """Cells from other rows, cells drawn evenly from the columns' values, numbers far outside."""

    def shuffled(t: Tensor) -> Tensor:  # each column in an order of its own
        return t.gather(0, torch.rand(t.shape, generator=generator).argsort(0).to(t.device))

    def even(t: Tensor) -> Tensor:
        if not t.is_floating_point():
            flat = t.flatten(1)
            drawn = [c.unique()[torch.randint(len(c.unique()), (len(t),), generator=generator)] for c in flat.T]
            return torch.stack(drawn, 1).view(t.shape) if drawn else t
        low, high = _range(t)
        return torch.where(t.isfinite(), low + (high - low) * torch.rand(t.shape, generator=generator).to(t), t)

    def far(t: Tensor) -> Tensor:
        if not t.is_floating_point():
            return t
        side = 2.0 * torch.randint(2, t.shape, generator=generator).to(t) - 1
        return t + side * FAR * _spread(t)

    found: dict[str, Callable[[Tensor], Tensor]] = {"shuffled columns": shuffled, "even cells": even}
    numbers = x["numeric"] if isinstance(x, Mapping) and "numeric" in x else x
    if isinstance(numbers, Tensor) and numbers.is_floating_point() and numbers.numel():
        found["far numbers"] = far
    return {name: map_tree(make, x) for name, make in found.items()}


def sentences(x: Texts, generator: Generator) -> Rows:
    """Words of all texts in any order, as many in each as there were; the same with letters that make no words."""
    pieces = [text.split() for text in x]
    words = [word for text in pieces for word in text] or [""]
    letters = [letter for word in words for letter in word] or [""]

    def drawn(pool: list[str], n: int) -> list[str]:
        return [pool[i] for i in torch.randint(len(pool), (n,), generator=generator).tolist()]

    salad = [drawn(words, len(text)) for text in pieces]
    return {
        "word salad": Texts(" ".join(text) for text in salad),
        "no words": Texts(" ".join("".join(drawn(letters, len(word))) for word in text) for text in salad),
    }


def fitted(pictures: Tensor, like: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Pictures (N, C, H, W) in [0, 1] with the channels, the size and the range of others."""
    if pictures.shape[1] != like.shape[1]:
        pictures = pictures.mean(1, keepdim=True).expand(-1, like.shape[1], -1, -1)
    if pictures.shape[2:] != like.shape[2:]:
        pictures = F.interpolate(pictures, like.shape[2:], mode="bilinear", antialias=True, align_corners=False)
    return bounds[0] + (bounds[1] - bounds[0]) * pictures.clamp(0, 1).to(like)


def _pictures_of(name: str, n: int) -> Tensor:
    data = load(name)
    x = data.batch(data.splits["test"][:n]).x
    if not isinstance(x, Tensor) or x.dim() != 4:
        raise SondeError(f"{name} holds no pictures", "name a data set of pictures, or none: other=''")
    if len(x) < n:
        raise SondeError(f"{name} has {len(x)} test rows, fewer than the {n} asked for", f"choose rows={len(x)}")
    return x


def _range(t: Tensor) -> tuple[Tensor, Tensor]:
    there = t.isfinite()
    low = torch.where(there, t, torch.inf).amin(0)
    high = torch.where(there, t, -torch.inf).amax(0)
    known = there.any(0)
    return torch.where(known, low, 0.0), torch.where(known, high, 0.0)


def _spread(t: Tensor) -> Tensor:
    there = t.isfinite()
    count = there.sum(0).clamp_min(1)
    centre = torch.where(there, t, 0.0).sum(0) / count
    return (torch.where(there, t - centre, 0.0).square().sum(0) / count).sqrt()  # type: ignore[no-any-return]
