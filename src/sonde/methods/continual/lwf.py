"""Learning without forgetting: new rows keep the answers of the model as it was before them.

Entry: distillation; catastrophic forgetting.
"""

# N rows, C classes, T tasks with K classes each

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from sonde.core import At, Event, Loss, Method, Objective, Refused, Run, Started, Stepped, Term


class LearningWithoutForgetting(Method):
    """Distil the model of the last stage on the rows of this one (Li and Hoiem, 2018, eqs. 3 to 6).

        L + strength * mean_i -sum_c y'_ic log z'_ic,    y' = softmax(old logits / T), z' = softmax(logits / T)

    strength: lambda_o. temperature: T > 0 (2 in the paper).

    The sums run over the classes met in earlier stages (new classes have no old answer); of an objective with a head a
    task, over the heads of earlier tasks. The old model answers in evaluation mode, on the rows as the new one sees
    them. It keeps no records: under private training the old model is as private as the new one.
    """

    def __init__(self, strength: float = 1.0, temperature: float = 2.0) -> None:
        if not strength >= 0 or not temperature > 0:
            raise ValueError(f"strength is at least 0 and temperature above 0; got {strength} and {temperature}")
        self.strength, self.temperature = strength, temperature
        self.old: dict[str, Tensor] = {}  # the weights at the end of the last stage
        self.met: list[int] = []  # classes, or tasks of an objective with heads, met in earlier stages
        self.meeting: list[int] = []  # and in this one
        self._teacher: Objective | None = None

    def setup(self, run: Run) -> None:
        """See `Method.setup`."""
        if run.sharded:
            raise Refused("LearningWithoutForgetting copies the model, and fsdp shards it", "use --parallel ddp")

    def loss(self, at: At, loss: Loss) -> Loss:
        """See `Method.loss`."""
        _answers(loss)
        if self._teacher is None or not self.met:
            return loss
        with torch.no_grad(), at.run.engine.autocast(at.run.device):
            before = _answers(self._teacher(at.turn, at.batch))  # (N, C) or (N, T, K)
        now = _answers(loss)
        index = torch.tensor(self.met, device=now.device)
        heads = "heads" in loss.out
        old, new = (z.index_select(1, index).float() / self.temperature for z in (before, now))
        value = -(old.softmax(-1) * new.log_softmax(-1)).sum(-1)  # (N,), or (N, heads)
        return loss.with_term("old answers", Term(value.sum(1) if heads else value, "example", self.strength))

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started):
            if run.done == 0 and run.stage:
                self.met, self.meeting = sorted({*self.met, *self.meeting}), []
                self.old = {k: v.detach().clone() for k, v in run.objective.state_dict().items()}
            self._teacher = self._revived(run) if self.old else None
        elif isinstance(event, Stepped):
            self._meet(event)

    def _meet(self, event: Stepped) -> None:
        heads = any("heads" in loss.out for loss in event.losses.values())
        met = event.batch.fields["task"] if heads else event.batch.y
        if met.dim() == 2:  # probabilities: smoothed or mixed labels
            found = met.amax(0).nonzero().squeeze(1)
        else:
            found = met.unique()
        self.meeting = sorted({*self.meeting, *found.tolist()})

    def _revived(self, run: Run) -> Objective:
        teacher = copy.deepcopy(run.objective).requires_grad_(False).eval()
        teacher.load_state_dict(self.old)
        for p in teacher.parameters():
            p.grad = None
        return teacher

    def state_dict(self) -> dict[str, Any]:
        """The old model and which classes it knows."""
        return {"old": self.old, "met": self.met, "meeting": self.meeting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.old = {k: v.clone() for k, v in state["old"].items()}
        self.met, self.meeting = list(state["met"]), list(state["meeting"])


def _answers(loss: Loss) -> Tensor:
    answers = loss.out.get("heads", loss.out.get("logits"))
    if answers is None:
        raise Refused(
            "LearningWithoutForgetting distils the logits of classes, and this objective has none",
            "remove LearningWithoutForgetting",
        )
    return answers
