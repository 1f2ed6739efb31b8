"""What an audit must leave as it found it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def fingerprint(model: nn.Module) -> str:
    """Changes with any weight, buffer, mode, hook or wish for a gradient of a model."""
    digest = hashlib.sha256()
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} {value.requires_grad}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    for name, module in model.named_modules():
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
        digest.update(f"{name} {module.training} {[len(h) for h in hooks]}\n".encode())
    return digest.hexdigest()


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients of its parameters; afterwards as it was."""
    modes = {m: m.training for m in model.modules()}
    wanted = {p: p.requires_grad for p in model.parameters()}
    model.eval()
    for p in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training
        for p, asked in wanted.items():
            p.requires_grad_(asked)
