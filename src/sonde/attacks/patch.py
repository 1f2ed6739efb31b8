"""The adversarial patch: one sticker that makes any picture be taken for the same class, wherever it is put.

Brown, Mane, Roy, Abadi and Gilmer, Adversarial patch, 2017, sec. 2: the expectation, over pictures, places, sizes and
angles, of the log-probability of the target class is raised by gradient ascent on the patch alone. The distance to the
original does not matter: the patch may be seen by everybody.

Entry: adversarial examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .losses import Logits, gradient_of

# N rows, C channels, H height, W width, S side of the patch

RATE = 0.05  # of Adam, on a patch in units of half the bounds


@dataclass(frozen=True)
class Placing:
    """How patches are laid onto pictures. scale: (least, most) side of the patch, as a share of the picture's shorter
    side. angle: most, in degrees either way. The place is uniform over where the patch lies wholly inside.
    """

    scale: tuple[float, float] = (0.3, 0.5)
    angle: float = 22.5

    def grid(self, x: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Where each pixel of x (N, C, H, W) looks in its patch, (N, H, W, 2), and how much of it is patch, (N, H, W).

        A patch is a disc, so that its corners do not leave a picture at an angle.
        """
        n, _, h, w = x.shape
        size = x.new_empty(n, 1, 1).uniform_(*self.scale) * min(h, w) / 2  # radius, in pixels
        turn = x.new_empty(n, 1, 1).uniform_(-self.angle, self.angle).deg2rad()
        across = size + x.new_empty(n, 1, 1).uniform_() * (w - 2 * size)  # of the centre
        down = size + x.new_empty(n, 1, 1).uniform_() * (h - 2 * size)
        right = (torch.arange(w, device=x.device) + 0.5 - across) / size  # (N, 1, W)
        below = (torch.arange(h, device=x.device)[:, None] + 0.5 - down) / size  # (N, H, 1)
        look = torch.stack([turn.cos() * right + turn.sin() * below, turn.cos() * below - turn.sin() * right], 3)
        edge = size * (1 - look.norm(dim=3)) + 0.5  # pixels to the edge of the disc: blended over one
        return look, edge.clamp(0, 1)

    def lay(self, patch: Tensor, x: Tensor) -> Tensor:
        """The pictures x (N, C, H, W) with a patch (C, S, S) on each, at random places, sizes and angles."""
        look, share = self.grid(x, patch.shape[-1])
        drawn = F.grid_sample(patch.expand(len(x), -1, -1, -1), look, padding_mode="border", align_corners=False)
        return x + share[:, None] * (drawn - x)


def adversarial_patch(
    logits: Logits,
    x: Tensor,
    target: int,
    placing: Placing = Placing(),
    bounds: tuple[float, float] = (0.0, 1.0),
    side: int = 0,
    steps: int = 200,
    rows: int = 64,
) -> Tensor:
    """A patch (C, S, S) within the bounds that makes pictures x (N, C, H, W) be answered with class `target`.

    logits: x -> (N, C'). bounds: finite. side: S; 0 is the largest number of pixels that a patch takes. steps: of Adam,
    each on the mean over `rows` pictures, drawn anew with their places.
    """
    low, high = bounds
    if side == 0:
        side = max(2, round(placing.scale[1] * min(x.shape[-2:])))
    raw = torch.zeros(x.shape[1], side, side, device=x.device, dtype=x.dtype)  # grey, through a sigmoid
    first, second = torch.zeros_like(raw), torch.zeros_like(raw)
    wanted = torch.full((min(rows, len(x)),), target, device=x.device)
    for i in range(1, steps + 1):
        some = x[torch.randperm(len(x), device=x.device)[:rows]]
        raw = raw.requires_grad_()
        with torch.enable_grad():
            z = logits(placing.lay(low + (high - low) * raw.sigmoid(), some))
            g = gradient_of(F.cross_entropy(z, wanted), raw)
        first.lerp_(g, 0.1)
        second.mul_(0.999).addcmul_(g, g, value=0.001)
        raw = raw.detach() - 2 * RATE * (first / (1 - 0.9**i)) / ((second / (1 - 0.999**i)).sqrt() + 1e-8)
    return low + (high - low) * raw.detach().sigmoid()
