"""Small nets that attacks are tried on: one whose distances are known, and ones that are hard to differentiate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sonde.attacks import Norm


def linear(
    classes: int = 4, shape: tuple[int, ...] = (1, 3, 4), n: int = 60, seed: int = 0
) -> tuple[nn.Module, Tensor, Tensor]:
    """A linear net, rows far from the edges of [0, 1], and its own answers as their classes; float64."""
    g = torch.Generator().manual_seed(0)
    size = int(torch.tensor(shape).prod())
    net = nn.Sequential(nn.Flatten(), nn.Linear(size, classes, dtype=torch.float64)).requires_grad_(False)
    net[1].weight.copy_(torch.randn(classes, size, generator=g, dtype=torch.float64))
    net[1].bias.copy_(-0.5 * net[1].weight.sum(1))
    x = 0.5 + 0.08 * torch.randn(n, *shape, generator=g, dtype=torch.float64).clamp(-3, 3)
    return net, x, net(x).argmax(1)


def distances(net: nn.Module, x: Tensor, y: Tensor, norm: Norm) -> Tensor:
    """How far each row is from the nearest boundary of a linear net, (N,): margin over the dual norm."""
    w, z = net[1].weight, net(x)  # type: ignore[index]
    lengths = (w[:, None] - w[None]).abs().sum(2) if norm == "linf" else (w[:, None] - w[None]).norm(dim=2)
    margins = z.gather(1, y[:, None]) - z  # (N, C)
    away = margins / lengths[y]
    return away.scatter(1, y[:, None], torch.inf).amin(1)


def curved(classes: int = 3, shape: tuple[int, ...] = (1, 5, 4), seed: int = 0) -> nn.Module:
    """Two layers of random weights, in evaluation mode, without gradients of its parameters."""
    torch.manual_seed(seed)
    size = int(torch.tensor(shape).prod())
    net = nn.Sequential(nn.Flatten(), nn.Linear(size, 32), nn.Tanh(), nn.Linear(32, classes))
    with torch.no_grad():
        net[1].weight.mul_(4)
    return net.eval().requires_grad_(False)


def length(offset: Tensor, norm: Norm) -> Tensor:
    """Of each row's change, (N,)."""
    flat = offset.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)
