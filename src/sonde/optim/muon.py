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

from .lion import PLAIN, SGD_STEP
from .rule import PIECE, Rule

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
        lr, mu, decay = group["lr"], group["momentum"], group["weight_decay"]
        momenta = self.kept(params, "momentum_buffer", torch.zeros_like)
        shapes: dict[tuple[int, int, torch.dtype, torch.device], list[tuple[Tensor, ...]]] = {}
        for of_param in zip(params, grads, momenta, strict=True):
            for part in zip(*(t.chunk(group["stacked"]) for t in of_param), strict=True):
                w = part[0]
                shapes.setdefault((len(w), w[0].numel(), w.dtype, w.device), []).append(part)
        for (rows, columns, dtype, device), matrices in shapes.items():
            factor = math.sqrt(max(1, rows / columns))
            if group["scale"] == "match_rms_adamw":
                factor = 0.2 * math.sqrt(max(rows, columns))
            some, piece = len(matrices), rows
            if device.type == "cpu":  # matrices and rows of one as its cache holds with all that is made of them
                some = min(some, max(1, CACHED // min(rows, columns) ** 2))
                piece = max(1, PIECE // columns)
            ahead = torch.empty(some, rows, columns, dtype=dtype, device=device)
            x = torch.empty_like(ahead, dtype=_precision(dtype, device))
            for start in range(0, len(matrices), some):
                these = matrices[start : start + some]
                for room, row, (w, g, m) in zip(ahead, x, these, strict=False):
                    _look_ahead(room.view(w.shape), g, m, mu, group["nesterov"], piece)
                    length = torch.linalg.vector_norm(room).clamp_min_(1e-7).reciprocal_()
                    for r, unit in zip(room.split(piece), row.split(piece), strict=True):
                        unit.copy_(r.mul_(length))
                for room, o, (w, _, _) in zip(ahead, orthogonal(x[: len(these)], group["steps"]), these, strict=False):
                    _move(w, o, room, lr * factor, decay / factor, piece)

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
    spare = torch.empty_like(x)
    for _ in range(steps):
        p = _polynomial(torch.bmm(x, x.mT) if wide else torch.bmm(x.mT, x))
        torch.bmm(*((p, x) if wide else (x, p)), out=spare)
        x, spare = spare, x
    return x


def _factor(gram: Tensor, steps: int) -> Tensor:
    """Q (B, M, M), by which `steps` of the iteration multiply matrices of this Gram matrix, which is overwritten."""
    q = p = _polynomial(gram)
    spare, half = torch.empty_like(gram), torch.empty_like(gram)
    for _ in range(1, steps):
        torch.bmm(gram, p, out=half)
        torch.bmm(half, p, out=gram)
        p = _polynomial(gram, out=p if p is not q else None)
        torch.bmm(q, p, out=spare)
        q, spare = spare, q
    return q


def _polynomial(gram: Tensor, out: Tensor | None = None) -> Tensor:
    """P (B, M, M)."""
    a, b, c = COEFFICIENTS
    p = (
        torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        if out is None
        else torch.baddbmm(gram, gram, gram, beta=b, alpha=c, out=out)
    )
    p.diagonal(dim1=1, dim2=2).add_(a)
    return p


def _look_ahead(room: Tensor, g: Tensor, m: Tensor, mu: float, nesterov: bool, piece: int) -> None:
    """m <- mu m + (1 - mu) g, and room = mu m + (1 - mu) g of the new m, or the new m; `piece` rows at a time."""
    for r, part, kept in zip(room.split(piece), g.split(piece), m.split(piece), strict=True):
        kept.lerp_(part, 1 - mu)
        if nesterov:
            torch.lerp(part, kept, mu, out=r)
        else:
            r.copy_(kept)


def _move(w: Tensor, o: Tensor, room: Tensor, rate: float, decay: float, piece: int) -> None:
    """w <- w - rate (o + decay w), `piece` rows at a time; room is of w's precision."""
    for part, turned, r in zip(w.split(piece), o.split(piece), room.split(piece), strict=True):
        r.copy_(turned)  # rounded up first: an operation on two precisions takes twice as long
        if part.is_cpu and part.is_contiguous():  # both operations in one
            SGD_STEP([part], [r.view(part.shape)], [], lr=rate, weight_decay=decay, momentum=0.0, **PLAIN)
            continue
        if decay:
            part.mul_(1 - rate * decay)
        part.add_(r.view(part.shape), alpha=-rate)


def _precision(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    if dtype == torch.float64:
        return dtype
    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        return torch.float32
    return torch.float16
