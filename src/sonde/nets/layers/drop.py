"""Dropout: units, whole channels, or whole residual branches are left out at random while a net trains.

Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, Dropout, 2014 (units; the form that scales what is kept in
training, sec. 10); Tompson et al., Efficient object localization using convolutional networks, 2015, sec. 3.2
(channels); Huang, Sun, Liu, Sedra and Weinberger, Deep networks with stochastic depth, 2016 (branches; kept branches
are scaled in training here, where the paper scales them afterwards).

What is dropped stands within the layer whose input or output it drops, as its part `dropout`: names and shapes of a
net's state stay as they are.

Entry: dropout.
"""

# N rows, C channels

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sonde.core import Objective, SondeError

from .quantised import Quantised

M = TypeVar("M", bound=nn.Module)
DENSE = (nn.Linear,)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class DropChannels(nn.Module):
    """Leaves out whole channels of (N, C, ...) with probability `rate`, and scales the others by 1 / (1 - rate)."""

    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()
        self.rate = checked(rate, "DropChannels")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to the same."""
        return torch.feature_dropout(x, self.rate, self.training)

    def extra_repr(self) -> str:
        """The rate."""
        return f"rate={self.rate}"


class DropBranch(nn.Module):
    """Leaves out whole rows of (N, ...) with probability `rate`, and scales the others: a branch's, for them."""

    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()
        self.rate = checked(rate, "DropBranch")

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to the same."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.empty(x.shape[0], *(1 for _ in x.shape[1:]), device=x.device, dtype=x.dtype)
        return x * kept.bernoulli_(1 - self.rate).div_(1 - self.rate)

    def extra_repr(self) -> str:
        """The rate."""
        return f"rate={self.rate}"


# ---------------------------------------------------------------- a net with it
def dropped_units(module: M, rate: float, inputs: float = 0.0) -> M:
    """The module with dropout, in place, on what each dense layer reads: `rate`, and `inputs` for a net's first layer.

    A net's first layer reads data; what the others read are hidden units. A game's players are nets of their own.
    """
    for net in _nets(module):
        for i, layer in enumerate(_layers(net)):
            if kind(layer) in DENSE and (share := inputs if i == 0 else rate):
                _before(layer, nn.Dropout(share))
    return module


def dropped_channels(module: M, rate: float) -> M:
    """The module with whole channels dropped, in place, of what each convolution but a net's first layer reads."""
    for net in _nets(module):
        for layer in _layers(net)[1:]:
            if kind(layer) in CONVOLUTIONS and rate:
                _before(layer, DropChannels(rate))
    return module


def dropped_branches(module: M, rate: float) -> M:
    """The module with residual branches dropped, in place: the l-th of L with probability rate * l / L (eq. 4).

    A residual branch is the part `change` of a module, as of `sonde.nets.resnet.Residual`: x + change(x).
    """
    for net in _nets(module):
        found = branches(net)
        for number, branch in enumerate(found, 1):
            if rate and not hasattr(branch, NAME):
                branch.add_module(NAME, DropBranch(rate * number / len(found)).train(branch.training))
                branch.register_forward_hook(_after)
    return module


def drops(module: nn.Module, what: type[nn.Module]) -> bool:
    """Whether layers of the module have such a part, put there by one of the functions above."""
    held = [*_layers(module), *branches(module)]
    return any(isinstance(getattr(layer, NAME, None), what) for layer in held)


def branches(module: nn.Module) -> list[nn.Module]:
    """The residual branches of a module, in the order in which they were written."""
    return [b for m in module.modules() if isinstance(b := getattr(m, "change", None), nn.Module)]


def kind(layer: nn.Module) -> type[nn.Module]:
    """The kind of a layer; of a quantised one, of what it was."""
    return type(layer._shape[0]) if isinstance(layer, Quantised) else type(layer)


def checked(rate: float, who: str) -> float:
    """The rate, in [0, 1)."""
    if not 0 <= rate < 1:
        raise SondeError(f"{who}(rate={rate}) is outside [0, 1)", "choose 0 for none; 0.1 to 0.5 is usual")
    return rate


NAME = "dropout"


def _nets(module: nn.Module) -> list[nn.Module]:
    return list(module.players().values()) if isinstance(module, Objective) else [module]


def _layers(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if kind(m) in DENSE + CONVOLUTIONS]


def _before(layer: nn.Module, drop: nn.Module) -> None:
    if not hasattr(layer, NAME):
        layer.add_module(NAME, drop.train(layer.training))
        layer.register_forward_pre_hook(_read)


def _read(layer: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (layer.dropout(given[0]), *given[1:])


def _after(branch: Any, given: Any, out: Tensor) -> Tensor:
    drop: Callable[[Tensor], Tensor] = branch.dropout
    return drop(out)
