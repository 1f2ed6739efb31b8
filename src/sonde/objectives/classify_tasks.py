"""Classification with a head for each task: task-incremental learning.

Entry: continual learning.
"""

# N rows, T tasks, K classes a task

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective, SondeError, Term
from sonde.objectives.classify import probabilities


class ClassifyTasks(Objective):
    """The cross-entropy of a classifier whose output has a head for each task, of which a row uses its own.

    net: x (N, ...) -> logits (N, T K), task after task. classes: K; tasks with fewer leave the rest of a head unused.
    y: (N,) int64, the class within the task. The field `task` (N,) int64 says which head answers. To be measured on a
    task for which a growing net has no head yet is to answer that all classes are alike.
    """

    def __init__(self, net: nn.Module, classes: int) -> None:
        super().__init__()
        self.net, self.classes = net, classes

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds the row's own `logits` (N, K) and all `heads` (N, T, K)."""
        if "task" not in batch.fields:
            raise SondeError("ClassifyTasks needs to be told each row's task", "use a stream with scenario='task'")
        heads = self.heads(batch.x)
        logits = self._own(heads, batch.fields["task"])
        value = F.cross_entropy(logits, batch.y, reduction="none")  # (N,)
        return Loss(
            {"task": Term(value, "example", batch.fields.get("weight", 1.0))}, {"logits": logits, "heads": heads}
        )

    def heads(self, x: Any) -> Tensor:
        """Every head's logits, (N, T, K)."""
        z = self.net(x)
        if z.dim() != 2 or z.shape[1] % self.classes:
            shape = tuple(z.shape)
            raise SondeError(
                f"the net gives outputs {shape}, which are not heads of {self.classes} classes each",
                "give the net tasks times classes outputs",
            )
        return z.unflatten(1, (-1, self.classes))

    def _own(self, heads: Tensor, task: Tensor) -> Tensor:
        missing = int(task.max()) + 1 - heads.shape[1] if len(task) else 0
        if missing > 0 and self.training:
            raise SondeError(
                f"a row is of task {int(task.max())}, and the net has {heads.shape[1]} heads",
                "give the net more outputs, or add GrowColumns to a net that grows",
            )
        if missing > 0:
            heads = F.pad(heads, (0, 0, 0, missing))
        index = task.view(-1, 1, 1).expand(-1, 1, self.classes)
        return heads.gather(1, index).squeeze(1)  # (N, K)

    def predict(self, x: Any, task: Tensor) -> Tensor:
        """Class probabilities within each row's task, (N, K)."""
        return probabilities(self._own(self.heads(x), task))

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: accuracy, and the negative log-likelihood of the prediction."""
        p = probabilities(loss.out["logits"])
        true = p.gather(1, batch.y[:, None]).squeeze(1)
        return {"accuracy": (p.argmax(1) == batch.y).float(), "nll": -true.clamp_min(torch.finfo(p.dtype).tiny).log()}
