"""AddNoise: noise under a sound, at a given ratio of the two."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run, SondeError

from ._images import uniform
from ._series import Layout, layout_of, per_row, refuse_clipping, series, untimed

# N rows, C channels, T samples in time

Noise = Literal["white", "pink", "brown"]
_SLOPES: dict[str, float] = {"white": 0.0, "pink": 1.0, "brown": 2.0}  # power falls as 1 / frequency to this


def add_noise(x: Tensor, noise: Tensor, snr: Tensor) -> Tensor:
    """x plus the noise, scaled so that 10 log10(power of x / power of the noise) is snr[i] in row i.

    Power is the mean square over the row, all channels. x, noise: (N, C..., T); snr: (N,), dB. A silent row stays
    silent: no noise has a ratio to nothing. Returns (N, C..., T).
    """
    power, noises = (v.flatten(1).pow(2).mean(1) for v in (x, noise))  # (N,)
    least = torch.finfo(x.dtype).tiny
    factor = (power / noises.clamp_min(least) * 10 ** (-snr.to(x.dtype) / 10)).sqrt()
    return x + per_row(factor, x) * noise


def coloured(like: Tensor, colour: Noise) -> Tensor:
    """Gaussian noise of the shape (N, C..., T) whose power falls with frequency: as 1 / f if pink, 1 / f^2 if brown."""
    white = torch.randn_like(like)
    if colour == "white":
        return white
    samples = like.shape[-1]
    spectrum = torch.fft.rfft(white)  # (N, C..., T/2 + 1)
    frequency = torch.arange(spectrum.shape[-1], device=like.device, dtype=like.dtype)
    weight = frequency.clamp_min(1) ** (-_SLOPES[colour] / 2)
    weight[0] = 0.0  # the mean: no sound has one
    return torch.fft.irfft(spectrum * weight, n=samples)


class AddNoise(Method):
    """Puts noise under each sound, or series, at a random ratio of signal to noise.

        x' = x + sqrt(P(x) / (P(n) 10^(snr / 10))) n,  P: mean square over the row

    low, high: the ratio in dB is uniform between them: 0 is noise as loud as the sound, 30 is barely heard.
    colour: "white" (all frequencies alike), "pink" (power as 1 / frequency), "brown" (as 1 / frequency squared).
    layout: "NCT" for x (N, T) or (N, C, T), "NTC" for (N, T, C).
    Reads and returns x, floating point, around 0 as sounds are. Rows stay independent: `records` is kept.

    >>> x, noise = torch.tensor([[3.0, -3.0]]), torch.tensor([[1.0, 1.0]])
    >>> add_noise(x, noise, torch.tensor([20.0])).tolist()  # a tenth of 3
    [[3.299999952316284, -2.700000047683716]]
    """

    def __init__(self, low: float = 10.0, high: float = 30.0, colour: Noise = "white", layout: Layout = "NCT") -> None:
        if not float("-inf") < low <= high:
            raise SondeError(f"AddNoise(low={low}, high={high}) is no range", "give ratios in dB, low <= high")
        if colour not in _SLOPES:
            raise SondeError(f"AddNoise(colour={colour!r}) is not known", f"choose one of {', '.join(_SLOPES)}")
        self.low, self.high, self.colour, self.layout = low, high, colour, layout_of(layout, self)

    def setup(self, run: Run) -> None:
        """Refuse what would cut the new values off."""
        refuse_clipping(self, run)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, with noise."""
        x = series(batch, self, self.layout)
        if self.low == float("inf"):  # without noise
            return batch
        noise = coloured(x, self.colour)
        return replace(batch, x=untimed(add_noise(x, noise, uniform(x, self.low, self.high)), self.layout))
