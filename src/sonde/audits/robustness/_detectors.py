"""How sure a model is that a row is of the kind it knows: scores, higher for its own rows.

Maximum softmax probability: Hendrycks and Gimpel, A baseline for detecting misclassified and out-of-distribution
examples in neural networks, 2017, sec. 3. Energy: Liu, Wang, Owens and Li, Energy-based out-of-distribution detection,
2020, eq. 4. Mahalanobis distance: Lee, Lee, Lee and Shin, A simple unified framework for detecting out-of-distribution
samples and adversarial attacks, 2018, eqs. 1 and 2, of the last layer's inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import Batch, Subject

# N rows, C classes, D features

WIDEST = 4096  # features: a covariance matrix of more is too large to invert here
RIDGE = 1e-6  # of the mean variance, so that the covariance of features that stand still can be inverted


def probability(subject: Subject, x: Any) -> Tensor:
    """log max_c p_c, (N,) float64: from the logits where there are some, whose softmax may be rounded to one."""
    if subject.logits is None:
        return subject.ask(x).double().amax(1).clamp_min(1e-300).log()
    return subject.ask(x, subject.logits).double().log_softmax(1).amax(1)


def energy(subject: Subject, x: Any) -> Tensor:
    """log sum_c exp z_c, minus the energy, (N,) float64."""
    assert subject.logits is not None  # noqa: S101 - the caller asks only then
    return subject.ask(x, subject.logits).double().logsumexp(1)


@dataclass(frozen=True)
class Gaussians:
    """One Gaussian for each class over the features, all with one covariance. means: (C, D); whiten: (D, D)."""

    head: nn.Module
    means: Tensor
    whiten: Tensor

    def score(self, subject: Subject, x: Any) -> Tensor:
        """Minus the distance to the nearest class's mean, (N,) float64."""
        z = features(subject, self.head, x) @ self.whiten.T  # (N, D)
        return -torch.cdist(z, self.means @ self.whiten.T).amin(1)


def gaussians(subject: Subject, known: Batch) -> Gaussians | str:
    """Fitted to rows of every class that has some; or why there are none, in words."""
    head = last_layer(subject, known)
    if head is None:
        return "no linear layer gives its logits, row by row"
    f, y = features(subject, head, known.x), known.y.cpu()
    if not bool(f.isfinite().all()):
        return "features of its training rows are not numbers"
    present = y.unique()
    means = torch.stack([f[y == c].mean(0) for c in present])  # (C, D)
    apart = f - means[torch.searchsorted(present, y)]
    covariance = apart.T @ apart / len(f)
    variance = float(covariance.diagonal().mean())
    if variance == 0:
        return "the features of its training rows do not differ within a class"
    values, vectors = torch.linalg.eigh(covariance + RIDGE * variance * torch.eye(f.shape[1], dtype=f.dtype))
    return Gaussians(head, means, vectors.T / values.clamp_min(RIDGE * variance).sqrt()[:, None])


def last_layer(subject: Subject, rows: Batch) -> nn.Module | None:
    """The linear layer called last, if it reads (N, D) and gives as many numbers as there are classes."""
    seen: list[tuple[nn.Module, tuple[int, ...]]] = []
    linear = [m for m in subject.model.modules() if isinstance(m, nn.Linear)]

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        seen.append((module, tuple(given[0].shape)))

    with hooked(linear, note):
        subject.ask(rows[:2].x, subject.logits)
    if not seen:
        return None
    module, shape = seen[-1]
    fits = module.out_features == len(subject.classes) and len(shape) == 2 and shape[1] <= WIDEST
    return module if fits and shape[0] == len(rows[:2]) and sum(m is module for m, _ in seen) == 1 else None


def features(subject: Subject, head: nn.Module, x: Any) -> Tensor:
    """What the layer reads for rows x, (N, D) float64."""
    kept: list[Tensor] = []
    with hooked([head], lambda module, given: kept.append(given[0].detach().cpu().double())):
        subject.ask(x, subject.logits)
    return torch.cat(kept)


@contextmanager
def hooked(modules: list[nn.Module] | list[nn.Linear], look: Any) -> Iterator[None]:
    """`look(module, inputs)` before each of these modules, for as long as the block lasts."""

    def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
        look(module, given)

    handles = [m.register_forward_pre_hook(hook) for m in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
