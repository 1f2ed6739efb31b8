"""Two small experiences, and runs over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Method, Run, Settled, fit, read_state, write_state
from sonde.data.rows import Rows
from sonde.methods import sgd
from sonde.objectives import Classify
from tests.support import Call, blobs, mlp


def experiences(n: int = 48, batch_size: int = 16) -> list[Rows]:
    """Blobs, and the same blobs with their columns in another order."""
    x, y = blobs(n)
    return [Rows(x, y, batch_size), Rows(x[:, [2, 0, 3, 1]], y, batch_size, seed=1)]


def start(*methods: Method, net: Callable[[], nn.Module] | None = None, lr: float = 0.1) -> Run:
    """A run at step 0, the same each time."""
    torch.manual_seed(0)
    return Run(Classify(mlp(4, 8, 3) if net is None else net()), [*methods, sgd(lr)])


def learn(run: Run, stages: Sequence[Rows] | None = None, steps: int = 6) -> Run:
    """The stages that are left, of `steps` steps each; ends where the run is interrupted."""
    for source in list(stages or experiences())[run.stage :]:
        fit(run, source, Budget(steps=steps))
        if run.interrupted:
            break
    return run


def stopped_and_resumed(build: Callable[[], Sequence[Method]], folder, at: int, **given) -> tuple[Run, Run]:  # type: ignore[no-untyped-def]
    """A run over both stages, and one killed when `at` steps have settled and gone on with from the disk."""
    whole = learn(start(*build(), Call(Settled, 99, lambda run: None), **given))
    half = start(*build(), Call(Settled, at, lambda run: setattr(run, "stop", "interrupted")), **given)
    learn(half)
    write_state(folder / "state", half.state_dict())
    rest = start(*build(), Call(Settled, 99, lambda run: None), **given)
    torch.manual_seed(99)
    rest.load_state_dict(read_state(folder / "state")[0])
    return whole, learn(rest)


def accuracy(run: Run, x: Tensor, y: Tensor) -> float:
    with run.evaluating() as objective:
        return float((objective("model", Batch(x, y)).out["logits"].argmax(1) == y).float().mean())
