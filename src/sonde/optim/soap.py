"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner.

Vyas, Morwani, Zhao, Kwun, Shapira, Brandfonbrener, Janson and Kakade, SOAP: improving and stabilizing Shampoo using
Adam, 2024, Algorithms 3 and 4. Differences from the paper:

- The first gradient begins the statistics and moves nothing, and decay comes after the step: as in the authors' code.
- Adam's mean is kept in the eigenbasis and turned only when that is, in place of every step: the same numbers with a
  third fewer products.
- Of the statistics, which are symmetric, tiles on and below the diagonal are kept up to date, the others when needed.
"""

# R rows, C columns of a matrix, D any side of a kernel

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .rule import Rule

TILE = 128  # rows of a tile of statistics: enough for a product of tiles to run at nearly full speed


class SOAP(Rule):
    """Adam whose axes are the eigenvectors of the gradient's second moments along each side of a matrix.

        G' = QL^T G QR,   N = m' / (sqrt(v) + eps) of G',   W <- W - lr QL N QR^T,
        L <- beta L + (1 - beta) G G^T,   R <- beta R + (1 - beta) G^T G

    betas: of Adam's mean and square. shampoo_beta: of L and R; betas[1] where it is negative.
    every: steps between two turns of the eigenbasis, by a step of power iteration and a QR decomposition.
    largest: sides longer than this keep their axes (an embedding's vocabulary).
    vectors: whether vectors have an eigenbasis, too. Kernels have one a side.
    """

    whole = True

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        every: int = 10,
        shampoo_beta: float = -1.0,
        largest: int = 10_000,
        vectors: bool = False,
    ) -> None:
        if every < 1 or largest < 1:
            raise ValueError(f"every and largest are 1 or more; got {every} and {largest}")
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "every": every}
        super().__init__(params, {**defaults, "shampoo_beta": shampoo_beta, "largest": largest, "vectors": vectors})

    def move(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """See `Rule.move`."""
        lr, (beta1, beta2), eps, decay = group["lr"], group["betas"], group["eps"], group["weight_decay"]
        beta = beta2 if group["shampoo_beta"] < 0 else group["shampoo_beta"]
        for p, grad in zip(params, grads, strict=True):
            state = self.state[p]
            g = grad.to(_precision(p)).contiguous()
            if not state:
                self._begin(group, state, g, beta)
                continue
            state["step"] += 1
            t, m, v, bases = state["step"], state["exp_avg"], state["exp_avg_sq"], state["bases"]
            turned = _turned(g, bases)
            m.lerp_(turned, 1 - beta1)
            v.mul_(beta2).addcmul_(turned, turned, value=1 - beta2)
            n = _turned(torch.sqrt(v, out=turned).add_(eps).reciprocal_().mul_(m), bases, back=True)
            p.add_(n, alpha=-lr * math.sqrt(1 - beta2**t) / (1 - beta1**t))
            if decay:
                p.mul_(1 - lr * decay)
            for side, statistic in enumerate(state["statistics"]):
                if statistic is not None:
                    _accumulate(statistic, g, side, beta)
            if t % group["every"] == 0:
                self._turn(state)

    def _begin(self, group: dict[str, Any], state: dict[str, Any], g: Tensor, beta: float) -> None:
        """Statistics and axes from a parameter's first gradient."""
        kept = [d <= group["largest"] and (g.dim() > 1 or group["vectors"]) for d in g.shape]
        state["statistics"] = [g.new_zeros(d, d) if keep else None for d, keep in zip(g.shape, kept, strict=True)]
        for side, statistic in enumerate(state["statistics"]):
            if statistic is not None:
                _accumulate(statistic, g, side, beta)
        state["bases"] = [None if s is None else _eigenvectors(_whole(s)) for s in state["statistics"]]
        state["step"], state["exp_avg"], state["exp_avg_sq"] = 0, torch.zeros_like(g), torch.zeros_like(g)

    def _turn(self, state: dict[str, Any]) -> None:
        """Algorithm 4: a step of power iteration, in the order of the estimated eigenvalues; the mean follows."""
        mean = _turned(state["exp_avg"], state["bases"], back=True)
        v = state["exp_avg_sq"]
        for side, (statistic, basis) in enumerate(zip(state["statistics"], state["bases"], strict=True)):
            if statistic is None:
                continue
            product = _whole(statistic) @ basis
            order = (basis * product).sum(0).argsort(descending=True)
            v = v.index_select(side, order)
            # Q of the QR decomposition; its R, which torch.linalg.qr copies out, nobody needs.
            reflectors, factors = torch.geqrf(product.index_select(1, order))
            state["bases"][side] = torch.linalg.householder_product(reflectors, factors).contiguous()
        state["exp_avg_sq"], state["exp_avg"] = v, _turned(mean, state["bases"])


def _precision(p: Tensor) -> torch.dtype:
    """Decompositions need float32 at least."""
    return torch.float32 if p.dtype in (torch.bfloat16, torch.float16) else p.dtype


def _turned(g: Tensor, bases: list[Tensor | None], back: bool = False) -> Tensor:
    """G in other axes, Q^T along every side that has them; back: Q."""
    if g.dim() == 2:
        left, right = bases
        if left is not None:
            g = (left if back else left.mT) @ g
        return g if right is None else g @ (right.mT if back else right)
    for side, basis in enumerate(bases):
        if basis is not None:
            g = torch.tensordot(g, basis, dims=([side], [1 if back else 0])).movedim(-1, side)
    return g.contiguous()


def _accumulate(statistic: Tensor, g: Tensor, side: int, beta: float) -> None:
    """statistic <- beta statistic + (1 - beta) G G^T along a side, in the tiles on and below the diagonal."""
    rows = g.movedim(side, 0).reshape(g.shape[side], -1) if g.dim() != 2 else g if side == 0 else g.mT  # (D, the rest)
    d = len(rows)
    for start in range(0, d, TILE):
        end = min(d, start + TILE)
        statistic[start:, start:end].addmm_(rows[start:], rows[start:end].mT, beta=beta, alpha=1 - beta)


def _whole(statistic: Tensor) -> Tensor:
    """The statistic with the tiles above the diagonal filled in."""
    for start in range(TILE, len(statistic), TILE):
        statistic[:start, start : start + TILE] = statistic[start : start + TILE, :start].mT
    return statistic


def _eigenvectors(statistic: Tensor) -> Tensor:
    """Eigenvectors in the order of falling eigenvalues."""
    try:
        vectors = torch.linalg.eigh(statistic)[1]
        failed = not bool(torch.isfinite(vectors).all())
    except torch.linalg.LinAlgError:
        failed = True
    if failed:  # of low rank, as a first gradient's, float32 may not converge, or answer NaN, where float64 does well
        vectors = torch.linalg.eigh(statistic.double())[1].to(statistic.dtype)
    return vectors.flip(1).contiguous()
