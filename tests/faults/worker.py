"""A small training in a process of its own, which can be told to kill itself anywhere, and goes on where it was killed.

    python -m tests.faults.worker FOLDER            train, or go on
    python -m tests.faults.worker FOLDER KILLS SEED train in children that SIGKILL themselves, KILLS times, then end it

Everything with state takes part: dropout, BatchNorm, mixing of rows by the global generator, EMA, early stopping,
validation, a schedule, two stages, saves by step and by time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sonde.core import Backprop, Budget, Build, Event, Measured, Method, Recipe, Run, Stage, Stepped, digest
from sonde.core import state as saving
from sonde.data.rows import Rows
from sonde.methods import EMA, Checkpoint, Clip, Descend, EarlyStopping, MetricsLog, MixUp, Validate, adamw
from sonde.objectives import Classify
from sonde.optim.schedules import Cosine
from tests.support import Halves, blobs, mlp

STEPS = (23, 17)  # of the two stages; neither is a multiple of an epoch's 6


def classifier() -> Classify:
    return Classify(mlp(4, 16, 3, between=lambda n: nn.Sequential(nn.BatchNorm1d(n), nn.Dropout(0.3))))


def rows(seed: int) -> Rows:
    return Rows(*blobs(90), batch_size=16, seed=seed)


def validate() -> Validate:
    return Validate(Halves())


def recipe() -> Recipe:
    methods = (
        Build(MixUp, classes=3, alpha=0.5),
        Build(Backprop, microbatch=10),
        Build(Clip, norm=1.0),
        Build(EMA, decay=0.9),
        Build(validate),
        Build(EarlyStopping, patience=4),
        Build(adamw, lr=0.02, weight_decay=0.1, schedule=Build(Cosine, warmup=0.1)),
    )
    stages = tuple(Stage(source=Build(rows, seed=i), budget=Budget(steps=n)) for i, n in enumerate(STEPS))
    return Recipe(name="fault", seed=11, objective=Build(classifier), methods=methods, stages=stages)


class Die(Method):
    """Ends the process without a word, as a power cut would, when `when(run, event)`."""

    def __init__(self, when: Callable[[Run, Event], bool]) -> None:
        self.when = when

    def on(self, run: Run, event: Event) -> None:
        if self.when(run, event):
            die()


def die() -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def train(folder: Path, *extra: Method) -> Run:
    """Train to the end, from the last good checkpoint if there is one."""
    keeper = Checkpoint(folder / "checkpoints", every_steps=3, every_seconds=0.2, metric="loss")
    run = recipe().start(extra=(MetricsLog(folder / "metrics.jsonl", every_steps=5), keeper))
    if extra:  # not part of the saved state: they come and go with the process
        run._hooks["on"] = [*extra, *run._hooks["on"]]
    keeper.resume(run)
    return recipe().train(run)


def result(run: Run, folder: Path) -> dict[str, Any]:
    """Everything that must not depend on whether the run was killed."""
    tensors, structure = saving.flatten({k: v for k, v in run.state_dict().items() if k not in ("seconds", "elapsed")})
    best, facts = saving.read_state(folder / "checkpoints" / "best")
    return {
        "state": digest(tensors),
        "structure": structure,
        "shipped": digest(run.weights()),
        "best": digest(best["objective"]),
        "about best": facts,
        "metrics": (folder / "metrics.jsonl").read_text(),
    }


# ---------------------------------------------------------------- where to die
Arm = Callable[[], Method]  # called in the process that is to die


def counting(at: int, kind: type[Event]) -> Arm:
    seen = [0]

    def when(run: Run, event: Event) -> bool:
        seen[0] += isinstance(event, kind)
        return seen[0] == at

    return lambda: Die(when)


def fatal(real: Callable[..., Any], at: int, before: bool) -> Callable[..., Any]:
    """`real`, whose `at`-th call is the last thing the process does."""
    seen = [0]

    def call(*given: Any, **more: Any) -> Any:
        seen[0] += 1
        if seen[0] == at and before:
            die()
        try:
            return real(*given, **more)
        finally:
            if seen[0] == at:
                die()

    return call


def in_a_step(rng: random.Random) -> tuple[Arm, str]:
    at, before = rng.randint(1, 8), rng.random() < 0.5

    def arm() -> Method:
        Descend.update = fatal(Descend.update, at, before)  # type: ignore[method-assign]
        return Method()

    return arm, f"{'before' if before else 'after'} update {at}"


def after_a_step(rng: random.Random) -> tuple[Arm, str]:
    at = rng.randint(1, 8)
    return counting(at, Stepped), f"after step {at}"


def in_validation(rng: random.Random) -> tuple[Arm, str]:
    at = rng.randint(1, 2)
    return counting(at, Measured), f"in validation {at}"


def in_a_save(rng: random.Random) -> tuple[Arm, str]:
    """At one of the calls by which a state reaches the disk."""
    name, at, before = rng.choice(["mkdir", "fsync", "rename"]), rng.randint(1, 8), rng.random() < 0.5

    def arm() -> Method:
        setattr(os, name, fatal(getattr(os, name), at, before))
        return Method()

    return arm, f"{'before' if before else 'after'} {name} {at}"


def in_a_file(rng: random.Random) -> tuple[Arm, str]:
    """With half of a file written."""
    at, seen = rng.randint(1, 8), [0]

    def opened(path: Any, mode: str = "r", **more: Any) -> Any:
        file = open(path, mode, **more)
        seen[0] += 1
        if seen[0] < at or "w" not in mode:
            return file
        content = next(v for v in sys._getframe(1).f_locals.values() if isinstance(v, bytes))
        file.write(content[: len(content) // 2])
        file.flush()
        return die()

    def arm() -> Method:
        saving.open = opened  # type: ignore[attr-defined]
        return Method()

    return arm, f"half of file {at} written"


DEATHS = (in_a_step, after_a_step, in_validation, in_a_save, in_a_save, in_a_file)


def killed(folder: Path, kills: int, seed: int) -> list[str]:
    """Train in children until `kills` of them have killed themselves, then to the end; where each of them died."""
    died: list[str] = []
    for attempt in range(kills + 1):
        rng = random.Random(1000 * seed + attempt)
        arm, where = rng.choice(DEATHS)(rng)
        child = os.fork()  # before anything was trained here, so that the child may use every part of torch
        if child == 0:
            run = train(folder, *([arm()] if attempt < kills else []))
            (folder / "result.json").write_text(json.dumps(result(run, folder)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            break  # it was done before it came to where it was to die
        if not os.WIFSIGNALED(status):
            raise RuntimeError(f"the child that was to die {where} failed: {status}, after {died}")
        died.append(where)
    return died


def main(folder: Path, kills: int = 0, seed: int = 0) -> None:
    torch.set_num_threads(1)
    if kills:
        (folder / "deaths.json").write_text(json.dumps(killed(folder, kills, seed)))
    else:
        run = train(folder)
        (folder / "result.json").write_text(json.dumps(result(run, folder)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
