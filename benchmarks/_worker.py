"""One contender in a process of its own: checks itself once, then trains once whenever it is asked to.

Talks in lines of JSON. The first line it reads says what to train, in which order and where to leave the weights; its
answer says what the training did and the memory it took. Every further line asks for one timed epoch.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from _contenders import CONTENDERS, Build, Trial
from _tasks import Adam, Task, tasks
from _timing import peak_memory, reset_peak_memory, resident_memory
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

EXACT = Adam(2**-10, (1 - 2**-3, 1 - 2**-10), 1e-30)


def loss_of(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """The mean loss over all rows."""
    with torch.no_grad():
        return F.cross_entropy(net(x), y).item()


def check(build: Build, task: Task, x: Tensor, y: Tensor, order: Tensor, weights: Path) -> dict[str, Any]:
    """One epoch in float64, where rounding cannot hide a difference: steps taken, loss before and after, weights.

    Adam's eps is made negligible, because Keras adds it before the bias correction and the others after it; its other
    settings are exact in binary, because Keras keeps them in float32.
    """
    from safetensors.torch import save_file

    x, net, task = x.double(), task.net().double(), replace(task, adam=EXACT)
    before = loss_of(net, x, y)
    count = [0]
    handle = register_optimizer_step_post_hook(lambda *_: count.__setitem__(0, count[0] + 1))
    try:
        trial = build(task, x, y, net, order)
        trial.train()
    finally:
        handle.remove()
    trained = trial.trained()
    save_file({str(i): p.detach().contiguous() for i, p in enumerate(trained.parameters())}, weights)
    steps = count[0] if trial.steps is None else trial.steps()
    return {"steps": steps, "loss": [before, loss_of(trained, x, y)]}


def timed(trial: Trial) -> dict[str, float]:
    """Seconds of one epoch: by the clock, and of processor time over all threads."""
    gc.collect()
    start, cpu = time.perf_counter(), time.process_time()
    trial.train()
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}


def main() -> None:
    """Serve one contender until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the answers

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    ask = json.loads(sys.stdin.readline())
    torch.set_num_threads(ask["threads"])
    task, build = tasks(ask["quick"])[ask["task"]], CONTENDERS[ask["contender"]].build
    order = torch.tensor(ask["order"])
    x, y = task.data()
    gc.collect()
    reset_peak_memory()
    before = resident_memory()

    def trial() -> Trial:
        return build(task, x, y, task.net(), order)

    timed(trial())
    memory = peak_memory() - before
    answer({"memory_bytes": memory, **check(build, task, x, y, order, Path(ask["weights"]))})
    for _ in sys.stdin:
        ready = trial()
        answer({**timed(ready), "loss": loss_of(ready.trained(), x, y)})


if __name__ == "__main__":
    main()
