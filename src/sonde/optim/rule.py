"""What the update rules written here share: parameters taken in pieces that stay in a processor's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

PIECE = 1 << 16  # numbers: of four float32 tensors 1 MiB, which a current core's own cache holds


class Rule(torch.optim.Optimizer):
    """A torch optimiser whose subclasses say in `move` what a group's parameters with a gradient do.

    Numbers of a state keep their own precision when it is loaded (torch rounds them to the parameter's), so that a
    resumed run has the bits of one that went on. Parameters without a gradient take no step and age by none.
    """

    whole = False
    """Whether it needs each matrix whole, so that parameters sharded over processes are refused."""

    def move(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """One step of the parameters of a group that have a gradient, laid out as they are."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `closure` evaluates the loss and its gradient again, and its value is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self.move(group, params, [_like(p, p.grad) for p in params])
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `torch.optim.Optimizer.load_state_dict`."""
        super().load_state_dict(state_dict)
        places = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        mine = chain.from_iterable(group["params"] for group in self.param_groups)
        for place, p in zip(places, mine, strict=True):
            for name, value in state_dict["state"].get(place, {}).items():
                self.state[p][name] = _kept(value, p.device)

    def aged(self, params: Sequence[Tensor]) -> dict[int, list[int]]:
        """Count a step for each parameter: the places in `params` of those that have taken 1, 2, ... steps."""
        ages: dict[int, list[int]] = {}
        for i, p in enumerate(params):
            state = self.state[p]
            state["step"] = state.get("step", 0) + 1
            ages.setdefault(state["step"], []).append(i)
        return ages

    def kept(self, params: Sequence[Tensor], name: str, start: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """The state `name` of each parameter, begun by `start(parameter)`."""
        found = []
        for p in params:
            state = self.state[p]
            if name not in state:
                state[name] = start(p)
            found.append(state[name])
        return found


def pieces(*lists: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """Views of aligned lists of tensors, in turn, and room for as many numbers: long tensors cut, short ones bundled.

    A rule that goes over its tensors in several operations is bound by memory; over a piece it is not. The i-th tensors
    of all lists have the shape and layout of each other; a sharded one stands for the part that this process holds.
    The last list of a piece holds tensors like the first's, of any content. Only a CPU has pieces.
    """
    tensors = [[t.to_local() if hasattr(t, "to_local") else t for t in ts] for ts in lists]
    if not tensors[0] or tensors[0][0].device.type != "cpu":
        yield (*tensors, [torch.empty_like(t) for t in tensors[0]])
        return
    size = PIECE * torch.get_num_threads()
    rooms: dict[torch.dtype, Tensor] = {}
    bundle: tuple[list[Tensor], ...] = tuple([] for _ in range(len(lists) + 1))
    held = 0
    for row in zip(*tensors, strict=True):
        first, flat = row[0], _flat(row)
        if flat is None:  # gaps in memory: such a tensor is a piece, as it is
            yield (*([t] for t in row), [torch.empty_like(first)])
            continue
        if first.dtype not in rooms:
            rooms[first.dtype] = torch.empty(size, dtype=first.dtype)
        room = rooms[first.dtype]
        for cut in zip(*(t.split(size) for t in flat), strict=True):
            count = len(cut[0])
            if count == size:  # a bundle that waits has nothing in the room yet
                yield (*([t] for t in cut), [room])
                continue
            if held + count > size:
                yield bundle
                bundle, held = tuple([] for _ in range(len(lists) + 1)), 0
            for part, t in zip(bundle, (*cut, room[held : held + count]), strict=True):
                part.append(t)
            held += count
    if held:
        yield bundle


def lerp_into(room: list[Tensor], start: list[Tensor], end: list[Tensor], share: float) -> None:
    """room = start + share (end - start)."""
    if room[0].is_cpu:
        for r, s, e in zip(room, start, end, strict=True):
            torch.lerp(s, e, share, out=r)
    else:
        torch._foreach_copy_(room, start)
        torch._foreach_lerp_(room, end, share)


def _flat(row: tuple[Tensor, ...]) -> list[Tensor] | None:
    """The tensors as vectors in the order of their memory; None if they are laid out differently, or with gaps."""
    first = row[0]
    if all(t.is_contiguous() for t in row):
        return [t.view(-1) for t in row]
    if any(t.stride() != first.stride() for t in row):
        return None
    order = sorted(range(first.dim()), key=first.stride, reverse=True)
    if not first.permute(order).is_contiguous():
        return None
    return [t.permute(order).view(-1) for t in row]


def _like(p: Tensor, grad: Tensor | None) -> Tensor:
    """The gradient, dense and laid out as its parameter."""
    if grad is None:
        raise ValueError("a parameter without a gradient takes no step")
    if grad.layout != torch.strided:
        grad = grad.to_dense()
    if grad.dtype == p.dtype and grad.stride() == p.stride():
        return grad
    return torch.empty_like(p).copy_(grad)


def _kept(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, copy=True)
    if isinstance(value, list):
        return [_kept(v, device) for v in value]
    return value
