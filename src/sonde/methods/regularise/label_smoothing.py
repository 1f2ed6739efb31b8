"""Label smoothing.

Entry: label smoothing; regularisation.
"""

from __future__ import annotations

from sonde.core import At, Loss, Method, Refused, Run, Term
from sonde.losses import CrossEntropy

CROSS_ENTROPY = CrossEntropy()


class LabelSmoothing(Method):
    """Mix the labels with the uniform distribution over the C classes (Szegedy et al., 2016, sec. 7).

        task' = (1 - amount) task + amount * mean_c(-log p_c)

    which equals the cross-entropy against the smoothed labels, since cross-entropy is linear in them; so it works with
    MixUp's labels too. Needs an objective whose `out` has `logits`, (N, C) or (N, M, C) for M members.
    """

    def __init__(self, amount: float = 0.1) -> None:
        if not 0 <= amount < 1:
            raise ValueError(f"amount lies in [0, 1); got {amount}")
        self.amount = amount
        self._others: list[str] = []

    def setup(self, run: Run) -> None:
        """Look for another loss than the cross-entropy, which it would mix with one."""
        found = [getattr(module, "loss", CROSS_ENTROPY) for module in run.objective.modules()]
        self._others = [getattr(f, "__name__", type(f).__name__) for f in found if callable(f) and f != CROSS_ENTROPY]

    def loss(self, at: At, loss: Loss) -> Loss:
        """See `Method.loss`."""
        if "logits" not in loss.out or "task" not in loss.terms:
            raise Refused(
                "LabelSmoothing needs a classification objective: one with a `task` term and `logits`",
                "remove LabelSmoothing from the methods",
            )
        if self.amount and self._others:
            raise Refused(
                f"LabelSmoothing mixes in a cross-entropy, and the objective's loss is {self._others[0]}",
                "leave it out, or set its amount to 0: --set methods.label_smoothing.amount=0",
            )
        task = loss.terms["task"]
        uniform = -loss.out["logits"].log_softmax(-1).flatten(1).mean(1)  # (N,), over members and classes
        value = (1 - self.amount) * task.value + self.amount * uniform
        return Loss({**loss.terms, "task": Term(value, task.kind, task.weight)}, loss.out)
