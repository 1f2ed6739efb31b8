"""What a parameter's use in a forward pass says of its gradient, record by record.

A use knows how to give the gradient of each record by itself (`each`), and, where algebra allows, its length, weighted
sum and sum of squares without ever holding one gradient a record: "ghost" norms (Goodfellow, 2015; Li et al., 2022,
sec. 4) and book-keeping (Bu et al., 2023, sec. 3). Which way is taken is decided per use by its cost.
"""

# R records, K rows a record, T positions (time steps, pixels), D features in, P features out

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

CHUNK = 1 << 18
"""Numbers of per-record gradients held at a time: a megabyte of float32, which stays in a core's cache."""
TOUCH = 20.0
"""What writing a number of a gradient and reading it back twice costs, in multiply-adds."""


class Use:
    """One or more uses of one parameter. records: R. shape: of the parameter, or of the rows of it that are used."""

    records: int
    shape: torch.Size

    def each(self, start: int, stop: int) -> Tensor:
        """The gradients of records `start` to `stop`, (stop - start, *shape)."""
        raise NotImplementedError

    def squared_norms(self) -> Tensor:
        """The squared length of each record's gradient, (R,)."""
        return torch.cat([torch.linalg.vector_norm(g.flatten(1), dim=1).square() for _, g in self._chunks()])

    def add(self, weights: Tensor, out: Tensor) -> None:
        """out += sum_r weights[r] gradient[r]. weights: (R,); out: (*shape), contiguous."""
        for part, g in self._chunks():
            out.view(-1).addmv_(g.reshape(len(g), -1).t(), weights[part])

    def squares(self) -> Tensor:
        """sum_r gradient[r]^2, elementwise, (*shape)."""
        total = None
        for _, g in self._chunks():
            summed = g.square().sum(0)
            total = summed if total is None else total.add_(summed)
        return torch.zeros(self.shape) if total is None else total

    def _chunks(self) -> Iterator[tuple[slice, Tensor]]:
        size = max(1, CHUNK // max(1, self.shape.numel()))
        for start in range(0, self.records, size):
            stop = min(start + size, self.records)
            yield slice(start, stop), self.each(start, stop)


class Small(Use):
    """A use whose gradient per record is no larger than what the layer holds anyway: biases, scales of norms.

    gradients: (R, *shape).
    """

    def __init__(self, gradients: Tensor) -> None:
        self.gradients, self.records, self.shape = gradients, len(gradients), gradients.shape[1:]

    def each(self, start: int, stop: int) -> Tensor:
        """See `Use.each`."""
        return self.gradients[start:stop]

    def squared_norms(self) -> Tensor:
        """See `Use.squared_norms`."""
        return torch.linalg.vector_norm(self.gradients.reshape(self.records, -1), dim=1).square()

    def add(self, weights: Tensor, out: Tensor) -> None:
        """See `Use.add`."""
        out.view(-1).addmv_(self.gradients.reshape(self.records, -1).t(), weights)

    def squares(self) -> Tensor:
        """See `Use.squares`."""
        return self.gradients.square().sum(0)


class Dense(Use):
    """A matrix applied at T positions: gradient[r] = sum_t g[r, t] a[r, t]^T.

    a: (R, T, D), what the matrix was applied to. g: (R, T, P), the gradient of what came out.
    """

    def __init__(self, a: Tensor, g: Tensor) -> None:
        self.a, self.g = a, g
        self.records, self.shape = len(a), torch.Size((g.shape[2], a.shape[2]))
        self._held: Small | None = None

    def each(self, start: int, stop: int) -> Tensor:
        """See `Use.each`."""
        return torch.bmm(self.g[start:stop].transpose(1, 2), self.a[start:stop])

    def squared_norms(self) -> Tensor:
        """sum_ts <a_t, a_s> <g_t, g_s>, or from the gradients themselves where that costs less."""
        positions, (p, d) = self.a.shape[1], self.shape
        if positions == 1:  # |g a^T| = |g| |a|
            return (
                torch.linalg.vector_norm(self.a, dim=(1, 2))
                .mul_(torch.linalg.vector_norm(self.g, dim=(1, 2)))
                .square_()
            )
        held = p * d <= positions * (p + d)  # gradients no larger than what is held already: formed once, and kept
        if not through_positions(positions, d, p, held):
            if held:
                self._held = Small(self.each(0, self.records))
                return self._held.squared_norms()
            return super().squared_norms()
        size = max(1, CHUNK // positions**2)
        parts = [(self.a[i : i + size], self.g[i : i + size]) for i in range(0, self.records, size)]
        return torch.cat([_gram(a).mul_(_gram(g)).sum((1, 2)) for a, g in parts])

    def add(self, weights: Tensor, out: Tensor) -> None:
        """out += (weights g)^T a: the plain weight gradient, of rescaled signals."""
        if self._held is not None:
            self._held.add(weights, out)
        else:
            out.addmm_((self.g * weights.view(-1, 1, 1)).flatten(0, 1).t(), self.a.flatten(0, 1))

    def squares(self) -> Tensor:
        """(g^2)^T a^2 at one position a record; else from the gradients, a few records at a time."""
        if self.a.shape[1] == 1:
            return self.g.flatten(0, 1).square().t() @ self.a.flatten(0, 1).square()
        return super().squares()


def through_positions(t: int, d: int, p: int, held: bool) -> bool:
    """Whether inner products of T positions cost less than the gradients (P, D), in multiply-adds a record.

    Products: t^2 (d + p), and the weighted sum by the layer's own algebra, t d p. Gradients: t d p and the memory they
    go through; those that are not held are formed a few at a time in a cache, and summed by the layer's algebra again.
    """
    products = t * t * (d + p + 2 * TOUCH)
    return products < (TOUCH * d * p if held else (t + TOUCH / 2) * d * p)


def _gram(t: Tensor) -> Tensor:
    return torch.bmm(t, t.transpose(1, 2))


class Lookup(Use):
    """Rows of a table picked by number: gradient[r][v] = sum over t with ids[r, t] = v of g[r, t].

    ids: (R, T) int64. g: (R, T, P). size: V, the rows of the table. padding: the row without a gradient.
    """

    def __init__(self, ids: Tensor, g: Tensor, size: int, padding: int | None) -> None:
        self.ids, self.records, self.shape = ids, len(ids), torch.Size((size, g.shape[2]))
        self.g = g if padding is None else g * (ids != padding).unsqueeze(-1)

    def each(self, start: int, stop: int) -> Tensor:
        """See `Use.each`."""
        ids, g = self.ids[start:stop], self.g[start:stop]
        out = g.new_zeros(len(ids), *self.shape)
        return out.scatter_add_(1, ids.unsqueeze(-1).expand_as(g), g)

    def _distinct(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each pair of a record and a row that it picked: record (U,), row (U,), gradient (U, P)."""
        size = self.shape[0]
        keys = (torch.arange(self.records, device=self.ids.device).unsqueeze(1) * size + self.ids).flatten()
        pairs, where = keys.unique(return_inverse=True)
        sums = self.g.new_zeros(len(pairs), self.shape[1]).index_add_(0, where, self.g.flatten(0, 1))
        return pairs // size, pairs % size, sums

    def squared_norms(self) -> Tensor:
        """See `Use.squared_norms`; linear in T."""
        record, _, sums = self._distinct()
        return sums.new_zeros(self.records).index_add_(0, record, sums.square().sum(1))

    def add(self, weights: Tensor, out: Tensor) -> None:
        """See `Use.add`."""
        out.index_add_(0, self.ids.flatten(), (self.g * weights.view(-1, 1, 1)).flatten(0, 1))

    def squares(self) -> Tensor:
        """See `Use.squares`."""
        _, row, sums = self._distinct()
        return sums.new_zeros(self.shape).index_add_(0, row, sums.square())


class Tied(Use):
    """A table that is looked up and also applied as a matrix (tied embeddings): the two gradients and their product."""

    def __init__(self, lookup: Lookup, dense: Dense) -> None:
        self.lookup, self.dense = lookup, dense
        self.records, self.shape = lookup.records, lookup.shape

    def each(self, start: int, stop: int) -> Tensor:
        """See `Use.each`."""
        return self.lookup.each(start, stop) + self.dense.each(start, stop)

    def squared_norms(self) -> Tensor:
        """|e + w|^2 = |e|^2 + |w|^2 + 2 <e, w>, with <e, w> = sum_ts g_w[s, id_t] <a_s, g_e[t]>."""
        ids = self.lookup.ids.unsqueeze(1).expand(-1, self.dense.g.shape[1], -1)  # (R, S, T)
        product = torch.bmm(self.dense.a, self.lookup.g.transpose(1, 2))  # (R, S, T)
        cross = product.mul_(self.dense.g.gather(2, ids)).sum((1, 2))
        return self.lookup.squared_norms() + self.dense.squared_norms() + 2 * cross

    def add(self, weights: Tensor, out: Tensor) -> None:
        """See `Use.add`."""
        self.lookup.add(weights, out)
        self.dense.add(weights, out)


class Sum(Use):
    """Several uses of one parameter that no algebra joins: their gradients are formed and added."""

    def __init__(self, uses: Sequence[Use]) -> None:
        self.uses, self.records, self.shape = uses, uses[0].records, uses[0].shape

    def each(self, start: int, stop: int) -> Tensor:
        """See `Use.each`."""
        first, *rest = self.uses
        total = first.each(start, stop)
        for use in rest:
            total = total + use.each(start, stop).view(total.shape)
        return total

    def add(self, weights: Tensor, out: Tensor) -> None:
        """See `Use.add`: sums add up by themselves."""
        for use in self.uses:
            use.add(weights, out.view(use.shape))


class Pieces(Use):
    """Uses of some of the rows of a parameter (the projections in one matrix of self-attention).

    parts: which rows, and their use. disjoint: whether no row is in two parts, so that squared lengths add up.
    """

    def __init__(self, parts: Sequence[tuple[slice, Use]], shape: torch.Size, disjoint: bool) -> None:
        self.parts, self.shape, self.disjoint = parts, shape, disjoint
        self.records = parts[0][1].records

    def _placed(self, gradients: Iterable[Tensor], leading: tuple[int, ...] = ()) -> Tensor:
        whole: Tensor | None = None
        for (rows, _), g in zip(self.parts, gradients, strict=True):
            if whole is None:
                whole = g.new_zeros(*leading, *self.shape)
            whole[(*(slice(None) for _ in leading), rows)] += g
        return torch.zeros(self.shape) if whole is None else whole

    def each(self, start: int, stop: int) -> Tensor:
        """See `Use.each`."""
        return self._placed((use.each(start, stop) for _, use in self.parts), (stop - start,))

    def squared_norms(self) -> Tensor:
        """See `Use.squared_norms`."""
        if not self.disjoint:
            return super().squared_norms()
        return torch.stack([use.squared_norms() for _, use in self.parts]).sum(0)

    def add(self, weights: Tensor, out: Tensor) -> None:
        """See `Use.add`."""
        for rows, use in self.parts:
            use.add(weights, out[rows])

    def squares(self) -> Tensor:
        """See `Use.squares`."""
        return self._placed(use.squares() for _, use in self.parts) if self.disjoint else super().squares()


def joined(uses: Sequence[tuple[slice | None, Use]], shape: torch.Size) -> Use:
    """One use from all uses of a parameter of the given shape, each of some of its rows or of all (None)."""
    pieces: dict[tuple[int, int], list[Use]] = {}
    for rows, use in uses:
        pieces.setdefault((0, shape[0] if shape else 1) if rows is None else (rows.start, rows.stop), []).append(use)
    if len(pieces) == 1:
        ((start, stop),) = pieces
        if rows is None or stop - start == shape[0]:
            return _merged(pieces[start, stop])
    parts = [(slice(*piece), _merged(pieces[piece])) for piece in sorted(pieces)]
    disjoint = all(a.stop <= b.start for (a, _), (b, _) in pairwise(parts))
    return Pieces(parts, shape, disjoint)


def _merged(uses: Sequence[Use]) -> Use:
    """Uses of the same rows: the positions of several calls are positions of one."""
    if len(uses) == 1:
        return uses[0]
    dense = [u for u in uses if isinstance(u, Dense)]
    lookups = [u for u in uses if isinstance(u, Lookup)]
    if len(dense) + len(lookups) < len(uses):
        small = [u.gradients for u in uses if isinstance(u, Small)]
        return Small(torch.stack(small).sum(0)) if len(small) == len(uses) else Sum(uses)
    matrix = Dense(torch.cat([u.a for u in dense], 1), torch.cat([u.g for u in dense], 1)) if dense else None
    if not lookups:
        return matrix or uses[0]
    ids, g = torch.cat([u.ids for u in lookups], 1), torch.cat([u.g for u in lookups], 1)
    table = Lookup(ids, g, lookups[0].shape[0], None)  # what padding gets was taken out already
    return table if matrix is None else Tied(table, matrix)
