"""Running statistics of normalisation layers under other weights than those they were collected with."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sonde.core import Method, Run, Source


def keeps_statistics(module: nn.Module) -> bool:
    """Whether a BatchNorm in it keeps running statistics."""
    return any(map(_keeps, module.modules()))


def renew_statistics(run: Run, source: Source, reader: Method) -> None:
    """Compute BatchNorm's statistics anew at the weights as they are, by one pass over the source (which is announced).

    The rows are as they are, without augmentation and dropout: those are the inputs of an evaluation.
    """
    objective = run.objective
    layers: list[Any] = [m for m in objective.modules() if _keeps(m)]
    modes, momenta = {m: m.training for m in objective.modules()}, [m.momentum for m in layers]
    objective.eval()
    for m in layers:
        m.reset_running_stats()
        m.momentum = None  # torch's word for a cumulative average
        m.train()
    devices = [run.device] if run.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), run.engine.autocast(run.device):
            for batch in islice(run.read(source, reader), source.steps_per_epoch):
                for turn in objective.players():
                    objective(turn, batch)
    finally:
        for m, momentum in zip(layers, momenta, strict=True):
            m.momentum = momentum
        for m, training in modes.items():
            m.training = training


def _keeps(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.track_running_stats
