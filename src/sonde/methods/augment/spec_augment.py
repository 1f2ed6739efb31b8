"""SpecAugment: warp a spectrogram in time and blank bands of frequency and stretches of time.

Park et al., SpecAugment: a simple data augmentation method for automatic speech recognition, 2019, sections 2 and 3,
table 1. Three differences: the warp is linear on both sides of the point that moves (the paper's sparse image warp
bends it); what is blanked is filled with the spectrogram's own mean, which is what the paper's zero is after its
normalisation; and where the paper's numbers exceed the spectrogram they stop at its sides.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run, SondeError

from ._images import fraction
from ._series import read

# N rows, C channels, F bands of frequency, T frames in time

POLICIES: dict[str, dict[str, float]] = {
    "LB": dict(warp=80, band=27, bands=1, stretch=100, limit=1.0, stretches=1),  # LibriSpeech basic
    "LD": dict(warp=80, band=27, bands=2, stretch=100, limit=1.0, stretches=2),  # LibriSpeech double
    "SM": dict(warp=40, band=15, bands=2, stretch=70, limit=0.2, stretches=2),  # Switchboard mild
    "SS": dict(warp=40, band=27, bands=2, stretch=70, limit=0.2, stretches=2),  # Switchboard strong
}
"""The paper's policies (table 1), for spectrograms of 80 bands and a frame every 10 ms."""


def time_warp(x: Tensor, centre: Tensor, distance: Tensor) -> Tensor:
    """Move what is at frame centre[i] to centre[i] + distance[i]; both ends stay, and all between follows linearly.

    x: (N, C..., T); centre, distance: (N,); both centre and the sum in (0, T - 1). Returns (N, C..., T).
    """
    last = x.shape[-1] - 1
    centre, target = centre[:, None].double(), (centre + distance)[:, None].double()  # (N, 1)
    t = torch.arange(last + 1, device=x.device, dtype=torch.float64)
    before, after = t * centre / target, centre + (t - target) * (last - centre) / (last - target)  # (N, T)
    return read(x, torch.where(t < target, before, after).clamp(0, last))


def inside(start: Tensor, width: Tensor, size: int) -> Tensor:
    """Which of `size` places lie in [start[i], start[i] + width[i]): (N, size) bool."""
    place = torch.arange(size, device=start.device) - start[:, None]
    return (place >= 0) & (place < width[:, None])


class SpecAugment(Method):
    """Warps each spectrogram in time and blanks random bands of frequency and stretches of time.

    warp: W, the frame that moves does so by up to W frames, either way; it lies W or more from both ends. Less if the
        spectrogram is not longer than 2 W.
    band: F, a band is f neighbouring frequencies wide, f uniform from 0 to F. bands: m_F, how many.
    stretch: T, a stretch is t neighbouring frames long, t uniform from 0 to T. stretches: m_T, how many.
    limit: p, no stretch is longer than this share of the frames, in [0, 1].
    The defaults are the paper's policy SM; `SpecAugment(**POLICIES["LD"])` takes another. What is blanked takes the
    row's mean. All channels of a row are treated alike.
    Reads and returns x: (N, F, T) or (N, C, F, T), floating point, logarithmic as a rule. Rows stay independent:
    `records` is kept.

    >>> time_warp(torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]]), torch.tensor([2.0]), torch.tensor([1.0])).tolist()
    [[0.0, 0.6666666865348816, 1.3333333730697632, 2.0, 4.0]]
    """

    def __init__(
        self,
        warp: int = 40,
        band: int = 15,
        bands: int = 2,
        stretch: int = 70,
        limit: float = 0.2,
        stretches: int = 2,
    ) -> None:
        for name, value in dict(warp=warp, band=band, bands=bands, stretch=stretch, stretches=stretches).items():
            if value < 0 or value != int(value):
                raise SondeError(
                    f"SpecAugment({name}={value}) is no count", f"give {name} as a whole number, 0 or more"
                )
        self.warp, self.band, self.stretch = int(warp), int(band), int(stretch)
        self.bands, self.stretches, self.limit = int(bands), int(stretches), fraction(limit, "limit")

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, warped, then blanked."""
        x = spectrograms(batch)  # (N, C..., F, T)
        frequencies, frames = x.shape[-2:]
        mean = x.mean(tuple(range(1, x.ndim)), keepdim=True)
        reach = min(self.warp, (frames - 1) // 2 - 1)  # both the centre and where it goes stay off the ends
        if reach > 0:
            low, high = reach + 1.0, frames - 2.0 - reach
            centre = low + torch.rand(len(x), device=x.device) * (high - low)  # (N,)
            x = time_warp(x, centre, (2 * torch.rand(len(x), device=x.device) - 1) * reach)
        longest = min(self.stretch, int(self.limit * frames + 1e-6))  # 1e-6: 0.29 * 100 is 28.999...
        blank = torch.zeros(len(x), frequencies, frames, dtype=torch.bool, device=x.device)
        for _ in range(self.bands):
            blank = blank | _drawn(x, min(self.band, frequencies), frequencies)[:, :, None]
        for _ in range(self.stretches):
            blank = blank | _drawn(x, longest, frames)[:, None, :]
        blank = blank.view(len(x), *[1] * (x.ndim - 3), frequencies, frames)  # (N, 1..., F, T)
        return replace(batch, x=torch.where(blank, mean, x))


def _drawn(x: Tensor, widest: int, size: int) -> Tensor:
    """A random run of places in each row, its width uniform from 0 to `widest`, its start wherever it fits."""
    width = torch.randint(0, widest + 1, (len(x),), device=x.device)  # (N,)
    start = (torch.rand(len(x), device=x.device) * (size - width + 1)).long()  # (N,), the last start included
    return inside(start, width, size)


def spectrograms(batch: Batch) -> Tensor:
    """The batch's spectrograms; a SondeError for anything else."""
    x = batch.x
    if isinstance(x, Tensor) and x.ndim in (3, 4) and x.is_floating_point():
        return x
    given = f"a {x.dtype} tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
    raise SondeError(
        f"SpecAugment changes spectrograms, floating point of shape (N, F, T) or (N, C, F, T), but x is {given}",
        "remove SpecAugment from the methods, or give it spectrograms (sounds as they are: TimeShift, AddNoise, Speed)",
    )
