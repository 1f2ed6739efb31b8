"""A model made fit for private training, and said in one line.

Entry: differential privacy.
"""

from __future__ import annotations

from torch import nn

from sonde.core import Build, Objective
from sonde.nets.layers.rowwise import make_rowwise, rowwise


def make_private(module: nn.Module) -> list[str]:
    """Replace, within `module`, every layer that mixes records or remembers them; say what was replaced, a line each.

    See `sonde.nets.layers.rowwise`. To be called in `setup`, before a run reads its parameters.

    Raises:
        Refused: a layer of this kind that cannot be replaced without changing what it is.
    """
    return make_rowwise(module)


def built_private(build: Build[Objective]) -> Build[Objective]:
    """What builds the objective with the same layers replaced, for `Method.built`."""
    return Build(rowwise, module=build)


def in_a_line(replaced: list[str]) -> str:
    """What `make_private` replaced, in one line for a person.

    >>> in_a_line(["a: BatchNorm2d became GroupNorm of 8 groups", "b: BatchNorm2d became GroupNorm of 8 groups"])
    '2 layers replaced for privacy: a, b: BatchNorm2d became GroupNorm of 8 groups'
    """
    places: dict[str, list[str]] = {}
    for line in replaced:
        place, _, what = line.partition(": ")
        places.setdefault(what, []).append(place)
    layers = "1 layer" if len(replaced) == 1 else f"{len(replaced)} layers"
    return f"{layers} replaced for privacy: " + "; ".join(f"{_some(where)}: {what}" for what, where in places.items())


def _some(places: list[str]) -> str:
    return ", ".join(places) if len(places) <= 4 else f"{places[0]}, {places[1]} and {len(places) - 2} more"
