"""DLinear: a series is split into its trend and the rest, and each is mapped to the future by one matrix.

Zeng, Chen, Zhang and Xu, Are Transformers effective for time series forecasting?, 2023, sec. 4. The split is that of
Autoformer (Wu et al., 2021, eq. 1), its ends repeated. No difference; the maps are shared by all channels, the paper's
default.
"""

# N rows, L steps of the past, H steps of the future, C channels

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import SondeError


class DLinear(nn.Module):
    """Maps the past of every channel to its future, trend and remainder apart.

        x_t = mean of x over `kernel` steps around t,   y = W_t x_t + b_t + W_s (x - x_t) + b_s

    lookback: L. horizon: H. kernel: odd, steps of the moving average (the paper's 25 is a day of hours).
    Reads x: (N, L, C). Returns (N, H, C). Channels are not mixed, and share both maps.

    >>> import torch
    >>> DLinear(lookback=48, horizon=12)(torch.zeros(2, 48, 7)).shape
    torch.Size([2, 12, 7])
    """

    def __init__(self, lookback: int = 336, horizon: int = 96, kernel: int = 25) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise SondeError(f"DLinear(kernel={kernel}) has no middle", "choose an odd number of steps, e.g. 25")
        self.kernel = kernel
        self.trend = nn.Linear(lookback, horizon)  # W_t
        self.seasonal = nn.Linear(lookback, horizon)  # W_s

    def forward(self, x: Tensor) -> Tensor:
        """The next H steps, (N, H, C)."""
        rows = x.transpose(1, 2)  # (N, C, L)
        trend = self.average(rows)  # (N, C, L)
        y: Tensor = self.trend(trend) + self.seasonal(rows - trend)  # (N, C, H)
        return y.transpose(1, 2)

    def average(self, rows: Tensor) -> Tensor:
        """The moving average along the last axis, whose first and last values are taken to go on. (N, C, L), same."""
        beside = self.kernel // 2
        return F.avg_pool1d(F.pad(rows, (beside, beside), mode="replicate"), self.kernel, stride=1)
