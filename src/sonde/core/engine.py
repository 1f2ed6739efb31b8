"""Where and how the arithmetic is done: device, precision, compilation, and how many processes share the work."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch import distributed as dist

from .errors import SondeError

Precision = Literal["32", "bf16-mixed", "16-mixed"]
Parallel = Literal["none", "ddp", "fsdp"]


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` is CUDA, then MPS, then the CPU, whichever is there first."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", dist.get_rank() % torch.cuda.device_count() if sharing() else 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SondeError(f"device {name!r} cannot be used: {reason}", "use --device auto, or cpu") from None
    return torch.device(name)


def sharing() -> bool:
    """Whether several processes share this run (started by `torchrun`, process group initialised)."""
    return dist.is_available() and bool(dist.is_initialized())


def rank_and_world() -> tuple[int, int]:
    """This process's index and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if sharing() else (0, 1)


@dataclass(frozen=True, slots=True)
class Engine:
    """Where and how the arithmetic of a run is done. Changes speed and rounding, never what is computed.

    device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
    precision: `32`; `bf16-mixed` and `16-mixed` run the forward pass under autocast and keep parameters in float32
        (Micikevicius et al., 2018); `16-mixed` scales the loss, see `Backprop`.
    compile: trace the objective with `torch.compile`; where that fails the run goes on without, saying why.
    parallel: `none`; `ddp` replicates the objective on every process of a `torchrun`; `fsdp` shards it (FSDP2).
    """

    device: str = "auto"
    precision: Precision = "32"
    compile: bool = False
    parallel: Parallel = "none"

    def __post_init__(self) -> None:
        for name, allowed in (("precision", get_args(Precision)), ("parallel", get_args(Parallel))):
            if getattr(self, name) not in allowed:
                raise SondeError(
                    f"{name} {getattr(self, name)!r} is not known", f"choose one of {', '.join(allowed)} for --{name}"
                )

    def check_processes(self) -> None:
        """Refuse a run whose engine and number of processes do not belong together."""
        if self.parallel != "none" and not sharing():
            raise SondeError(
                f"parallel={self.parallel!r} needs several processes",
                "start with `torchrun --nproc-per-node N -m sonde ...`, or leave --parallel out",
            )
        if self.parallel == "none" and sharing():
            raise SondeError(
                f"{rank_and_world()[1]} processes would each train the same model on a part of every batch",
                "pass --parallel ddp (or fsdp), so that they share the gradient",
            )

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context in which the forward pass runs."""
        if self.precision == "32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16-mixed" else torch.float16
        return torch.autocast(device.type, dtype=dtype)

    def distribute(self, objective: nn.Module, alone: bool = True) -> nn.Module:
        """The callable module for the recorded forward pass: the objective itself, or wrapped for many processes.

        alone: whether there is one player. DDP waits for the gradient of every parameter, and in a game each turn
            gives those of one player; there the estimator averages gradients itself (`average`).
        """
        if self.parallel == "ddp" and alone:
            return nn.parallel.DistributedDataParallel(objective)
        if self.parallel == "ddp":
            for tensor in [*objective.parameters(), *objective.buffers()]:
                dist.broadcast(tensor.detach(), 0)
        if self.parallel == "fsdp" and not alone:
            raise SondeError("fsdp cannot train several players: it gathers gradients for all at once", "use ddp")
        if self.parallel == "fsdp":
            from torch.distributed.fsdp import fully_shard

            for child in objective.modules():
                # One group per block of a list, as the FSDP2 guide has it: parameters are gathered a block at a time.
                if isinstance(child, nn.ModuleList):
                    for block in child:
                        fully_shard(block)
            fully_shard(objective)
        return objective


def placed_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor where `like` is: on its device, and sharded as it is (each process keeps its own part)."""
    if not hasattr(like, "full_tensor"):
        return tensor.to(like.device)
    if hasattr(tensor, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    shard: Any = like  # torch's stubs know DTensor under another name
    return distribute_tensor(tensor.to(like.device), shard.device_mesh, shard.placements, src_data_rank=None)


def anywhere(flag: bool) -> bool:
    """Whether it is so on any of the processes that share the run. All of them must ask at the same moment."""
    if not sharing():
        return flag
    said = torch.tensor([float(flag)], device=_wire())
    dist.all_reduce(said, dist.ReduceOp.MAX)
    return bool(said.item())


def of_first(values: list[float]) -> list[float]:
    """The first process's numbers, on every process, so that what is decided by them is decided alike."""
    if not sharing() or not values:
        return values
    said = torch.tensor(values, dtype=torch.float64, device=_wire())
    dist.broadcast(said, 0)
    return said.tolist()


def average(gradients: Iterable[Tensor], buffers: Iterable[Tensor]) -> None:
    """Replace gradients by their mean over processes, and buffers by the first process's, as DDP does."""
    waiting = [(g, dist.all_reduce(g, async_op=True)) for g in gradients]
    for g, work in waiting:
        work.wait()
        g.div_(dist.get_world_size())
    for b in buffers:
        dist.broadcast(b, 0)


def _wire() -> torch.device:
    """Where a number must be to be sent."""
    return torch.device("cuda" if "nccl" in dist.get_backend() else "cpu")


def seed_everything(seed: int) -> None:
    """Seed torch (all devices), NumPy's and Python's global generators."""
    torch.manual_seed(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)


def rng_state() -> dict[str, Any]:
    """The state of every global generator, of every process that shares the run."""
    state: dict[str, Any] = {"torch": of_every_rank(torch.get_rng_state()), "python": random.getstate()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = of_every_rank(torch.cuda.get_rng_state())
    if "numpy" in sys.modules:
        name, keys, *rest = sys.modules["numpy"].random.get_state()
        state["numpy"] = [name, torch.from_numpy(keys.astype("int64")), *rest]
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """The inverse of `rng_state`."""
    rank, world = rank_and_world()
    if len(state["torch"]) != world:
        raise SondeError(
            f"this checkpoint is of {len(state['torch'])} processes; this run has {world}",
            f"resume with torchrun --nproc-per-node {len(state['torch'])}",
        )
    torch.set_rng_state(state["torch"][rank])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][rank])
    if "numpy" in state:
        import numpy

        name, keys, *rest = state["numpy"]
        numpy.random.set_state((name, keys.numpy().astype("uint32"), *rest))


def of_every_rank(state: Tensor) -> list[Tensor]:
    """A tensor of every process that shares the run, in the order of their ranks."""
    if not sharing():
        return [state]
    sent = state.to(_wire())
    states = [torch.empty_like(sent) for _ in range(dist.get_world_size())]
    dist.all_gather(states, sent)
    return [s.cpu() for s in states]
