"""How the weights of a net begin: scaled so that signals neither fade nor grow from layer to layer.

Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010, eq. 16 (xavier); He,
Zhang, Ren and Sun, Delving deep into rectifiers, 2015, eq. 10 (kaiming); Saxe, McClelland and Ganguli, Exact solutions
to the nonlinear dynamics of learning in deep linear neural networks, 2014 (orthogonal); Mishkin and Matas, All you need
is a good init, 2016, algorithm 1 (from rows). The distributions are torch's.

Entry: vanishing gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sonde.core import SondeError

from .layers.quantised import Quantised

M = TypeVar("M", bound=nn.Module)
Scheme = Literal["xavier", "kaiming", "orthogonal"]
KINDS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": 2**0.5,
    "leaky_relu": (2 / (1 + 0.01**2)) ** 0.5,
    "selu": 0.75,
}
"""What makes up for an activation's shrinking: those of `torch.nn.init.calculate_gain`; 0.01 is leaky_relu's slope."""


@torch.no_grad()
def initialise(
    module: M, scheme: Scheme = "kaiming", activation: str = "relu", generator: torch.Generator | None = None
) -> M:
    """Draw the weights of dense layers and convolutions, in place, and set their biases to 0; other layers stay.

        xavier      normal, deviation gain sqrt(2 / (fan_in + fan_out))
        kaiming     normal, deviation gain / sqrt(fan_in)
        orthogonal  gain times a matrix whose rows, or columns if they are fewer, are orthonormal

    activation: what stands between the layers: one of `GAINS`. generator: where the numbers come from, on the CPU, so
    that every device begins alike; torch's global one if none is given.
    """
    check(scheme, activation)
    gain = GAINS[activation]
    for layer in layers(module):
        drawn = torch.empty(layer.weight.shape)
        if scheme == "orthogonal":
            nn.init.orthogonal_(drawn, gain, generator=generator)
        elif scheme == "xavier":
            nn.init.xavier_normal_(drawn, gain, generator=generator)
        else:
            fan_in, _ = nn.init._calculate_fan_in_and_fan_out(drawn)
            drawn.normal_(0.0, gain / fan_in**0.5, generator=generator)
        layer.weight.copy_(drawn)
        if layer.bias is not None:
            layer.bias.zero_()
    return module


@torch.no_grad()
def scale_layers(
    module: nn.Module, evaluate: Callable[[], object], tolerance: float = 0.1, tries: int = 10
) -> dict[str, float]:
    """Scale each layer's weights, in the order in which they are called, until its outputs have a variance of 1.

    evaluate: runs the module on the rows to go by, in one call of it or several. tolerance: of the variance, and
    tries: evaluations for each layer (both as in algorithm 1). Returns the variances at the end, by the layers' names.
    """
    names = {layer: name for name, layer in module.named_modules()}
    seen: list[Any] = []
    outputs: list[Tensor] = []
    handles = [layer.register_forward_hook(lambda m, given, out: seen.append(m)) for layer in layers(module)]
    try:
        evaluate()
    finally:
        _remove(handles)
    found: dict[str, float] = {}
    for layer in dict.fromkeys(seen):
        handles = [layer.register_forward_hook(lambda m, given, out: outputs.append(out.detach().float().flatten()))]
        try:
            for attempt in range(tries + 1):
                outputs.clear()
                evaluate()
                variance = float(torch.cat(outputs).var(correction=0))
                found[names[layer]] = variance
                if not 0 < variance < float("inf"):
                    raise SondeError(
                        f"the layer {names[layer]} answers with a variance of {variance:g} to the training rows",
                        "look at the rows, or leave the initialisation from rows out",
                    )
                if abs(variance - 1) < tolerance or attempt == tries:
                    break
                layer.weight.div_(variance**0.5)
        finally:
            _remove(handles)
    return found


def layers(module: nn.Module) -> list[Any]:
    """The dense layers and convolutions of a module."""
    found = [m for m in module.modules() if isinstance(m, (*KINDS, Quantised))]
    if not found:
        raise SondeError("the net has no dense layer and no convolution to initialise", "leave it as it begins")
    for layer in found:
        if parametrize.is_parametrized(layer, "weight"):
            raise SondeError(
                f"{type(layer).__name__} computes its weight from others (a parametrisation), which cannot be set",
                "initialise the net first, or leave the parametrisation out",
            )
    return found


def check(scheme: str, activation: str) -> None:
    """Refuse a scheme or an activation that is not known."""
    for name, value, known in (("scheme", scheme, get_args(Scheme)), ("activation", activation, tuple(GAINS))):
        if value not in known:
            raise SondeError(f"there is no {name} {value!r}", f"choose one of {', '.join(known)}")


def _remove(handles: Sequence[Any]) -> None:
    for handle in handles:
        handle.remove()
