"""A loss is a set of named terms, each typed by what it depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .batch import map_tree

Kind = Literal["example", "batch", "penalty"]
KINDS = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of a loss. Its kind is what other methods must know to compose with it.

    value: what is summed: (N,) for `example`, a scalar for the others.
    kind: `example`: row i depends on row i alone, so it may be clipped, reweighted, split into microbatches.
        `batch`: depends on several rows jointly, so per-record methods refuse it.
        `penalty`: depends on the parameters only, so it needs neither clipping nor noise.
    weight: a factor: a number, or (N,) for `example`.
    """

    value: Tensor
    kind: Kind = "example"
    weight: Tensor | float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a term's kind is one of {', '.join(KINDS)}; got {self.kind!r}")
        if (self.kind == "example") != (self.value.dim() == 1):
            shape = tuple(self.value.shape)
            raise ValueError(
                f"an example term has one value a row, shape (N,), the other kinds are scalars; got a {self.kind!r} "
                f"term of shape {shape}. Reduce within rows only: the mean over rows is taken once, by Loss.total"
            )
        if isinstance(self.weight, Tensor) and self.weight.shape not in ((), self.value.shape):
            shape, given = tuple(self.value.shape), tuple(self.weight.shape)
            # It would broadcast rows against rows: a plausible number, and a wrong one.
            raise ValueError(f"a weight is a number or has the term's shape {shape}; got {given}")

    def reduce(self, denominator: float | None = None) -> Tensor:
        """The term as a scalar: an `example` term is averaged over rows (or divided by `denominator`)."""
        weighted = self.value if isinstance(self.weight, float) and self.weight == 1.0 else self.weight * self.value
        if self.kind != "example":  # a penalty on sharded parameters is a sum over processes
            return weighted.full_tensor() if hasattr(weighted, "full_tensor") else weighted
        return weighted.mean() if denominator is None else weighted.sum() / denominator


@dataclass(frozen=True, slots=True)
class Loss:
    """Named terms, and what the model answered on the way (logits, features, samples).

    >>> loss = Loss({"task": Term(torch.tensor([1.0, 3.0]))}).with_term("l2", Term(torch.tensor(4.0), "penalty", 0.5))
    >>> loss.total().item(), loss.total("penalty").item()
    (4.0, 2.0)
    """

    terms: Mapping[str, Term]
    out: Mapping[str, Tensor] = field(default_factory=dict)

    def with_term(self, name: str, term: Term) -> Loss:
        """This loss with one more summand."""
        if name in self.terms:
            raise ValueError(f"loss term {name!r} is already defined; choose another name than {sorted(self.terms)}")
        return replace(self, terms={**self.terms, name: term})

    def detach(self) -> Loss:
        """The same numbers without their history."""
        terms = {k: Term(t.value.detach(), t.kind, map_tree(Tensor.detach, t.weight)) for k, t in self.terms.items()}
        return Loss(terms, map_tree(Tensor.detach, self.out))

    def total(self, *kinds: Kind, denominator: float | None = None) -> Tensor:
        """The sum of all terms, or of those of the given kinds: the only place where rows are averaged."""
        total: Tensor | None = None
        for term in self.terms.values():
            if not kinds or term.kind in kinds:
                reduced = term.reduce(denominator)
                total = reduced if total is None else total + reduced
        if total is not None:
            return total
        device = next((t.value.device for t in self.terms.values()), None)
        return torch.zeros((), device=device)

    def start(self, denominator: float | None = None) -> tuple[Tensor, Tensor | None]:
        """Where backpropagation of the total starts: a tensor and the gradient that it is seeded with (None for 1).

        A lone unweighted `example` term starts at its rows, each seeded with 1/N: the same gradient to the bit,
        without the mean in the graph.
        """
        if len(self.terms) == 1:
            (term,) = self.terms.values()
            if term.kind == "example" and isinstance(term.weight, float) and term.weight == 1.0 and len(term.value):
                value = term.value
                return value, torch.full_like(value, 1.0 / (len(value) if denominator is None else denominator))
        return self.total(denominator=denominator), None

    @staticmethod
    def join(parts: Sequence[Loss]) -> Loss:
        """The loss of a batch from the losses of its microbatches; penalties are those of the first."""
        if len(parts) == 1:
            return parts[0]
        terms = {}
        for name, term in parts[0].terms.items():
            if term.kind == "example":
                weights = [_rows(p.terms[name].weight, p.terms[name].value) for p in parts]
                plain = all(not isinstance(p.terms[name].weight, Tensor) for p in parts)
                weight = term.weight if plain else torch.cat(weights)
                term = Term(torch.cat([p.terms[name].value for p in parts]), "example", weight)
            terms[name] = term
        whole = {k for k, v in parts[0].out.items() if isinstance(v, Tensor) and v.dim() > 0}
        return Loss(terms, {k: torch.cat([p.out[k] for p in parts]) for k in whole})


def _rows(weight: Any, value: Tensor) -> Tensor:
    return weight.expand_as(value) if isinstance(weight, Tensor) else torch.full_like(value, weight)
