"""Hints: a layer of a trained net guides a layer of the one that learns.

Romero, Ballas, Kahou, Chassang, Gatta and Bengio, FitNets: hints for thin deep nets, 2015, eq. 3. Differences from the
paper: the hint is a term beside the others throughout, where the paper trains on it alone first; the regressor is a
linear map of channels (the paper's convolution of kernel 1), so both layers must have the same positions; the square
is averaged over a row's features, so that the strength means the same for layers of all sizes.

Entry: distillation.
"""

# N rows, S channels of the student, T of the teacher

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import At, Batch, Loss, Method, Run, SondeError, Term
from sonde.core.engine import placed_like

from ._teacher import Teacher


class Hint(Method):
    """Learn to compute what a layer of a trained model computes (FitNets, Romero et al., 2015).

        hint_i = 1/2 mean (r(v_i) - u_i)^2,   v: of the student's layer, u: of the teacher's, r: a learnt linear map

    teacher: the folder of a run or of its model, or a module. A copy of it is kept, in evaluation mode.
    teacher_layer, layer: names of modules in the two, as `named_modules` gives them (`net.stages.1`).
    strength: weight of the term; 0 adds none.

    Channels are axis 1 of both outputs; the axes after it must agree. Where the two have as many channels, or a layer
    does not say how many (an activation), there is no r. Else r is trained with the player by the run's update rule;
    it is part of the run's state and never shipped.
    """

    def __init__(
        self, teacher: str | nn.Module, teacher_layer: str, layer: str, strength: float = 1.0, turn: str = "model"
    ) -> None:
        if not 0 <= strength < float("inf"):
            raise ValueError(f"strength is 0 or more; got {strength}")
        self.teacher_layer, self.layer, self.strength, self.turn = teacher_layer, layer, strength, turn
        self._teacher = Teacher(teacher)
        self._regressor: Regressor | None = None
        self._loaded: dict[str, Tensor] = {}
        self._shown: tuple[Batch, Tensor] | None = None
        self._wanted: Tensor | None = None
        self._now: Batch | None = None

    def setup(self, run: Run) -> None:
        """Open the teacher, watch both layers, and make the regressor."""
        if self.strength == 0:
            return
        self._teacher.open(run)
        player = run.objective.players().get(self.turn)
        if player is None:
            raise SondeError(
                f"Hint teaches the player {self.turn!r}, which the objective does not have",
                f"choose turn from {', '.join(run.objective.players())}",
            )
        mine = _layer(run.objective, self.layer, "student")
        theirs = _layer(self._teacher.net, self.teacher_layer, "teacher")
        # Which batch a layer's output belongs to: other methods evaluate the objective on rows of their own.
        run.objective.register_forward_pre_hook(lambda module, given: self._see(given[1]))
        mine.register_forward_hook(lambda module, given, out: self._show(out))
        theirs.register_forward_hook(lambda module, given, out: self._want(out))
        read, written = _width(mine), _width(theirs)
        if read and written and read != written and not hasattr(player, REGRESSOR):
            some = next(mine.parameters())
            player.add_module(REGRESSOR, Regressor(read, written).to(some.device, some.dtype))
        self._regressor = getattr(player, REGRESSOR, None)
        self._fill(self._loaded)

    def loss(self, at: At, loss: Loss) -> Loss:
        """See `Method.loss`."""
        if self.strength == 0 or at.turn != self.turn:
            return loss
        if self._shown is None or self._shown[0] is not at.batch:
            at.evaluate(at.batch)
        shown, self._shown = self._shown, None
        self._teacher.outputs(at.turn, at.batch)
        wanted, self._wanted = self._wanted, None
        if shown is None or wanted is None:
            which = f"{self.layer!r} of the student" if shown is None else f"{self.teacher_layer!r} of the teacher"
            raise SondeError(
                f"Hint watches the layer {which}, which took no part in the answer",
                "name another layer; methods that replace layers (Quantise) stand before Hint in the list",
            )
        student = shown[1].to(wanted.dtype)  # (N, S, ...)
        if self._regressor is not None:
            prefix = next(k for k, m in at.run.objective.named_modules() if m is self._regressor)
            weight, bias = (at.params.get(f"{prefix}.{k}", getattr(self._regressor, k)) for k in ("weight", "bias"))
            student = torch.einsum("ns...,ts->nt...", student, weight) + _along(bias, student)
        if student.shape != wanted.shape:
            raise SondeError(
                f"Hint compares layers that agree beyond the channels; {self.layer!r} gives "
                f"{tuple(shown[1].shape[1:])} numbers a row, {self.teacher_layer!r} of the teacher "
                f"{tuple(wanted.shape[1:])}",
                "name two dense layers, or two convolutions that see the same positions",
            )
        value = 0.5 * (student - wanted).square().flatten(1).mean(1)  # (N,)
        return loss.with_term("hint", Term(value, "example", self.strength))

    def _see(self, batch: Batch) -> None:
        self._now = batch

    def _show(self, out: Tensor) -> None:
        self._shown = None if self._now is None else (self._now, out)

    def _want(self, out: Tensor) -> None:
        self._wanted = out

    def state_dict(self) -> dict[str, Any]:
        """Which teacher it is, and the regressor."""
        mine = {} if self._regressor is None else dict(self._regressor.named_parameters())
        regressor = {k: p.detach() for k, p in mine.items()} or self._loaded
        return {**self._teacher.state_dict(), "regressor": regressor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._teacher.load_state_dict(state)
        self._loaded = {k: v.clone() for k, v in state["regressor"].items()}
        self._fill(self._loaded)

    def _fill(self, values: dict[str, Tensor]) -> None:
        if self._regressor is not None and values:
            with torch.no_grad():
                for k, p in self._regressor.named_parameters():
                    p.copy_(placed_like(values[k], p))


REGRESSOR = "hint_regressor"


class Regressor(nn.Module):
    """A linear map of channels whose weights are trained with the model it is in, and are no part of its state."""

    def __init__(self, read: int, written: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(written, read))  # (T, S): at first it passes on what both have
        self.bias = nn.Parameter(torch.zeros(written))

    def _save_to_state_dict(self, *_: Any) -> None:
        """Nothing: what is shipped is the model alone."""

    def _load_from_state_dict(self, *_: Any) -> None:
        """Nothing."""


def _along(bias: Tensor, like: Tensor) -> Tensor:
    return bias.view(1, -1, *(1 for _ in range(like.dim() - 2)))


def _layer(module: nn.Module, name: str, whose: str) -> nn.Module:
    found = dict(module.named_modules())
    if name in found and name:
        return found[name]
    near = [k for k in found if k.endswith(f".{name}")] or [k for k in found if k]
    raise SondeError(f"Hint: the {whose} has no layer {name!r}", f"choose one of {', '.join(near[:12])}")


def _width(layer: nn.Module) -> int | None:
    """How many channels the output of a layer has, by the last of its parts that says so; None if none does."""
    for part in reversed(list(layer.modules())):
        for name in ("out_features", "out_channels", "num_features"):
            if isinstance(width := getattr(part, name, None), int):
                return width
    return None
