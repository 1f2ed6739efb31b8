"""Dropout for a net that was written without: of units, of channels, of residual branches.

Entry: dropout; regularisation.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from sonde.core import Build, Method, Objective, Refused, Run, SondeError
from sonde.nets.layers import drop

from ..compress.quantise import Quantise


class Dropout(Method):
    """Leave out units at random, so that none relies on others (Srivastava et al., 2014).

    rate: the share of what dense layers read that is left out in training, in [0, 1); 0 changes nothing. inputs: the
    share of the net's input, where its first layer is dense; the paper has 0.2.

    The layers are within the net (see `sonde.nets.layers.drop`), asleep where it is evaluated, and shipped with it.
    """

    def __init__(self, rate: float = 0.5, inputs: float = 0.0) -> None:
        self.rate, self.inputs = drop.checked(rate, "Dropout"), drop.checked(inputs, "Dropout")

    def setup(self, run: Run) -> None:
        """Put the layers in."""
        _last(self, run)
        drop.dropped_units(run.objective, self.rate, self.inputs)
        if self.rate or self.inputs:
            _some(self, run, nn.Dropout, "dense layer behind another layer")

    def built(self, build: Build[Objective]) -> Build[Objective]:
        """See `Method.built`."""
        return Build(drop.dropped_units, module=build, rate=self.rate, inputs=self.inputs)


class SpatialDropout(Method):
    """Leave out whole channels at random: neighbouring positions of one say the same (Tompson et al., 2015, sec. 3.2).

    rate: the share of the channels that convolutions read, but those of the data, in [0, 1); 0 changes nothing.
    """

    def __init__(self, rate: float = 0.1) -> None:
        self.rate = drop.checked(rate, "SpatialDropout")

    def setup(self, run: Run) -> None:
        """Put the layers in."""
        _last(self, run)
        drop.dropped_channels(run.objective, self.rate)
        if self.rate:
            _some(self, run, drop.DropChannels, "convolution behind another layer")

    def built(self, build: Build[Objective]) -> Build[Objective]:
        """See `Method.built`."""
        return Build(drop.dropped_channels, module=build, rate=self.rate)


class StochasticDepth(Method):
    """Leave out whole residual branches at random, the more the deeper (Huang et al., 2016, eq. 4).

    rate: with which the last branch is left out, row by row, in [0, 1); the l-th of L: l / L of it. 0 changes nothing.
    The paper leaves out a branch for a whole batch; a row of its own draws keeps the rows apart.
    """

    def __init__(self, rate: float = 0.5) -> None:
        self.rate = drop.checked(rate, "StochasticDepth")

    def setup(self, run: Run) -> None:
        """Put the layers in."""
        drop.dropped_branches(run.objective, self.rate)
        if self.rate:
            _some(self, run, drop.DropBranch, "residual branch (a module's part `change`)")

    def built(self, build: Build[Objective]) -> Build[Objective]:
        """See `Method.built`."""
        return Build(drop.dropped_branches, module=build, rate=self.rate)


def _some(method: Method, run: Run, kind: type[nn.Module], where: str) -> None:
    if not drop.drops(run.objective, kind):
        raise SondeError(f"{type(method).__name__} finds no {where} in the net", "leave it out, or choose another net")


def _last(method: Any, run: Run) -> None:
    """Refuse a method after it that would put other layers in the place of those it was put in."""
    for other in run.methods[run.methods.index(method) + 1 :]:
        if isinstance(other, Quantise):
            name = type(method).__name__
            raise Refused(
                f"{name} before Quantise: the layers it is put in are replaced",
                f"put Quantise before {name} in the list",
            )
