"""Muon: momentum whose matrices are made orthogonal, so that every direction of a layer moves alike.

Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein, Muon: an optimizer for hidden layers in neural networks, 2024.
Differences from the authors' code:

- Of a matrix well longer than wide, the Newton-Schulz iteration runs on the Gram matrix X X^T and its result is applied
  to X, restarted after two of the five steps: the same polynomial of X with fewer products of the long side, in memory
  that stays in a cache.
- In float16 in place of bfloat16 (float32 where a processor has no float16, float64 for float64 parameters). Squaring
  costs the Gram matrix half of the digits, and float16 has three bits more than bfloat16: the result is closer to the
  exact polynomial than theirs.

Which parameters it is for is said in `groups`.
"""

# B matrices of one shape (R, C), M the shorter side

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.adamw import adamw as adamw_

from .rule import Rule

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # a, b, c: the steepest slope at 0 that keeps [0, 1] within about [0.7, 1.2]
RESTART = 2  # steps until the Gram matrix is computed anew, before its lost digits have grown by 3.4^2 a step too far

CACHED = 1 << 18  # numbers of the Gram matrices taken at a time: with what is made of them 2.5 MB in float16

Scale = Literal["original", "match_rms_adamw"]


class Muon(Rule):
    """Orthogonalised momentum for matrices, AdamW for the rest.

        B <- mu B + (1 - mu) g,   O = NewtonSchulz(mu B + (1 - mu) g),   W <- (1 - lr decay) W - lr s O

    params: groups with `matrices`: True for what is orthogonalised. `stacked` matrices in one parameter, one above the
        other (attention's three), are each made orthogonal by themselves. A kernel is a matrix of (out, the rest).
    lr, momentum, nesterov, weight_decay: of the matrices. steps: of Newton-Schulz.
    scale: s; `original` sqrt(max(1, R / C)), `match_rms_adamw` 0.2 sqrt(max(R, C)), with which AdamW's rates and
        decays do (Liu et al., Muon is scalable for LLM training, 2025, eq. 4).
    adam_lr, adam_betas, adam_eps: of the rest.
    """

    whole = True

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        steps: int = 5,
        scale: Scale = "original",
        adam_lr: float = 3e-4,
        adam_betas: tuple[float, float] = (0.9, 0.95),
        adam_eps: float = 1e-10,
    ) -> None:
        if scale not in ("original", "match_rms_adamw"):
            raise ValueError(f"scale is 'original' or 'match_rms_adamw'; got {scale!r}")
        groups = [dict(g) for g in params]
        for g in groups:
            if g.setdefault("matrices", False) and any(p.dim() < 2 for p in g["params"]):
                raise ValueError("Muon makes matrices orthogonal; a parameter of fewer than two dimensions is none")
            g.setdefault("lr", lr if g["matrices"] else adam_lr)
        super().__init__(
            groups,
            {
                "lr": lr,
                "momentum": momentum,
                "nesterov": nesterov,
                "weight_decay": weight_decay,
                "steps": steps,
                "scale": scale,
                "betas": tuple(adam_betas),
                "eps": adam_eps,
                "matrices": False,
                "stacked": 1,
            },
        )

    def move(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """See `Rule.move`."""
        if group["matrices"]:
            self._orthogonal(group, params, grads)
        else:
            self._adamw(group, params, grads)

    def _orthogonal(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        lr, mu, decay, stacked = group["lr"], group["momentum"], group["weight_decay"], group["stacked"]
        momenta = self.kept(params, "momentum_buffer", torch.zeros_like)
        shapes: dict[tuple[int, int, torch.dtype, torch.device], list[int]] = {}
        for i, p in enumerate(params):
            rows = p.shape[0] // stacked
            shapes.setdefault((rows, p.numel() // p.shape[0], p.dtype, p.device), []).append(i)
        for (rows, columns, dtype, device), all_places in shapes.items():
            factor = math.sqrt(max(1, rows / columns))
            if group["scale"] == "match_rms_adamw":
                factor = 0.2 * math.sqrt(max(rows, columns))
            # On a CPU as many at a time as its cache holds with all products; elsewhere all.
            some = len(all_places)
            if device.type == "cpu":
                some = min(some, max(1, CACHED // (min(rows, columns) ** 2 * stacked)))
            ahead = torch.empty(some, stacked, rows, columns, dtype=dtype, device=device)
            x = torch.empty_like(ahead, dtype=_precision(dtype, device))
            for start in range(0, len(all_places), some):
                places = all_places[start : start + some]
                for room, row, i in zip(ahead, x, places, strict=False):
                    momenta[i].lerp_(grads[i], 1 - mu)
                    room = room.view(params[i].shape)
                    if group["nesterov"]:
                        torch.lerp(grads[i], momenta[i], mu, out=room)
                    else:
                        room.copy_(momenta[i])
                    matrices = room.view(stacked, rows, columns)
                    length = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True).clamp_min_(1e-7)
                    row.copy_(matrices.mul_(length.reciprocal_()))
                found = orthogonal(x[: len(places)].flatten(0, 1), group["steps"])
                # Rounded up first: an operation on two precisions takes twice as long.
                moved = ahead[: len(places)].copy_(found.unflatten(0, (len(places), stacked)))
                for i, o in zip(places, moved, strict=True):
                    if decay:
                        params[i].mul_(1 - lr * decay)
                    params[i].add_(o.view(params[i].shape), alpha=-lr * factor)

    def _adamw(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        means = self.kept(params, "exp_avg", torch.zeros_like)
        squares = self.kept(params, "exp_avg_sq", torch.zeros_like)
        ages = self.kept(params, "step", lambda p: torch.zeros((), device=p.device))
        adamw_(
            params,
            grads,
            means,
            squares,
            [],
            ages,
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonal(x: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz: each matrix U S V^T of x (B, R, C) with its singular values brought near 1; norms <= 1.

    x is overwritten.

    X <- a X + b (X X^T) X + c (X X^T)^2 X, `steps` times. With A = X X^T (or X^T X, the smaller) and
    P = a + b A + c A^2 the next A is P A P, and what X is multiplied by, Q <- P Q.
    """
    if steps < 1:
        raise ValueError(f"steps of Newton-Schulz are 1 or more; got {steps}")
    wide = x.shape[1] <= x.shape[2]
    if max(x.shape[1:]) < 1.5 * min(x.shape[1:]):  # products of the long side cost no more than the others
        return _plainly(x, wide, steps)
    for some in (RESTART, steps - RESTART) if steps > RESTART else (steps,):
        q = _factor(torch.bmm(x, x.mT) if wide else torch.bmm(x.mT, x), some)
        x = torch.bmm(q, x) if wide else torch.bmm(x, q)
    return x


def _plainly(x: Tensor, wide: bool, steps: int) -> Tensor:
    """The iteration as it is written."""
    a, b, c = COEFFICIENTS
    spare = torch.empty_like(x)
    for _ in range(steps):
        gram = torch.bmm(x, x.mT) if wide else torch.bmm(x.mT, x)
        p = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        torch.baddbmm(x, *((p, x) if wide else (x, p)), beta=a, out=spare)
        x, spare = spare, x
    return x


def _factor(gram: Tensor, steps: int) -> Tensor:
    """Q (B, M, M), by which `steps` of the iteration multiply matrices of this Gram matrix, which is overwritten."""
    a, b, c = COEFFICIENTS
    p, half, q, spare = (torch.empty_like(gram) for _ in range(4))
    for step in range(steps):
        torch.baddbmm(gram, gram, gram, beta=b, alpha=c, out=p)  # without a on the diagonal
        if step:
            torch.baddbmm(q, q, p, beta=a, out=spare)
            q, spare = spare, q
        if step < steps - 1:
            torch.baddbmm(gram, gram, p, beta=a, out=half)
            torch.baddbmm(half, half, p, beta=a, out=gram)
        if not step:
            q, p = p, q
            q.diagonal(dim1=1, dim2=2).add_(a)
    return q


def _precision(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    if dtype == torch.float64:
        return dtype
    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        return torch.float32
    return torch.float16
