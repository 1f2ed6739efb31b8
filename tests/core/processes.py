"""What two processes do under `torchrun`: every case in turn, each leaving what it found as JSON for the tests.

    torchrun --nproc-per-node 2 -m tests.core.processes FOLDER

`test_processes.py` starts it once, and runs the same cases in one process to compare.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from sonde.core import Backprop, Batch, Budget, Engine, Method, Run, Settled, Stepped, fit, rank_and_world
from sonde.data.rows import Rows
from sonde.methods import DPSGD, EMA, Checkpoint, Clip, EarlyStopping, FitInputs, MetricsLog, Validate, adamw, sgd
from sonde.objectives import Classify
from sonde.optim.schedules import Cosine
from tests.support import GAN, L2, SAM, Call, Halves, Joint, blobs, gan_rows, mlp

ROWS = 33  # two batches of 16 and one of 1: the second process has no row of the last


class Scaled(nn.Module):
    """A net with a buffer, so that probes must leave it alone, and with inputs that ask for statistics."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(4, 8, 3)
        self.register_buffer("mean", torch.zeros(4))

    def fit_input(self, x: Tensor) -> None:
        self.mean.copy_(x.mean(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x - self.mean)  # type: ignore[no-any-return]


EQUAL: dict[str, Callable[[], list[Method]]] = {
    "plain": lambda: [sgd(0.1)],
    "penalty": lambda: [L2(), sgd(0.1)],
    "microbatches": lambda: [L2(), Backprop(microbatch=3), sgd(0.1)],
    "probes": lambda: [SAM(0.5)],
    "everything": lambda: [FitInputs(), L2(), Clip(0.5), EMA(0.9), adamw(0.01, weight_decay=0.1, schedule=Cosine())],
}


def engine(parallel: Any) -> Engine:
    return Engine(device="cpu", parallel=parallel)


def flat(weights: dict[str, Tensor]) -> list[float]:
    """The numbers of a state, gathered from the processes that hold parts of it."""
    whole = [v.full_tensor() if hasattr(v, "full_tensor") else v for v in weights.values()]
    return torch.cat([v.detach().flatten().double() for v in whole]).tolist()


def found(run: Run) -> dict[str, Any]:
    return {"step": run.step, "weights": flat(dict(run.objective.state_dict())), "shipped": flat(run.weights())}


def rows(seed: int = 0) -> Rows:
    return Rows(*blobs(ROWS), batch_size=16, seed=seed)


def equal(variant: str, parallel: str) -> dict[str, Any]:
    torch.manual_seed(0)
    run = Run(Classify(Scaled()), EQUAL[variant](), engine(parallel))
    return found(fit(run, rows(), Budget(steps=10)))


def private(parallel: str) -> dict[str, Any]:
    """Without noise, so that two processes can be compared with one."""
    torch.manual_seed(0)
    method = DPSGD(0.3, noise_multiplier=0.0, insecure_seed=1, microbatch=3)
    run = Run(Classify(mlp(4, 8, 3)), [L2(), method, sgd(0.1)], engine(parallel))
    return {**found(fit(run, rows(), Budget(steps=10))), "steps": method.spent.steps}


def noisy(parallel: str) -> dict[str, Any]:
    """What the noise adds to a gradient: its standard deviation as a multiple of what is promised."""
    torch.manual_seed(0)
    method = DPSGD(0.3, noise_multiplier=2.0, insecure_seed=1)
    run = Run(Classify(mlp(4, 8, 3)), [method, sgd(0.1)], engine(parallel))
    world = rank_and_world()[1]
    empty = Batch(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), {}, 8 / world
    )
    noise = torch.cat([g.flatten() for _ in range(100) for g in run.gradient("model", empty).values()])
    states = method.state_dict()["noise"]["words"]
    return {
        "std": float(noise.std() / (2.0 * 0.3 / 8)),
        "first": noise[:5].tolist(),
        "streams": [w.tolist() for w in states],
    }


def game(parallel: str, *methods: Method, norm: bool = False) -> dict[str, Any]:
    torch.manual_seed(0)
    run = Run(GAN(every=2, norm=norm), [*methods, sgd(0.1)], engine(parallel))
    return found(fit(run, gan_rows(n=36), Budget(steps=10)))


def resumed(folder: Path, parallel: str) -> dict[str, Any]:
    """Interrupted after the fifth step, and resumed by a run that knows nothing but the folder."""

    def methods(*more: Method) -> list[Method]:
        return [Clip(0.5), EMA(0.9), Validate(Halves()), EarlyStopping(patience=0), adamw(0.01), *more]

    def new(name: str, *more: Method) -> tuple[Run, Checkpoint]:
        torch.manual_seed(0)
        keeper = Checkpoint(folder / name)
        log = MetricsLog(folder / f"{name}.jsonl", every_steps=2)
        return Run(
            Classify(mlp(4, 8, 3, between=lambda n: nn.Dropout())), methods(*more, log, keeper), engine(parallel)
        ), keeper

    def stop(run: Run) -> None:
        run.stop = "interrupted"

    whole, _ = new("whole", Call(Settled, 99, stop))
    fit(whole, rows(), Budget(steps=10))
    half, _ = new("half", Call(Settled, 5, stop))
    fit(half, rows(), Budget(steps=10))
    rest, keeper = new("half", Call(Settled, 99, stop))
    torch.manual_seed(99)
    assert keeper.resume(rest) and rest.done == 5
    fit(rest, rows(), Budget(steps=10))
    logs = [(folder / f"{name}.jsonl").read_text() for name in ("whole", "half")]
    return {"whole": found(whole), "rest": found(rest), "logs": logs}


def refused(run: Callable[[], Any]) -> dict[str, Any]:
    try:
        run()
    except Exception as error:
        return {"error": type(error).__name__, "words": str(error)}
    return {"error": None}


def poisoned(folder: Path, parallel: str) -> dict[str, Any]:
    """The bad record lies with one process alone."""
    x, y = blobs(ROWS)
    x[20] = torch.nan
    run = Run(Classify(mlp(4, 8, 3)), [sgd(0.1), Checkpoint(folder / "poisoned")], engine(parallel))
    return {**refused(lambda: fit(run, Rows(x, y, batch_size=16), Budget(steps=10))), "step": run.step}


def signalled(parallel: str) -> dict[str, Any]:
    """A signal reaches the second process alone."""
    rank, _ = rank_and_world()

    def stop(run: Run) -> None:
        if rank == 1:
            run.stop = "interrupted"

    run = Run(Classify(mlp(4, 8, 3)), [Call(Stepped, 4, stop), sgd(0.1)], engine(parallel))
    fit(run, rows(), Budget(steps=10))
    return {"step": run.step, "interrupted": run.interrupted}


def timed(folder: Path, parallel: str) -> dict[str, Any]:
    """One process is slower than the other; both must take the same steps and save at the same ones."""
    rank, _ = rank_and_world()
    slow = [Call(Stepped, i, lambda run: time.sleep(0.02 * rank)) for i in range(1, 60)]
    keeper = Checkpoint(folder / "timed", every_seconds=0.05)
    run = Run(Classify(mlp(4, 8, 3)), [*slow, sgd(0.1, schedule=Cosine()), keeper], engine(parallel))
    fit(run, rows(), Budget(seconds=0.5))
    return {"step": run.step, "weights": flat(dict(run.objective.state_dict()))}


def stopped(parallel: str) -> dict[str, Any]:
    """Running statistics differ between processes; what is decided by a measurement must not."""
    torch.manual_seed(0)
    net = mlp(4, 8, 3, between=nn.BatchNorm1d)
    run = Run(Classify(net), [Validate(Halves()), EarlyStopping(patience=2), sgd(0.5)], engine(parallel))
    fit(run, Rows(*blobs(32), batch_size=16), Budget(epochs=30))
    return {"step": run.step, "stop": run.stop}


def joint(parallel: str) -> dict[str, Any]:
    return refused(
        lambda: fit(Run(Classify(mlp(4, 3)), [Joint(), sgd(0.1)], engine(parallel)), rows(), Budget(steps=1))
    )


def cases(folder: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    every: dict[str, Callable[[], dict[str, Any]]] = {}
    for p in ("ddp", "fsdp"):
        for v in EQUAL:
            every[f"{v}-{p}"] = lambda v=v, p=p: equal(v, p)  # type: ignore[misc]
        every[f"resumed-{p}"] = lambda p=p: resumed(folder / p, p)  # type: ignore[misc]
        every[f"poisoned-{p}"] = lambda p=p: poisoned(folder / p, p)  # type: ignore[misc]
        every[f"signalled-{p}"] = lambda p=p: signalled(p)  # type: ignore[misc]
        every[f"timed-{p}"] = lambda p=p: timed(folder / p, p)  # type: ignore[misc]
        every[f"joint-{p}"] = lambda p=p: joint(p)  # type: ignore[misc]
    every["private-ddp"] = lambda: private("ddp")
    every["noisy-ddp"] = lambda: noisy("ddp")
    every["private-fsdp"] = lambda: refused(lambda: private("fsdp"))
    every["game-ddp"] = lambda: game("ddp")
    every["game in microbatches-ddp"] = lambda: game("ddp", Backprop(microbatch=3))
    every["game-fsdp"] = lambda: refused(lambda: game("fsdp"))
    every["stopped-ddp"] = lambda: stopped("ddp")
    every["game with statistics-ddp"] = lambda: game("ddp", norm=True)
    every["alone-none"] = lambda: refused(lambda: Run(Classify(mlp(4, 3)), [sgd(0.1)], engine("none")))
    return every


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    rank, _ = rank_and_world()
    for name, case in cases(folder).items():
        started = time.perf_counter()
        try:
            result = case()
        except Exception as error:
            result = {"failed": f"{type(error).__name__}: {error}"}
        result["seconds"] = round(time.perf_counter() - started, 2)
        (folder / f"{name}.{rank}.json").write_text(json.dumps(result))
        dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # a thread of gloo's that frees its last tensor during the interpreter's teardown aborts the process


if __name__ == "__main__":
    main(Path(sys.argv[1]))
