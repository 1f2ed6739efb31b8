"""Distillation: a small net learns the answers of a trained one, not only the labels.

Hinton, Vinyals and Dean, Distilling the knowledge in a neural network, 2015, sec. 2. Differences from the paper: the
weights of the two parts add up to one, and the soft part is a divergence, which differs from the paper's cross-entropy
by the entropy of the teacher, a constant, and is zero where the student answers as the teacher does.

Entry: distillation.
"""

# N rows, M members, C classes

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import At, Loss, Method, Refused, Run, SondeError, Term

from ._teacher import Teacher


class Distil(Method):
    """Learn a trained model's probabilities beside the labels (Hinton et al., 2015).

        task' = (1 - alpha) task + alpha T^2 KL(p^T || q^T),   p^T = softmax(teacher / T),  q^T = softmax(student / T)

    teacher: the folder of a run or of its model, or a module whose output is logits (N, C), or a classification
        objective. A copy of it is kept, in evaluation mode, so that row i of the new term depends on row i alone.
    temperature: T > 0; the higher, the more the small probabilities count. alpha: in [0, 1]; 0 is the task alone.

    T^2 keeps the gradient's size when T changes (sec. 2). The teacher sees what the student sees, augmentation
    included. Private training covers the rows it is given, not those that the teacher learnt from.
    """

    def __init__(self, teacher: str | nn.Module, temperature: float = 4.0, alpha: float = 0.5) -> None:
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature is above 0; got {temperature}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha lies in [0, 1]; got {alpha}")
        self.temperature, self.alpha = temperature, alpha
        self._teacher = Teacher(teacher)

    def setup(self, run: Run) -> None:
        """Open the teacher."""
        self._teacher.open(run)
        if self._teacher.task not in ("", "classification"):
            raise Refused("Distil softens the probabilities of classes, and its teacher is no classifier", _REMEDY)

    def loss(self, at: At, loss: Loss) -> Loss:
        """See `Method.loss`."""
        if "logits" not in loss.out or "task" not in loss.terms:
            raise Refused("Distil needs a classification objective: one with a `task` term and `logits`", _REMEDY)
        if self.alpha == 0:
            return loss
        task, student = loss.terms["task"], loss.out["logits"].float()
        teacher = self._teacher.logits(at.turn, at.batch)
        if teacher.shape[-1] != student.shape[-1] or len(teacher) != len(student):
            raise SondeError(
                f"the teacher answers with {tuple(teacher.shape[1:])} numbers a row, "
                f"the student with {tuple(student.shape[1:])}",
                "choose a teacher that was trained on the same classes",
            )
        soft = Term(softened(student, teacher, self.temperature), task.kind, self.alpha * task.weight)
        return Loss(
            {**loss.terms, "task": Term(task.value, task.kind, (1 - self.alpha) * task.weight)}, loss.out
        ).with_term("distil", soft)

    def state_dict(self) -> dict[str, Any]:
        """Which teacher it is."""
        return self._teacher.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._teacher.load_state_dict(state)


def softened(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), (N,), of logits (N, C) or (N, M, C).

    A teacher of several members answers with the mean of their probabilities; each member of a student learns it.
    """
    p = (teacher / temperature).softmax(-1)
    p = p if p.dim() == 2 else p.mean(1)  # (N, C)
    q = (student / temperature).log_softmax(-1)  # (N, C) or (N, M, C)
    p = p if q.dim() == 2 else p[:, None]
    kl = (torch.xlogy(p, p) - p * q).sum(-1)  # (N,) or (N, M)
    return temperature**2 * (kl if kl.dim() == 1 else kl.mean(1))


_REMEDY = "leave it out, or train a classifier"
