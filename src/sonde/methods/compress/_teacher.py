"""A trained model that another one learns from."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sonde.bundle import Bundle
from sonde.core import Batch, Objective, Refused, Run, SondeError, digest
from sonde.core.state import refuse_pickle


class Teacher:
    """A frozen copy of a trained model in evaluation mode, and which one it is.

    given: a module, or the folder of a run or of its model, which is read when a run is set up.
    """

    def __init__(self, given: str | nn.Module) -> None:
        self.given = given
        self.net: nn.Module = nn.Identity()
        self.task = ""  # of a folder: what it was trained for
        self.fingerprint = ""

    def open(self, run: Run) -> None:
        """Have the model on the run's device. The module that was given stays as it is."""
        if isinstance(self.given, nn.Module):
            net = copy.deepcopy(self.given)
        else:
            bundle = Bundle.load(_folder(self.given))
            net, self.task = bundle.objective, bundle.task
        if any(isinstance(b, nn.modules.lazy.LazyModuleMixin) for b in net.modules()):
            raise SondeError("the teacher has not seen any row yet: its shapes are not known", "train it first")
        self.net = net.to(run.device).eval().requires_grad_(False)
        found = digest(self.net.state_dict())
        if self.fingerprint and found != self.fingerprint:
            raise SondeError("the teacher is not the one that this run began with", _RESTORE)
        self.fingerprint = found

    def outputs(self, turn: str, batch: Batch) -> Any:
        """What it answers: a tensor, or the loss of an objective."""
        with torch.no_grad():
            return self.net(turn, batch) if isinstance(self.net, Objective) else self.net(batch.x)

    def logits(self, turn: str, batch: Batch) -> Tensor:
        """Its logits (N, C) or (N, M, C), in float32 and without history."""
        out = self.outputs(turn, batch)
        if not isinstance(out, Tensor):
            if "logits" not in out.out:
                raise Refused(f"the teacher, a {type(self.net).__name__}, has no logits", "give a classifier")
            out = out.out["logits"]
        return out.detach().float()

    def state_dict(self) -> dict[str, Any]:
        """Which model it is."""
        return {"teacher": self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; refuses to go on with another teacher."""
        if self.fingerprint and state["teacher"] != self.fingerprint:
            raise SondeError("the teacher is not the one that this run began with", _RESTORE)
        self.fingerprint = state["teacher"]


def _folder(name: str) -> Path:
    """The model folder at the path of a run or of a model."""
    path = Path(name).expanduser()
    refuse_pickle(path)
    if (path / "model" / "bundle.json").is_file():
        return path / "model"
    if (path / "bundle.json").is_file():
        return path
    raise SondeError(f"there is no trained model in {name!r}", "give the folder of a finished run, e.g. runs/NAME")


_RESTORE = "put the first teacher back, or train anew"
