"""The default gradient estimator: reverse-mode differentiation of the mean loss."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .batch import Batch
from .engine import anywhere, average
from .errors import SondeError
from .loss import Loss
from .method import Grads, Method, Params

if TYPE_CHECKING:
    from .run import Run


class NonFinite(SondeError):
    """A loss or a gradient became NaN or infinite; the step was not taken."""


class Backprop(Method):
    """The gradient of the mean loss by backpropagation (Rumelhart, Hinton and Williams, 1986).

    It goes through `backward()` and `.grad`, on which DDP's overlap, FSDP2's reduce-scatter and fused optimisers hang.

    microbatch: at most this many rows are differentiated at a time and their gradients added, so that memory no
        longer grows with the batch; 0 differentiates the batch whole. The result equals the whole batch's gradient
        (to rounding) because the mean divides by the whole batch's rows; `batch` terms, which no sum over parts can
        give, are refused, and BatchNorm sees a microbatch at a time.

    Under `16-mixed` the loss is multiplied by a scale so that small gradients survive float16. When the scaled
    gradient overflows the scale is halved and the step computed again (others skip the step); after 2000 steps
    without overflow it is doubled (Micikevicius et al., 2018, sec. 3.2).

    Entry: backpropagation; reverse-mode autodiff; chain rule; mixed precision.
    """

    def __init__(self, microbatch: int = 0) -> None:
        if microbatch < 0:
            raise ValueError(f"microbatch is a number of rows, 0 for the whole batch; got {microbatch}")
        self.microbatch = microbatch
        self.scale, self.calm = 2.0**16, 0  # 16-mixed only: the loss scale, and steps since it overflowed

    def estimate(self, run: Run, turn: str, batch: Batch, record: bool) -> Grads:
        """See `Method.estimate`; `.grad` of the turn's parameters holds the result."""
        params = run.params(turn)
        if run.engine.precision != "16-mixed":
            return self._backward(run, turn, params, batch, record, 1.0)
        buffers = [(b, b.clone()) for b in run.objective.buffers()] if record else []
        for _ in range(40):  # 2^16 halved 40 times is far below any useful scale
            grads = self._backward(run, turn, params, batch, record, self.scale)
            if all_finite(grads, run.sharded):
                self.calm += 1
                inverse = 1.0 / self.scale
                if self.calm >= 2000:
                    self.scale, self.calm = 2 * self.scale, 0
                for g in grads.values():
                    g.mul_(inverse)
                return grads
            self.scale, self.calm = self.scale / 2, 0
            for buffer, before in buffers:  # a step computed again must not move running statistics again
                buffer.copy_(before)
        return grads

    def _backward(self, run: Run, turn: str, params: Params, batch: Batch, record: bool, scale: float) -> Grads:
        failure: NonFinite | None = None
        for p in params.values():
            p.grad = None
        if not self.microbatch or len(batch) <= self.microbatch:
            loss = run.loss(turn, params, batch, record)
            if run.shared:
                _refuse_joint(loss, "several processes", "train in one process")
            start, seed = loss.start(batch.denominator)
            failure = self._differentiate(run, params, start, seed, loss, batch, scale)
        else:
            parts = list(batch.parts(self.microbatch))
            losses: list[Loss] = []
            for i, part in enumerate(parts):
                with self._without_sync(run, last=i == len(parts) - 1):
                    loss = run.loss(turn, params, part, record)
                    _refuse_joint(loss, "microbatches", "leave Backprop(microbatch=...) out, or use a smaller batch")
                    # A penalty reads no rows: it is added once, not once a microbatch.
                    total = loss.total(*(() if i == 0 else ("example",)), denominator=part.denominator)
                    failure = self._differentiate(run, params, total, None, loss, part, scale) or failure
                    losses.append(loss.detach())
            if record:
                run.recorded(turn, Loss.join(losses))
        grads = {k: g for k, p in params.items() if (g := p.grad) is not None}
        if run.shared:
            if run.engine.parallel == "ddp" and run.call is run.objective:
                average(grads.values(), run.objective.buffers() if record else ())
            if run.checks and anywhere(failure is not None):
                raise failure or NonFinite(f"step {run.step}: the loss on another process is not finite", _REMEDY)
        return grads

    def _differentiate(
        self, run: Run, params: Params, start: Tensor, seed: Tensor | None, loss: Loss, batch: Batch, scale: float
    ) -> NonFinite | None:
        failure = None
        if run.checks and not math.isfinite((start if seed is None else start.detach().sum()).item()):
            failure = nonfinite_loss(run.step, loss, batch)
            if not run.shared:
                raise failure
            # Of several processes all must stop, once they have met: the others are waiting for this gradient.
        if not start.requires_grad:
            return failure
        if scale != 1.0:
            start = start * scale
        # In a game, the other players' parameters must not collect this turn's gradient.
        torch.autograd.backward(start, seed, inputs=None if run.alone else list(params.values()))
        return failure

    def _without_sync(self, run: Run, last: bool) -> AbstractContextManager[Any]:
        if not last and isinstance(run.call, nn.parallel.DistributedDataParallel):
            return run.call.no_sync()
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """The loss scale of `16-mixed`."""
        return {"scale": self.scale, "calm": self.calm}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.scale, self.calm = state["scale"], state["calm"]


def _refuse_joint(loss: Loss, what: str, remedy: str) -> None:
    if joint := [k for k, t in loss.terms.items() if t.kind == "batch"]:
        raise SondeError(f"{what} cannot give the terms {joint}: they depend on all rows of the batch at once", remedy)


def first_nonfinite(grads: Grads) -> str | None:
    """The name of the first parameter whose gradient (this process's part of it) is NaN or infinite, or None."""
    for name, g in grads.items():
        if not torch.isfinite(_local(g)).all():
            return name
    return None


def all_finite(grads: Grads, sharded: bool = False) -> bool:
    """Whether every gradient is finite, waiting for the device once. sharded: each process holds a part of each.

    A sum is not finite if any summand is not, and costs a tenth of `isfinite().all()`; finite gradients may overflow
    it, hence the second look.
    """
    tensors = [_local(g) for g in grads.values()] if sharded else list(grads.values())
    if not tensors:
        return True
    total = 0.0
    if tensors[0].is_cpu:
        for g in tensors:
            total += g.sum().item()
    else:
        total = torch.stack([g.sum().float() for g in tensors]).sum().item()
    finite = math.isfinite(total) or first_nonfinite(grads) is None
    return not anywhere(not finite) if sharded else finite


def _local(gradient: Tensor) -> Tensor:
    return gradient.to_local() if hasattr(gradient, "to_local") else gradient


def nonfinite_loss(step: int, loss: Loss, batch: Batch) -> NonFinite:
    """Names the step, the term and the records of a loss that is not finite."""
    for name, term in loss.terms.items():
        value = term.weight * term.value
        bad = ~torch.isfinite(value.detach())
        if bad.any():
            where = ""
            if term.kind == "example" and batch.records is not None and len(batch.records) == len(bad):
                where = f" for records {_some(batch.records[bad].tolist())}"
            return NonFinite(f"step {step}: loss term {name!r} is not finite{where}", _REMEDY)
    return NonFinite(f"step {step}: the sum of the loss terms is not finite", _REMEDY)


def nonfinite_gradient(step: int, name: str | None, batch: Batch) -> NonFinite:
    """Names the step, the parameter and the records of a gradient that is not finite."""
    name = name or "a parameter that another process holds"
    where = "" if batch.records is None else f" on records {_some(batch.records.tolist())}"
    return NonFinite(f"step {step}: the gradient of {name} is not finite{where}", _REMEDY)


_REMEDY = "look at those records; else lower the learning rate, clip the gradient (--with clip) or use precision 32"


def _some(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:8])) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
