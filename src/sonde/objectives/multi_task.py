"""Several tasks on one trunk, each with a head and an objective of its own; and weights between them that are learned.

Caruana, Multitask learning, 1997; Kendall, Gal and Cipolla, Multi-task learning using uncertainty to weigh losses for
scene geometry and semantics, 2018.

Entry: custom losses.
"""

# N rows, K terms

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective, SondeError, Term


class MultiTask(Objective):
    """The sum of the losses of several tasks that read one trunk.

    trunk: x (N, ...) -> features, which the net of every task reads. tasks: by name, objectives of one player each
    (`Classify(head)`, `Regress(head)`); the y of a task is the batch's field of its name. The terms and what the tasks
    answer carry the task's name before their own: `digit.task`.
    """

    def __init__(self, trunk: nn.Module, tasks: Mapping[str, Objective]) -> None:
        super().__init__()
        for name, task in tasks.items():
            if tuple(task.players()) != ("model",):
                raise SondeError(
                    f"the task {name!r} is a game of {', '.join(task.players())}",
                    "give tasks of one player, e.g. Classify",
                )
        self.trunk, self.tasks = trunk, nn.ModuleDict(tasks)

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`."""
        shared = replace(batch, x=self.trunk(batch.x))
        terms: dict[str, Term] = {}
        out: dict[str, Tensor] = {}
        for name, task in self.tasks.items():
            loss = task(turn, self._of(name, shared))
            terms |= {f"{name}.{k}": term for k, term in loss.terms.items()}
            out |= {f"{name}.{k}": value for k, value in loss.out.items()}
        return Loss(terms, out)

    def _of(self, name: str, batch: Batch) -> Batch:
        if name not in batch.fields:
            raise SondeError(
                f"the task {name!r} needs the field {name!r}, and the batch has {', '.join(batch.fields) or 'none'}",
                "give the data a field for every task",
            )
        return replace(batch, y=batch.fields[name])

    def predict(self, x: Any) -> dict[str, Tensor]:
        """What each task predicts, by its name."""
        h = self.trunk(x)
        return {name: task.predict(h) for name, task in self.tasks.items()}  # type: ignore[operator]

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: the scores of every task."""
        found: dict[str, Tensor] = {}
        for name, task in self.tasks.items():
            own = {k.removeprefix(f"{name}."): v for k, v in loss.out.items() if k.startswith(f"{name}.")}
            terms = {k.removeprefix(f"{name}."): t for k, t in loss.terms.items() if k.startswith(f"{name}.")}
            if callable(score := getattr(task, "scores", None)):
                scores = score(self._of(name, batch), Loss(terms, own))
                found |= {f"{name}.{k}": v for k, v in scores.items()}
        return found


class UncertaintyWeighted(Objective):
    """Weigh the terms of an objective by how uncertain each is, which is learned (Kendall et al., 2018, eq. 7 and 10).

        sum_k exp(-s_k) term_k + s_k / 2,   s_k = log sigma_k^2, at first 0

    objective: of one player. terms: which of its terms are weighed; the others stay. At the best s a term counts
    1 / (2 mean of the term), whatever its unit, so that the factor 1/2 which the paper has for a squared error and not
    for a cross-entropy moves s by log 2 and nothing else. s_k / 2 depends on parameters alone: a `penalty`.
    """

    def __init__(self, objective: Objective, terms: Sequence[str]) -> None:
        super().__init__()
        if tuple(objective.players()) != ("model",):
            raise SondeError(
                "UncertaintyWeighted weighs the terms of one player, and this objective is a game", "weigh them by hand"
            )
        if len(set(terms)) != len(terms) or not terms:
            raise SondeError(f"UncertaintyWeighted is to weigh the terms {tuple(terms)}", "name each of them once")
        self.objective, self.terms = objective, tuple(terms)
        self.log_variance = nn.Parameter(torch.zeros(len(terms)))  # s, (K,)

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`."""
        loss: Loss = self.objective(turn, batch)
        if unknown := [name for name in self.terms if name not in loss.terms]:
            raise SondeError(f"the objective has no term {unknown[0]!r}", f"choose terms from {', '.join(loss.terms)}")
        terms = dict(loss.terms)
        for name, s in zip(self.terms, self.log_variance, strict=True):
            term = terms[name]
            terms[name] = Term((-s).exp() * term.value, term.kind, term.weight)
            terms[f"{name}.log_sigma"] = Term(s / 2, "penalty")
        return Loss(terms, loss.out)

    def predict(self, x: Any) -> Any:
        """What the objective predicts."""
        return self.objective.predict(x)  # type: ignore[operator]

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: the objective's scores."""
        score: Any = getattr(self.objective, "scores", None)
        return {} if score is None else score(batch, loss)
