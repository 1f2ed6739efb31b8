"""What the augmentations of series and sounds share: asking for a time axis, reading between samples, smooth curves."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sonde.core import Batch, Method, Refused, Run, SondeError

# N rows, C channels (any number of axes, or none), T samples in time, K knots of a curve

Layout = Literal["NCT", "NTC"]
"""Where time stands: last, as sounds and convolutions have it, or straight after the rows, as recurrent nets do."""


def layout_of(value: str, method: object) -> Layout:
    """`value`, if it is a layout; a SondeError otherwise."""
    if value == "NCT":
        return "NCT"
    if value == "NTC":
        return "NTC"
    raise SondeError(
        f"{type(method).__name__}(layout={value!r}) is not known", "choose layout='NCT' (time last) or layout='NTC'"
    )


def series(batch: Batch, method: object, layout: Layout = "NCT", least: int = 2) -> Tensor:
    """The batch's series with time last, (N, C..., T), a view; a SondeError for anything else.

    least: how many samples in time the method needs.
    """
    x, name = batch.x, type(method).__name__
    if not (isinstance(x, Tensor) and x.is_floating_point() and x.ndim >= (3 if layout == "NTC" else 2)):
        given = f"a {x.dtype} tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        wanted = "(N, T, C)" if layout == "NTC" else "(N, T) or (N, C, T)"
        raise SondeError(
            f"{name} changes series, floating point of shape {wanted}, but x is {given}",
            f"remove {name} from the methods, or give it rows with an axis of time",
        )
    x = timed(x, layout)
    if x.shape[-1] < least:
        raise SondeError(
            f"{name} needs {least} samples in time, and x has {x.shape[-1]} of them in the layout {layout}",
            f"remove {name} from the methods, or say where time stands: layout='NCT' or layout='NTC'",
        )
    return x


def refuse_clipping(method: Method, run: Run) -> None:
    """Refuse what would cut off values that `method` takes out of [0, 1]: methods for pictures, if they come after."""
    from . import Colour, Crop, RandAugment, Rotate, Scale, TrivialAugment

    for later in run.methods[run.methods.index(method) + 1 :]:
        if isinstance(later, Colour | Crop | RandAugment | Rotate | Scale | TrivialAugment):
            first, second = type(method).__name__, type(later).__name__
            raise Refused(
                f"{second} after {first} cuts off what leaves [0, 1], so that {first} does not do what it says",
                f"put {second} before {first} in the list of methods",
            )


def timed(x: Tensor, layout: Layout) -> Tensor:
    """x with its time axis last, a view."""
    return x if layout == "NCT" else x.movedim(1, -1)


def untimed(x: Tensor, layout: Layout) -> Tensor:
    """The inverse of `timed`."""
    return x if layout == "NCT" else x.movedim(-1, 1)


def per_row(values: Tensor, x: Tensor) -> Tensor:
    """(N,) values as a tensor that broadcasts against x (N, ...)."""
    return values.view(-1, *[1] * (x.ndim - 1))


def read(x: Tensor, position: Tensor) -> Tensor:
    """The series at fractional positions, linearly between two samples.

    x: (N, C..., T); position: (N, S), in samples, in [0, T - 1]. Returns (N, C..., S).
    """
    last = x.shape[-1] - 1
    below = position.floor().clamp(0, max(0, last - 1)).long()  # (N, S)
    share = (position - below).to(x.dtype)
    shape = (len(x), *[1] * (x.ndim - 2), position.shape[1])
    below, share = (t.view(shape).expand(*x.shape[:-1], -1) for t in (below, share))
    above = (below + 1).clamp_max(last)
    return torch.lerp(x.gather(-1, below), x.gather(-1, above), share)


def spline(knots: int, samples: int, like: Tensor) -> Tensor:
    """The matrix (T, K) that takes K values at evenly spaced knots to the cubic spline through them at T samples.

    The first knot is the first sample, the last the last. The ends are not-a-knot: the first two pieces are one cubic,
    as are the last two, which needs 4 knots.
    """
    # Second derivatives m of the spline in units of the knots' spacing solve A m = D y (de Boor, A practical guide to
    # splines, 1978, ch. IV); inside, m[i-1] + 4 m[i] + m[i+1] = 6 (y[i-1] - 2 y[i] + y[i+1]).
    a = torch.zeros(knots, knots, dtype=torch.float64)
    d = torch.zeros(knots, knots, dtype=torch.float64)
    inside = torch.arange(1, knots - 1)
    for offset, left, right in ((-1, 1.0, 6.0), (0, 4.0, -12.0), (1, 1.0, 6.0)):
        a[inside, inside + offset] = left
        d[inside, inside + offset] = right
    end = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)  # equal third derivatives on both sides of a knot
    a[0, :3], a[-1, -3:] = end, end
    bend = torch.linalg.solve(a, d)  # (K, K)
    u = torch.linspace(0, knots - 1, samples, dtype=torch.float64)  # (T,)
    below = u.floor().clamp_max(knots - 2).long()
    t = (u - below)[:, None]  # (T, 1), in [0, 1]
    eye = torch.eye(knots, dtype=torch.float64)
    s = 1 - t
    curve = s * eye[below] + t * eye[below + 1] + ((s**3 - s) * bend[below] + (t**3 - t) * bend[below + 1]) / 6
    return curve.to(device=like.device, dtype=like.dtype)


def smooth(shape: tuple[int, ...], samples: int, sigma: float, knots: int, like: Tensor) -> Tensor:
    """Random curves around 1, (*shape, T): cubic splines through values drawn from N(1, sigma^2).

    knots: values between the two at the ends, as the paper counts them.
    """
    values = 1 + sigma * torch.randn(*shape, knots + 2, device=like.device, dtype=like.dtype)  # (..., K)
    return values @ spline(knots + 2, samples, like).T


def deviation(sigma: float, method: object) -> float:
    """`sigma`, if it can be a standard deviation."""
    if not 0.0 <= sigma < float("inf"):
        raise SondeError(f"{type(method).__name__}(sigma={sigma}) is no standard deviation", "choose sigma >= 0")
    return float(sigma)


def knots_of(knots: int, method: object) -> int:
    """`knots`, if a cubic spline through two more values is determined."""
    if knots < 2:
        raise SondeError(
            f"{type(method).__name__}(knots={knots}) makes no cubic curve", "choose knots >= 2; 4 is usual"
        )
    return knots
