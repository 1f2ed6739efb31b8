"""One contender of `private.py` in a process of its own: checks itself once, then takes steps whenever it is asked to.

Talks in lines of JSON, as `_worker.py` does: the first says which contender takes which task, and its answer what a few
steps did and the memory they took; every further line asks for timed steps.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from dataclasses import replace
from typing import Any

import torch
from _private_contenders import CONTENDERS, TASKS, Contender, Job, Trial, one_by_one
from _timing import peak_memory, reset_peak_memory, resident_memory
from torch import nn

CHECKED = 3  # steps that are compared with those taken one row at a time
UNBOUNDED = 1e6  # a clip that no row reaches: private training is then plain


def check(contender: Contender, job: Job) -> dict[str, float]:
    """Steps in float64 without noise against steps from the definition; and the noise of one step.

    Gives the largest difference of a weight, the share of rows whose gradient was cut down, and the deviation of what
    noise adds to the sum of a sample, in units of clip * noise.
    """

    def taken(build: Any, steps: int, noise: float, samples: list[torch.Tensor]) -> tuple[list[torch.Tensor], Trial]:
        net = job.task.net().double()
        clip = job.clip if contender.private else UNBOUNDED
        given = replace(job, x=job.x.double(), net=net, noise=noise, clip=clip, samples=samples, watched=True)
        trial: Trial = build(given)
        trial.advance(steps)
        return [p.detach().clone() for p in net.parameters()], trial

    found, trial = taken(contender.build, CHECKED, 0.0, job.samples)
    expected, _ = taken(one_by_one, CHECKED, 0.0, trial.drew or job.samples)
    difference = max((a - b).abs().max().item() for a, b in zip(expected, found, strict=True))
    deviation = 0.0
    if contender.private:
        (quiet, _), (loud, _) = (taken(contender.build, 1, noise, job.samples) for noise in (0.0, 1.0))
        added = torch.cat([(a - b).flatten() for a, b in zip(loud, quiet, strict=True)])
        deviation = added.std().item() * job.task.batch_size / (job.lr * job.clip)
    return {"weight_difference": difference, "noise_deviation": deviation}


def cut_down(job: Job) -> float:
    """The share of the first sample's rows whose gradient is longer than the clip, at the initial weights."""
    index = job.samples[0]
    params = list(job.net.parameters())
    longer = 0
    for i in index.tolist():
        loss = nn.functional.cross_entropy(job.net(job.x[i : i + 1]), job.y[i : i + 1])
        norm = torch.stack([g.norm() for g in torch.autograd.grad(loss, params)]).norm()
        longer += int(norm.item() > job.clip)
    return longer / len(index)


def memory(trial: Trial) -> dict[str, int]:
    """Of one step: growth of the process's largest resident size, and the most bytes that tensors took at once.

    Both count from before the step; the parameters, which were there, are not in them.
    """
    gc.collect()
    reset_peak_memory()
    before = resident_memory()
    trial.advance(3)
    resident = peak_memory() - before
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        trial.advance(1)
    results: Any = profiled.profiler
    events = [e for e in results.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return {"resident_bytes": resident, "tensor_bytes": most}


def timed(trial: Trial, steps: int) -> dict[str, float]:
    """Seconds of so many steps: by the clock, and of processor time over all threads."""
    gc.collect()
    start, cpu = time.perf_counter(), time.process_time()
    trial.advance(steps)
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
    task, contender = TASKS[ask["task"]], CONTENDERS[ask["contender"]]
    x, y = task.data()
    job = Job(task, x, y, task.net(), task.samples(x, y), clip=ask["clip"], noise=1.0)
    # torch sets up what it needs for a network's first pass, which is nobody's memory
    nn.functional.cross_entropy(job.net(x[:2]), y[:2]).backward()
    job.net.zero_grad()
    trial = contender.build(job)
    took = memory(trial)
    parameters = sum(p.numel() * p.element_size() for p in job.net.parameters())
    fresh = replace(job, net=task.net())
    answer({**took, "parameter_bytes": parameters, "cut_down": cut_down(fresh), **check(contender, fresh)})
    for _ in sys.stdin:
        answer(timed(trial, task.steps))


if __name__ == "__main__":
    main()
