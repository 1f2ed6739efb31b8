"""Differential equations as losses: by how much a function that a net computes fails to solve them.

Raissi, Perdikaris and Karniadakis, Physics-informed neural networks, 2019, sec. 2 and 3; earlier Lagaris, Likas and
Fotiadis, 1998. An equation is any function (u, x) -> residual that is 0 where it holds: u (N, U) is what the net
answers at the places x (N, D), and `derivative` differentiates it. `sonde.objectives.Physics` trains with one.

Entry: physical constraints.
"""

# N places, D coordinates, U unknowns

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Equation = Callable[[Tensor, Tensor], Tensor]
"""(u, x) -> the residual, (N,) or (N, R) for a system of R equations."""


def derivative(u: Tensor, x: Tensor) -> Tensor:
    """The slope of u (N,) along each coordinate of x (N, D), by automatic differentiation: (N, D).

    Row i of u must depend on row i of x alone. The result can be differentiated again, and with respect to parameters.

    >>> x = torch.tensor([[1.0], [2.0]], requires_grad=True)
    >>> derivative(x[:, 0] ** 3, x)[:, 0].tolist()
    [3.0, 12.0]
    """
    if not u.requires_grad:  # a slope of 0: what a second derivative of something linear comes to
        return torch.zeros_like(x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True, allow_unused=True, materialize_grads=True)
    return slope


@dataclass(frozen=True, slots=True)
class Heat:
    """The heat equation in one dimension, u_t = diffusivity u_xx, at places x = (position, time).

    diffusivity: length squared over time. On [0, 1] with ends held at 0, sin(pi x) exp(-diffusivity pi^2 t) solves it.
    """

    diffusivity: float = 1.0

    def __call__(self, u: Tensor, x: Tensor) -> Tensor:
        """(N, 1) and (N, 2) to the residual (N,)."""
        slope = derivative(u[:, 0], x)  # (N, 2)
        return slope[:, 1] - self.diffusivity * derivative(slope[:, 0], x)[:, 0]


@dataclass(frozen=True, slots=True)
class Oscillator:
    """The damped harmonic oscillator, u'' + 2 damping u' + frequency^2 u = 0, at times x.

    frequency: radians per unit of time. damping: one over time; 0 swings for ever, and cos(frequency t) solves it.
    """

    frequency: float = 1.0
    damping: float = 0.0

    def __call__(self, u: Tensor, x: Tensor) -> Tensor:
        """(N, 1) and (N, 1) to the residual (N,)."""
        speed = derivative(u[:, 0], x)  # (N, 1)
        return derivative(speed[:, 0], x)[:, 0] + 2 * self.damping * speed[:, 0] + self.frequency**2 * u[:, 0]
