"""What is learned: the networks, and what they minimise."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from .batch import Batch
from .loss import Loss


class Objective(nn.Module):
    """Owns the networks and says what each of them minimises.

    A game has several players, each with parameters of its own, who move in turns; supervised learning is a game
    with one player. A subclass implements `forward`; a game also `players` and, when the players do not simply
    alternate, `turns`. Players may share parameters: a shared trunk is then updated in both turns.
    """

    def players(self) -> Mapping[str, nn.Module]:
        """The modules that are optimised, by the name of the turn in which they are."""
        return {"model": self}

    def turns(self, step: int) -> tuple[str, ...]:
        """Who moves, and in which order, within step `step`."""
        return tuple(self.players())

    def forward(self, turn: str, batch: Batch) -> Loss:
        """The loss of player `turn` on `batch`: one value a row for every `example` term."""
        raise NotImplementedError
