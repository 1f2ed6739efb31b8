"""Layers that mix records, or remember them without noise, replaced by layers that do neither.

Batch normalisation divides each row by what the whole batch says, so no bound on one record's influence holds through
it. Group normalisation (Wu and He, 2018) reads one row at a time. Instance normalisation reads one row too, but with
running statistics it remembers records outside the gradient, where no noise is added.

Groups have four channels or more, and there are at most 32 of them. One channel a group, which "32 groups" means for 32
channels, is the worst choice of Wu and He (table 3), and on rows without positions, (N, C), it leaves only zeros. De et
al., Unlocking high-accuracy differentially private image classification, 2022, also take 16 groups for 64 channels.
BatchNorm1d, which may read (N, C), becomes one group.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

from sonde.core.errors import Refused

# C channels

MOST = 32  # groups: Wu and He's default
FEWEST = 4  # channels of a group
BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


def make_rowwise(module: nn.Module) -> list[str]:
    """Replace, within `module`, every layer that mixes records or remembers them; say what was replaced, a line each.

    BatchNorm becomes GroupNorm; InstanceNorm loses its running statistics. Weights and biases stay the same parameters;
    a layer that stands in several places stays one layer. A frozen BatchNorm, in evaluation mode with statistics to use
    and no parameter to train, mixes nothing: it stays so, also when a run puts the model in training mode. To be called
    before a run reads its parameters.

    >>> net = nn.Sequential(nn.Conv2d(1, 64, 3), nn.BatchNorm2d(64), nn.ReLU())
    >>> make_rowwise(net)
    ['1: BatchNorm2d became GroupNorm of 16 groups']

    Raises:
        Refused: a layer of this kind that cannot be replaced without changing what it is.
    """
    norms = {layer: name for name, layer in module.named_modules() if isinstance(layer, _NormBase)}
    found = {layer: name for layer, name in norms.items() if not _harmless(layer)}
    for layer, name in found.items():
        _check(layer, name)
    scripted = [k for k, m in module.named_modules() if isinstance(m, torch.jit.ScriptModule) and _hidden(m)]
    if scripted:
        raise Refused(f"{scripted[0]} is a compiled script with BatchNorm inside", "give the model before torch.jit")
    others = {layer: _replacement(layer, name) for layer, name in found.items()}
    for parent in module.modules():
        _check_lists(parent, others)
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if child in others:
                parent._modules[name] = others[child]
    return [f"{name or 'the model'}: {type(layer).__name__} {_became(others[layer])}" for layer, name in found.items()]


M = TypeVar("M", bound=nn.Module)


def rowwise(module: M) -> M:
    """The module after `make_rowwise`: what builds, for a shipped model, the net that was trained."""
    make_rowwise(module)
    return module


def groups_for(layer: nn.Module, channels: int) -> int:
    """How many groups stand in for the layer: the largest divisor of C up to 32 that leaves 4 channels a group.

    >>> [groups_for(nn.BatchNorm2d(c), c) for c in (1, 3, 16, 32, 37, 48, 64, 1024)]
    [1, 1, 4, 8, 1, 12, 16, 32]
    """
    if isinstance(layer, nn.BatchNorm1d):
        return 1
    return max(g for g in range(1, MOST + 1) if channels % g == 0 and (g == 1 or channels // g >= FEWEST))


class Frozen(nn.Module):
    """A BatchNorm that goes on using its stored statistics in training mode: a row's result depends on that row alone.

    Reads and returns (N, C, ...). Its state has the names of the BatchNorm's.
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(self, layer: _NormBase) -> None:
        super().__init__()
        self.eps = layer.eps
        for name, parameter in layer._parameters.items():
            self.register_parameter(name, parameter)
        for name, buffer in layer._buffers.items():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """(x - mean) / sqrt(variance + eps), scaled and shifted."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def _frozen(layer: _NormBase) -> bool:
    used = not layer.training and layer.running_mean is not None
    return used and not any(p.requires_grad for p in layer.parameters())


def _harmless(layer: _NormBase) -> bool:
    """Whether it reads its rows one at a time, remembers none of them, and will not begin to."""
    if _frozen(layer):  # of another kind it is left, to be refused by the private step if it wakes
        return type(layer) not in BATCH + INSTANCE or any(getattr(layer, h) for h in HOOKS)
    return isinstance(layer, _InstanceNorm) and not layer.track_running_stats


def _replacement(layer: _NormBase, name: str) -> nn.Module:
    C = layer.num_features  # noqa: N806 - the field's letter
    other: nn.Module
    if _frozen(layer):
        other = Frozen(layer)
    elif isinstance(layer, _BatchNorm):
        if isinstance(layer, nn.BatchNorm1d) and C == 1:
            raise Refused(
                f"{name} (BatchNorm1d) normalises a single number a row, which would leave nothing of it",
                "remove this layer, or put one in its place that reads one row at a time",
            )
        other = nn.GroupNorm(groups_for(layer, C), C, layer.eps, affine=False)
    else:
        other = type(layer)(C, layer.eps, layer.momentum, affine=False)
    if layer.affine and not isinstance(other, Frozen):
        other.affine = True
        other.weight, other.bias = layer.weight, layer.bias  # the parameters themselves: tied, frozen, placed as before
    other.training = layer.training
    return other


def _became(other: nn.Module) -> str:
    if isinstance(other, nn.GroupNorm):
        return f"became GroupNorm of {other.num_groups} group{'s' if other.num_groups > 1 else ''}"
    if isinstance(other, Frozen):
        return "stays frozen, with the statistics it has"
    return "keeps no running statistics any more"


# ---------------------------------------------------------------- what cannot be replaced
def _check(layer: _NormBase, name: str) -> None:
    kind, batch = type(layer).__name__, isinstance(layer, _BatchNorm)
    cannot = f"{name or 'the model'} ({kind}) {'mixes the rows of a batch' if batch else 'remembers its rows'}"
    yourself = "put GroupNorm in its place"
    if not name:
        raise Refused(f"{cannot} and is the whole model", yourself)
    if parametrize.is_parametrized(layer):
        raise Refused(f"{cannot} and has parametrisations, which its replacement would lose", yourself)
    if isinstance(layer, LazyModuleMixin) and layer.has_uninitialized_params():  # type: ignore[no-untyped-call]
        raise Refused(f"{cannot} and does not know its size yet", "run the model on one batch first")
    if type(layer) not in BATCH + INSTANCE:
        raise Refused(f"{cannot} in a way of its own, which no other layer can stand in for", yourself)
    if hooks := [h for h in HOOKS if getattr(layer, h)]:
        raise Refused(f"{cannot} and has hooks ({hooks[0].strip('_')}), which its replacement would lose", yourself)


def _check_lists(parent: nn.Module, others: Iterable[nn.Module]) -> None:
    """A plain list or dict of layers is none of torch's containers: the old layer would go on being used."""
    old = {id(layer) for layer in others}
    for attribute, value in vars(parent).items():
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        if attribute != "_modules" and any(id(item) in old for item in inside):
            raise Refused(
                f"{type(parent).__name__}.{attribute} holds a BatchNorm beside the model's modules",
                "use nn.ModuleList or nn.ModuleDict, or put GroupNorm there",
            )


def _hidden(module: torch.jit.ScriptModule) -> bool:
    return any("BatchNorm" in str(getattr(m, "original_name", "")) for m in module.modules())
