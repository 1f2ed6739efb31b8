"""The diagonal of the Fisher information: mean squares of per-record gradients, never the square of a mean."""

# N rows, C classes

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from sonde.core import Batch, Grads, Loss, Method, Params, Refused, Run, Source
from sonde.per_record import ByRecord

Kind = Literal["true", "empirical"]


def diagonal(run: Run, turn: str, source: Source, reader: Method, kind: Kind, rows: int) -> Grads:
    """F_k, the mean over records of the squared derivative by theta_k of the objective's loss, at the parameters.

    kind: `empirical`: at the records' own labels. `true`: the expectation over labels drawn from the model, taken
        exactly, class by class: sum_c p(c | x) (d log p(c | x) / d theta_k)^2 (Martens, 2020, sec. 11).
    rows: at most this many of the first pass over `source`; 0 for all.

    The objective is in evaluation mode, so that rows are independent, and other methods' terms are left out.
    """
    params = run.params(turn)
    total = {k: torch.zeros_like(p) for k, p in params.items()}
    by_record = ByRecord(run.objective)
    read = records = 0
    with _evaluated(run):
        for batch in islice(run.read(source, reader), source.steps_per_epoch):
            batch = batch[: rows - read] if rows and read + len(batch) > rows else batch
            values = [partial(_own, run, turn)] if kind == "empirical" else _of_classes(run, turn, batch)
            for value in values:
                per = by_record(value, params, batch, batch.records)
                for k, square in per.squares().items():
                    total[k] += square
            read, records = read + len(batch), records + per.records
            if rows and read >= rows:
                break
    return {k: v / max(1, records) for k, v in total.items()}


def check(run: Run, turn: str, source: Source, reader: Method, kind: Kind) -> None:
    """Refuse what `diagonal` would, by evaluating the first batch."""
    with _evaluated(run), torch.no_grad():
        for batch in islice(run.read(source, reader), 1):
            value = _own if kind == "empirical" else partial(_of_class, c=0)
            value(run, turn, params=run.params(turn), batch=batch)


@contextmanager
def _evaluated(run: Run) -> Iterator[None]:
    """The objective in evaluation mode, and what it draws drawn aside."""
    modes = {m: m.training for m in run.objective.modules()}
    run.objective.eval()
    try:
        with torch.random.fork_rng([run.device] if run.device.type == "cuda" else []):
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _own(run: Run, turn: str, params: Params, batch: Batch) -> Tensor:
    """The objective's loss, one value a row, (N,)."""
    loss = run.forward(turn, params, batch)
    if joint := [k for k, t in loss.terms.items() if t.kind == "batch"]:
        raise Refused(
            f"EWC squares gradients of one record each, and the terms {joint} depend on several at once", "remove EWC"
        )
    if not (rows := [t.weight * t.value for t in loss.terms.values() if t.kind == "example"]):
        raise Refused(
            f"EWC squares gradients of one record each, and in the turn {turn!r} no term depends on a record",
            "remove EWC",
        )
    return torch.stack(rows).sum(0)


def _of_classes(run: Run, turn: str, batch: Batch) -> list[partial[Tensor]]:
    with torch.no_grad():
        classes = _logits(run.forward(turn, run.params(turn), batch)).shape[1]
    return [partial(_of_class, run, turn, c=c) for c in range(classes)]


def _of_class(run: Run, turn: str, params: Params, batch: Batch, c: int) -> Tensor:
    """The loss of class c, (N,), by the square root of its probability, which is squared with the derivative."""
    log_p = _logits(run.forward(turn, params, batch)).float().log_softmax(-1)[:, c]  # (N,)
    return -(log_p.detach() / 2).exp() * log_p


def _logits(loss: Loss) -> Tensor:
    logits = loss.out.get("logits")
    if logits is None or logits.dim() != 2:
        raise Refused(
            "EWC's true Fisher draws labels from the model's probabilities, and this objective gives no logits (N, C)",
            "give EWC fisher='empirical', which takes the records' own labels",
        )
    return logits
