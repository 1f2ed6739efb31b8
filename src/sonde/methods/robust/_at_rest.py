"""What the attacks of training share: the model at rest, and what is refused.

An attack runs in evaluation mode: dropout is off and BatchNorm uses its running statistics. So row i of the result
depends on row i alone, no running statistic moves, and the attacked model is the one an adversary would meet (TRADES'
authors do the same; the first authors of adversarial training attacked in training mode, where a row's attack reads
the others').
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import torch

from sonde.attacks import Norm
from sonde.core import Method, Params, Refused, Run, SondeError

from ..augment import CutMix, MixUp


@contextmanager
def at_rest(run: Run) -> Iterator[Params]:
    """The objective in evaluation mode, and all its parameters without history: nothing can reach their gradients."""
    modes = [(m, m.training) for m in run.objective.modules()]
    run.objective.eval()
    try:
        with torch.enable_grad():
            yield {k: p.detach() for k, p in run.objective.named_parameters()}
    finally:
        for module, training in modes:
            module.training = training


def check_numbers(method: Method, radius: float, length: float, steps: int, norm: str = "linf") -> None:
    """Refuse a radius, a step, a number of steps or a norm with which no attack can be made."""
    name = type(method).__name__
    if not 0 <= radius < float("inf"):
        raise SondeError(f"{name}(radius={radius}) is no distance", "choose radius >= 0, in units of the inputs")
    if not 0 < length < float("inf"):
        raise SondeError(f"{name} would take steps of length {length}", "choose a step > 0")
    if steps < 1:
        raise SondeError(f"{name}(steps={steps}) takes no step", "choose at least 1")
    if norm not in get_args(Norm):
        raise SondeError(f"{name} knows no norm {norm!r}", "choose 'linf' or 'l2'")


def check_run(method: Method, run: Run, turn: str) -> None:
    """Refuse a run in which the method cannot attack `turn`."""
    name, players = type(method).__name__, tuple(run.objective.players())
    if turn not in players:
        raise SondeError(f"{name} attacks the turn {turn!r}, which nobody takes", f"choose from {', '.join(players)}")
    if run.sharded:
        raise Refused(
            f"{name} evaluates the whole model, of which fsdp gives each process a part", "use --parallel ddp"
        )
    for later in run.methods[run.methods.index(method) + 1 :]:
        # To mix attacked rows is a method of its own (Lamb et al., 2019); to bend them undoes the attack.
        if type(later).__module__.startswith("sonde.methods.augment.") and not isinstance(later, MixUp | CutMix):
            other = type(later).__name__
            raise Refused(
                f"{other} after {name} changes rows that were the worst as they were",
                f"put {other} before {name} in the list of methods",
            )
