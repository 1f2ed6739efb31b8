"""The columns of a table as numbers a network can use: quantile bins, embeddings, and a place for what is missing.

Piecewise-linear encoding of numeric columns: Gorishniy, Rubachev and Babenko, On embeddings for numerical features in
tabular deep learning, 2022, section 3.2, each column with a linear layer of its own after it. Categories: one learned
vector each (Guo and Berkhahn, 2016). Deliberate differences from the papers:

- The bins' edges are quantiles not of the rows but of the distinct values, each weighing its number of rows to the
  power 1/4. For a column without ties they are the same. A column that is nearly always zero has all its quantiles at
  zero, and its few other values, often the telling ones, would share a bin or two; so they get bins of their own.
- The encoding is centred on its mean over the training rows, so that a missing number reads about as the average row
  does, plus a vector learned for "missing".
- The linear part beside the bins, which the authors' later code has too, reads the standardised column through the
  smooth clip of RealMLP (Holzmueller, Grinsztajn and Steinwart, Better by default, 2024, appendix A), z / sqrt(1 +
  (z/3)^2), after holding it within the training rows' range. The bins' weights begin at zero, so that a small table
  begins, and nearly stays, with smooth functions.
- A category never seen in training reads as the average of the column's vectors over the training rows. The papers
  leave it a vector that nothing has trained.

Entry: embedding; encoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sonde.core import SondeError

# N rows, F numeric columns, K categorical columns, B bins, E numbers a numeric column, G numbers a categorical column

TEMPER = 0.25  # power of a count; with 48 bins on Adult, out of fold, 1 costs 1.0 points of accuracy and 0 costs 0.1
SPREAD = 0.5  # standard deviation of the first vectors, so that the columns' numbers begin of order 1
CLIP = 3.0  # standard deviations; RealMLP's choice


class TableInput(nn.Module):
    """Turns the numbers and codes of a row into one flat vector, in which every column has the same share throughout.

        t_b = clamp((x - e_b) / (e_{b+1} - e_b), 0, 1) - mean_train(t_b),    z = clip((x - mean) / std)
        numeric: sum_b t_b w_b + z a + c            categorical: v_code

    numeric: F, columns of x["numeric"]. cardinalities: codes of each column of x["categorical"], 0 (missing) included.
    bins: B, the most bins a numeric column gets; fewer distinct values get one edge each. widths: E and G.
    Reads {"numeric": (N, F) with NaN for missing, "categorical": (N, K) int64}. Returns (N, F E + K G).

    Until `fit_input` has seen the training rows, numbers are binned evenly from -3 to 3 and categories count as equally
    frequent.

    >>> layer = TableInput(numeric=1, cardinalities=(3,), bins=8, widths=(4, 2))
    >>> layer.fit_input({"numeric": torch.tensor([[1.0], [5.0], [2.0]]), "categorical": torch.tensor([[1], [2], [1]])})
    >>> layer.edges[0, :4].tolist()
    [1.0, 2.0, 5.0, 5.0]
    >>> layer({"numeric": torch.tensor([[torch.nan]]), "categorical": torch.tensor([[0]])}).shape
    torch.Size([1, 6])
    """

    edges: Tensor  # (F, B + 1), rising; a column with fewer bins repeats its last edge
    centre: Tensor  # (F, B) mean of the ramps
    mean: Tensor  # (F,)
    std: Tensor  # (F,)
    first: Tensor  # (K,) where each column's codes begin among the V of all columns
    column: Tensor  # (V,) whose code this is
    share: Tensor  # (V,) how much of the training rows has this code

    def __init__(
        self, numeric: int, cardinalities: Sequence[int] = (), bins: int = 128, widths: tuple[int, int] = (16, 8)
    ) -> None:
        super().__init__()
        if numeric + len(cardinalities) == 0:
            raise SondeError("the table has no columns to learn from", "give it at least one besides the target")
        self.numeric, self.cardinalities, self.bins, self.widths = numeric, tuple(cardinalities), bins, widths
        e, g = widths
        if numeric:
            self.register_buffer("edges", torch.linspace(-3, 3, bins + 1).repeat(numeric, 1))
            self.register_buffer("centre", torch.zeros(numeric, bins))
            self.register_buffer("mean", torch.zeros(numeric))
            self.register_buffer("std", torch.ones(numeric))
            self.weight = nn.Parameter(torch.zeros(numeric, bins, e))
            self.slope = nn.Parameter(SPREAD * torch.randn(numeric, e))
            self.bias = nn.Parameter(SPREAD * torch.randn(numeric, e))
            self.missing = nn.Parameter(torch.zeros(numeric, e))
        if cardinalities:
            counts = torch.tensor(self.cardinalities)
            first = counts.cumsum(0) - counts
            total = sum(self.cardinalities)  # said where it cannot be read: a net is first built without memory
            share = (1 / (counts - 1).clamp(min=1)).repeat_interleave(counts, output_size=total)  # 0 alone is unseen
            self.register_buffer("first", first, persistent=False)
            self.register_buffer(
                "column", torch.arange(len(counts)).repeat_interleave(counts, output_size=total), persistent=False
            )
            self.register_buffer("share", share.index_fill(0, first, 0.0))
            self.vectors = nn.Parameter(SPREAD * torch.randn(total, g))

    @property
    def sections(self) -> tuple[int, ...]:
        """How many of the outputs each column has, numeric columns first."""
        return (self.widths[0],) * self.numeric + (self.widths[1],) * len(self.cardinalities)

    @torch.no_grad()
    def fit_input(self, x: Mapping[str, Tensor]) -> None:
        """Take the bins, the moments and the shares of the categories from the training rows x.

        Without x["categorical"] (a private reader has none to show) categories keep counting as equally frequent.
        """
        for f in range(self.numeric):  # a column at a time: the encoding of all is B times the table
            seen = x["numeric"][:, f]
            seen = seen[seen.isfinite()]
            self.edges[f] = tempered_quantiles(seen, self.bins)
            if len(seen):
                self.centre[f] = _ramps(seen[:, None], self.edges[f : f + 1]).double().mean(0)[0]
                std, mean = torch.std_mean(seen.double(), correction=0)
                self.mean[f], self.std[f] = mean, std if self.edges[f, -1] > self.edges[f, 0] else 1.0
        if self.cardinalities and "categorical" in x:
            counts = torch.bincount((x["categorical"] + self.first).flatten(), minlength=len(self.share))
            self.share.copy_(counts.to(torch.float64) / max(1, len(x["categorical"])))

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        """The row as one vector (N, F E + K G)."""
        parts = []
        if self.numeric:
            parts.append(self._numbers(x["numeric"]).flatten(1))
        if self.cardinalities:
            parts.append(self._categories(x["categorical"]).flatten(1))
        return torch.cat(parts, 1)

    def _numbers(self, x: Tensor) -> Tensor:
        known = x.isfinite()[..., None]  # (N, F, 1)
        x = torch.where(known[..., 0], x, self.mean).clamp(self.edges[:, 0], self.edges[:, -1])
        t = (_ramps(x, self.edges) - self.centre) * known  # (N, F, B)
        z = (x / 2 - self.mean / 2) / (self.std / 2)  # as in _ramps
        z = z / (1 + (z / CLIP).square()).sqrt()  # 0 for a missing number
        e = torch.einsum("nfb,fbe->nfe", t, self.weight) + z[..., None] * self.slope + self.bias
        return torch.where(known, e, e + self.missing)

    def _categories(self, codes: Tensor) -> Tensor:
        place = codes + self.first  # (N, K)
        none = self.vectors.new_zeros(len(self.first), self.vectors.shape[1])
        average = none.index_add(0, self.column, self.share[:, None] * self.vectors)  # (K, G)
        return torch.where((self.share[place] > 0)[..., None], self.vectors[place], average)


def _ramps(x: Tensor, edges: Tensor) -> Tensor:
    """How far x (N, F) has come through each bin, from 0 to 1: (N, F, B). A bin without width is never entered."""
    x, edges = x / 2, edges / 2  # so that no difference of two finite numbers is infinite
    left, width = edges[:, :-1], edges.diff(dim=1)  # (F, B)
    rate = torch.where(width > torch.finfo(width.dtype).tiny, 1 / width, 0.0)
    return ((x[..., None] - left) * rate).clamp(0, 1)


def tempered_quantiles(x: Tensor, bins: int, temper: float = TEMPER) -> Tensor:
    """The edges (bins + 1,) that split a column x (N,) into bins of equal tempered mass; the last repeats to fill.

    The mass of a distinct value is its number of rows to the power `temper`: 1 gives quantiles of the rows, 0 of the
    distinct values. With at most bins + 1 distinct values each is an edge. What is not finite is left out.

    >>> tempered_quantiles(torch.tensor([0.0, 0.0, 0.0, 0.0, 3.0, 7.0]), bins=2).tolist()
    [0.0, 3.0, 7.0]
    """
    values, counts = torch.unique(x[x.isfinite()], return_counts=True)  # sorted
    if len(values) == 0:
        return x.new_zeros(bins + 1)
    if len(values) > bins + 1:
        mass = counts.double() ** temper
        middle = (mass.cumsum(0) - mass / 2) / mass.sum()
        inner = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=x.device)[1:-1]
        chosen = torch.searchsorted(middle, inner).clamp(max=len(values) - 1)
        ends = torch.tensor([0, len(values) - 1], device=x.device)
        values = values[torch.unique(torch.cat([ends, chosen]))]
    return torch.cat([values, values[-1:].expand(bins + 1 - len(values))])
