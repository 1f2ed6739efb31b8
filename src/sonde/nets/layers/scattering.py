"""The scattering transform of images: wavelets, moduli and averages, with nothing to learn.

Mallat, Group invariant scattering, 2012; Bruna and Mallat, Invariant scattering convolution networks, 2013;
the sizes and names of Oyallon and Mallat, Deep roto-translation scattering for object classification, 2015. For a
picture x, wavelets psi_(j, t) of scale 2^j and orientation t, and a Gaussian phi_J of width 2^J,

    S0 = x * phi_J
    S1(j, t) = |x * psi_(j, t)| * phi_J
    S2(j, t, k, u) = ||x * psi_(j, t)| * psi_(k, u)| * phi_J,   j < k < J,

each kept at every 2^J-th position. The filters and the border are those of kymatio (Andreux et al., 2020), which the
numbers equal: Morlet wavelets with xi = 3 pi / 4 and sigma = 0.8 at the finest scale and a slant of 4 / L, periodic on
a picture that is reflected at its border; a signal kept at every 2^r-th position is filtered by those Fourier
coefficients of a filter that the coarser grid has.

Entry: hand-made features.
"""

from __future__ import annotations

import math
from itertools import product as pairs

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import SondeError

# N rows, C channels, H height, W width, J scales, L orientations; A, B the sides of the reflected picture

SIGMA, XI = 0.8, 0.75 * math.pi  # width in pixels and frequency in radians a pixel, at the finest scale
ROWS = 32  # pictures a pass: what 64 maps of each take still lies in a core's cache
TINY = 1e-24  # far below the square of what float32 resolves of a pixel; keeps the derivative of the modulus finite


class Scattering(nn.Module):
    """Describes the surroundings of every 2^J-th pixel by K = 1 + J L + L^2 J (J - 1) / 2 averages of wavelet moduli.

    A small shift or warp of the picture changes them little, and no training row is needed to know them. There are no
    parameters; gradients reach the picture.

    height, width: H, W. scales: J. orientations: L.
    Reads x: (N, C, H, W), floating point. Returns (N, C K, H / 2^J, W / 2^J), the K of a channel side by side: order
    0, order 1 by (j, t), order 2 by (j, t, k, u).

    >>> Scattering(28, 28)(torch.rand(5, 1, 28, 28)).shape
    torch.Size([5, 81, 7, 7])
    """

    def __init__(self, height: int, width: int, scales: int = 2, orientations: int = 8) -> None:
        super().__init__()
        if scales < 1 or orientations < 1 or min(height, width) <= 2**scales:
            raise SondeError(
                f"Scattering({height}, {width}, scales={scales}, orientations={orientations}) averages over "
                f"{2 ** max(scales, 0)} x {2 ** max(scales, 0)} pixels, which the picture does not hold",
                "choose scales of at least 1 and below the logarithm to base 2 of the shorter side, and orientations "
                "of at least 1",
            )
        self.scales, self.maps = scales, 1 + scales * orientations + orientations**2 * (scales * (scales - 1) // 2)
        step = 2**scales
        sides = [((side + step) // step + 1) * step for side in (height, width)]  # A, B
        extra = [side - inner for side, inner in zip(sides, (height, width), strict=True)]
        self.border = (extra[1] // 2, -(-extra[1] // 2), extra[0] // 2, -(-extra[0] // 2))  # left, right, top, bottom
        for k in range(scales):
            angles = [(orientations // 2 - 1 - t) * math.pi / orientations for t in range(orientations)]
            spectra = torch.stack([morlet(sides[0], sides[1], k, angle, 4 / orientations) for angle in angles])
            for r in range(max(1, k)):  # the finer maps that scale k is taken of: the picture, and moduli of scale r
                kept = 4 ** (k - r)  # of so many coefficients that are added up, the mean is that of the kept positions
                wavelets = coarser(spectra, r, axes=(1, 2)).unsqueeze(-1) / kept
                self._constant(f"wavelet_{k}_of_{r}", wavelets.repeat(1, 1, 1, 2))  # (L, A/2^r, B/2^r, 2)
        for r in range(scales):
            self._constant(f"rows_{r}", averages(sides[0], scales, r))  # (h, A/2^r)
            self._constant(f"columns_{r}", averages(sides[1], scales, r).T.contiguous())  # (B/2^r, w)

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The averages (N, C K, H / 2^J, W / 2^J)."""
        if not len(x):  # a sample by chance may be empty, and a Fourier transform of nothing is an error
            return x.new_zeros(0, x.shape[1] * self.maps, *(side >> self.scales for side in x.shape[2:]))
        return torch.cat([self._transform(part) for part in x.split(ROWS)])

    def _transform(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.border, mode="reflect").unsqueeze(2)  # (N, C, 1, A, B)
        orders: list[list[Tensor]] = [[self._average(x, 0)], [], []]
        spectrum = torch.fft.fft2(x)  # (N, C, 1, A, B)
        for j in range(self.scales):
            u = self._modulus(spectrum, j, 0, 2**j)  # (N, C, L, A/2^j, B/2^j)
            orders[1].append(self._average(u, j))
            if j + 1 < self.scales:
                spectra = torch.fft.fft2(u)
                finer = [
                    self._average(self._modulus(spectra, k, j, 2 ** (k - j)), k).unflatten(2, (u.shape[2], -1))
                    for k in range(j + 1, self.scales)
                ]  # (N, C, L, L, h, w) each
                orders[2].append(torch.cat(finer, 3).flatten(2, 3))
        return torch.cat([s for order in orders for s in order], 2).flatten(1, 2)

    def _modulus(self, spectra: Tensor, k: int, r: int, step: int) -> Tensor:
        """|u * psi_(k, .)| at every `step`-th position: spectra of (N, C, M, a, b) to (N, C, M L, a/step, b/step)."""
        a, b = (side // step for side in spectra.shape[-2:])
        parts = torch.view_as_real(spectra)  # (N, C, M, step a, step b, 2)
        s = parts.unflatten(-2, (step, b)).unflatten(-4, (step, a))  # (N, C, M, step, a, step, b, 2)
        wavelets = getattr(self, f"wavelet_{k}_of_{r}").unflatten(-2, (step, b)).unflatten(-4, (step, a))
        product = s[:, :, :, None, 0, :, 0] * wavelets[:, 0, :, 0]  # (N, C, M, L, a, b, 2)
        for p, q in list(pairs(range(step), repeat=2))[1:]:  # kept positions: frequencies a or b apart are added up
            product = product.addcmul(s[:, :, :, None, p, :, q], wavelets[:, p, :, q])
        v = torch.fft.ifft2(torch.view_as_complex(product).flatten(2, 3))
        # The modulus that torch has for complex numbers takes thrice as long.
        return v.real.square().addcmul(v.imag, v.imag).add_(TINY).sqrt_()

    def _average(self, u: Tensor, r: int) -> Tensor:
        """u * phi_J at every 2^J-th pixel within the border: (N, C, M, A/2^r, B/2^r) to (N, C, M, h, w)."""
        averaged: Tensor = getattr(self, f"rows_{r}") @ (u @ getattr(self, f"columns_{r}"))
        return averaged


def morlet(height: int, width: int, scale: int, angle: float, slant: float) -> Tensor:
    """The spectrum (height, width), float64, of a periodic Morlet wavelet:

    psi(u) = g(u) (exp(i xi.u) - beta),   g(u) = slant / (2 pi sigma^2) exp(-(u_1^2 + slant^2 u_2^2) / (2 sigma^2)),

    with u_1 along the wave and u_2 across it, and beta such that the sum is 0. It is real, because
    psi(-u) is the conjugate of psi(u).
    """
    sigma, xi = SIGMA * 2**scale, XI / 2**scale
    down, right = periodic(height).view(-1, 1, 5, 1), periodic(width).view(1, -1, 1, 5)
    along = math.cos(angle) * down + math.sin(angle) * right  # (height, width, 5, 5)
    across = math.cos(angle) * right - math.sin(angle) * down
    g = slant / (2 * math.pi * sigma**2) * torch.exp(-(along.square() + (slant * across).square()) / (2 * sigma**2))
    wave = (g * torch.exp(1j * xi * along)).sum((2, 3))  # (height, width)
    envelope = g.sum((2, 3))
    return torch.fft.fft2(wave - wave.sum() / envelope.sum() * envelope).real


def averages(side: int, scales: int, r: int) -> Tensor:
    """phi_J along one axis of a signal kept at every 2^r-th position, taken at every 2^J-th but the first and last.

    A matrix (side / 2^J - 2, side / 2^r), float64.
    """
    sigma = SIGMA * 2 ** (scales - 1)
    g = torch.exp(-periodic(side).square() / (2 * sigma**2)).sum(1) / (math.sqrt(2 * math.pi) * sigma)
    kernel = torch.fft.ifft(coarser(torch.fft.fft(g).real, r, axes=(0,))).real
    n = len(kernel)
    positions = torch.arange(1, side // 2**scales - 1) * 2 ** (scales - r)
    return kernel[(positions[:, None] - torch.arange(n)) % n]


def coarser(spectrum: Tensor, r: int, axes: tuple[int, ...]) -> Tensor:
    """The coefficients that a grid of every 2^r-th position has: the lowest frequencies of each axis."""
    for axis in axes:
        kept = spectrum.shape[axis] >> r
        spectrum = spectrum.roll(kept // 2, axis).narrow(axis, 0, kept).roll(-(kept // 2), axis)
    return spectrum


def periodic(side: int) -> Tensor:
    """The places (side, 5) at which a period of `side` pixels finds each pixel again: -2 to 2 periods away."""
    return torch.arange(side, dtype=torch.float64).view(-1, 1) + side * torch.arange(-2, 3)
