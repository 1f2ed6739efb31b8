"""Dark experience replay: remembered rows with what the model answered when it met them.

Entry: replay; distillation.
"""

# N rows of the batch, M remembered rows, C classes

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from sonde.core import At, Batch, Event, Loss, Method, Refused, Run, Stepped, Term
from sonde.methods.continual.memory import Keep, Memory, only_memory
from sonde.methods.continual.replay import SHARE, beside, refuse_mixed, shared_out

LOGITS, MATCH = "replay logits", "replay match"
"""The fields with the remembered answers, and with what each row's match to them counts for."""


class DarkReplay(Method):
    """Hold the model to its earlier answers and labels on remembered rows: DER++ (Buzzega et al., 2020, eq. 6).

        L = mean_new ce(y, h(x)) + alpha mean_M' ||z' - h(x')||^2 + beta mean_M'' ce(y'', h(x''))

    alpha: of the match to the logits z' that were stored when the row was met. beta: of the labels; 0 gives DER.
    capacity: rows held. rows: M' and M'', two draws a step. keep: `reservoir` (the paper's) or `class-balanced`.
    seed: of the memory's own generator.

    The norm is the paper's, a sum over classes (the authors' code takes the mean, so its alpha is C times this one).
    New and remembered rows are one batch, so BatchNorm sees them together. Every row of every pass is offered to the
    memory, since its logits are of that moment. What is stored is the row as it is where this method stands in the
    list, before later augmentation, with the logits of the augmented row, as in the authors' code. Private training is
    refused, as for `Replay`.
    """

    remembers = True

    remembers = True

    def __init__(
        self,
        capacity: int = 1000,
        rows: int = 32,
        alpha: float = 0.1,
        beta: float = 0.5,
        keep: Keep = "reservoir",
        seed: int = 0,
    ) -> None:
        if rows < 1 or not (alpha >= 0 and beta >= 0):
            raise ValueError(f"rows is at least 1, alpha and beta at least 0; got {rows}, {alpha} and {beta}")
        self.memory = Memory(capacity, keep, seed, owner="DarkReplay")
        self.count, self.alpha, self.beta = rows, alpha, beta
        self._new: Batch | None = None  # the step's own rows, until their logits are known

    def setup(self, run: Run) -> None:
        """See `Method.setup`."""
        only_memory(run, self)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """See `Method.batch`."""
        self.memory.check(batch)
        self._new = batch
        lots: list[tuple[Batch, float, float]] = []  # rows, strength of their labels, of their logits
        if self.alpha and (drawn := self.memory.draw(self.count)) is not None:
            lots.append((drawn, 0.0, self.alpha))
        if self.beta and (drawn := self.memory.draw(self.count)) is not None:
            lots.append((drawn, self.beta, 0.0))
        if not lots:
            return batch
        bare = [replace(lot, fields={k: v for k, v in lot.fields.items() if k != LOGITS}) for lot, _, _ in lots]
        whole = beside(batch, [(lot, label) for lot, (_, label, _) in zip(bare, lots, strict=True)])
        total = float(len(whole))
        stored = [lot.fields[LOGITS] for lot, _, _ in lots]
        logits = torch.cat([stored[0].new_zeros(len(batch), *stored[0].shape[1:]), *stored])  # (N + M' + M'', C)
        weights = [torch.zeros(len(batch)), *(torch.full((len(lot),), a * total / len(lot)) for lot, _, a in lots)]
        match = torch.cat(weights).to(whole.fields[SHARE].device)
        return replace(whole, fields={**whole.fields, LOGITS: logits.to(match.device), MATCH: match})

    def loss(self, at: At, loss: Loss) -> Loss:
        """See `Method.loss`."""
        if "logits" not in loss.out:
            raise Refused("DarkReplay remembers logits, and this objective has none", "use Replay, which keeps labels")
        refuse_mixed(self._new, at.batch, "DarkReplay")
        loss = shared_out(at.batch, loss)
        if MATCH not in at.batch.fields or not self.alpha:
            return loss
        logits = loss.out["logits"]
        value = (logits - at.batch.fields[LOGITS].to(logits)).pow(2).flatten(1).sum(1)  # (N + M' + M'',)
        return loss.with_term("dark", Term(value, "example", at.batch.fields[MATCH].to(value)))

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Stepped) and self._new is not None:
            new, self._new = self._new, None
            self.memory.offer(_answered(new, event), run.stage)

    def state_dict(self) -> dict[str, Any]:
        """The memory."""
        return {"memory": self.memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.memory.load_state_dict(state["memory"])


def _answered(new: Batch, event: Stepped) -> Batch:
    """The step's own rows with the logits that the model gave them."""
    logits, used = next(iter(event.losses.values())).out["logits"], event.batch.records
    moved = used is not None and new.records is not None and not torch.equal(used[: len(new)].cpu(), new.records.cpu())
    if moved or len(logits) != len(event.batch) or len(logits) < len(new):
        raise Refused(
            "DarkReplay cannot tell which logits are of which record: a later method moves rows", "use Replay"
        )
    return replace(new, fields={**new.fields, LOGITS: logits[: len(new)]})
