"""The deployable thing: weights, preprocessing and spec, with `predict` from raw input to named answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from sonde.core.build import Build
from sonde.core.errors import Refused, SondeError
from sonde.core.objective import Objective
from sonde.core.state import Corrupt, read_folder, refuse_pickle, replace_folder

if TYPE_CHECKING:
    import numpy as np

    from sonde.data import Dataset
    from sonde.fairness import Decisions, GroupThresholds

FORMAT = 1
MAKERS = ("sonde.nets.", "sonde.objectives.", "sonde.losses.")
SLACK = 32  # registrations (modules, buffers, parameters) for each stored tensor that no real net comes near
LARGEST = 1_000_000  # a number in the description of a net, unless more values than that are stored
RESTORE = "restore it from a copy, or use the folder that was saved"
REFUSED = "do not use it; if the net is yours, pass its class: own=[...]"
WEIGHTS, SPEC = "weights.safetensors", "bundle.json"
ENTRIES = {"format", "task", "objective", "schema", "privacy", "thresholds"}


class _Oversized(Exception):
    """A net under construction holds more than its file."""


@dataclass(frozen=True)
class Bundle:
    """A trained objective, what builds it, and the schema that reads its input.

    objective: with the shipped weights, in evaluation mode, on the CPU.
    build: what constructs it. task: classification, multilabel or regression.
    schema: from raw input (paths, frames, arrays) to what the net reads, and the names of the outputs.
    privacy: what private training promises of it (see `sonde.promises.numbers`), as plain data; None without.
    thresholds: of a model that decides by group (`sonde.fair_decisions.with_thresholds`); None without. group: the
        sensitive column they go by. favourable: the code of the class that decision 1 stands for.
    """

    objective: Objective
    build: Build[Objective]
    task: str
    schema: Any
    privacy: Mapping[str, Any] | None = None
    thresholds: GroupThresholds | None = None
    group: str = ""
    favourable: int = 1

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes or labels; () for regression."""
        return tuple(self.schema.classes)

    def raw(self, x: Any, rows_at_once: int = 512) -> Tensor:
        """Probabilities (N, C) or values (N, T) for input the net can read (see `schema.encode`)."""
        from sonde.core import Batch

        rows = Batch(x)
        predict: Callable[[Any], Tensor] = self.objective.predict  # type: ignore[assignment]
        with torch.no_grad():
            parts = [predict(rows[i : i + rows_at_once].x) for i in range(0, max(1, len(rows)), rows_at_once)]
        return torch.cat(parts)

    def predict(self, inputs: Any) -> np.ndarray:
        """The answer for each row of raw input: class names (N,), 0/1 labels (N, L), or values (N,) or (N, T)."""
        import numpy as np

        if self.thresholds is not None:
            raise SondeError(f"this model decides by {self.group!r}", "use decide; predict_proba has its scores")
        out = self.raw(self.schema.encode(inputs)).numpy()
        if self.task == "classification":
            return np.asarray(self.classes, dtype=object)[out.argmax(1)]
        if self.task == "multilabel":
            return (out > 0.5).astype(np.int64)
        return out[:, 0] if out.shape[1] == 1 else out

    def predict_proba(self, inputs: Any) -> np.ndarray:
        """The probability of each class or label, (N, C), in the order of `classes`."""
        if self.task == "regression":
            raise SondeError("a regression has no probabilities", "use predict")
        return self.raw(self.schema.encode(inputs)).numpy()

    def decide(self, inputs: Any, groups: Any = None, seed: int | None = None) -> Decisions:
        """Decisions by the thresholds of each row's group; where they draw lots, the decisions say so.

        groups: (N,) the value of the sensitive column for each row; without it, that column of the input is read. A
            group that was too small or never seen gets the rule of the rest, and the decisions say so.
        seed: of the lots; drawn from the system where not given, and kept with the decisions.
        """
        from sonde.fairness import decided

        if self.thresholds is None:
            raise SondeError(
                "this model has no thresholds for groups", "use predict, or sonde.fair_decisions.with_thresholds"
            )
        scores = self.raw(self.schema.encode(inputs))[:, self.favourable].numpy()
        codes = self._codes(inputs, groups)
        if len(codes) != len(scores):
            raise SondeError(f"{len(scores)} rows have {len(codes)} groups", "give one group a row, in their order")
        return decided(self.thresholds, scores, codes, self.answers, seed)

    @property
    def answers(self) -> tuple[str, str]:
        """The names of decision 0 and of decision 1."""
        return self.classes[1 - self.favourable], self.classes[self.favourable]

    def _codes(self, inputs: Any, groups: Any) -> np.ndarray:
        """The group of each row, (N,); -1 for one that was never seen."""
        import numpy as np

        from sonde.data.frames import read_frame

        if groups is None and self.schema.kind != "table":
            raise SondeError("pictures do not say which group they are of", f"give groups=, the {self.group} of each")
        rows = inputs if groups is None else [{self.group: g} for g in np.asarray(groups).ravel().tolist()]
        field = next(f for f in self.schema.fields if f.column == self.group)
        return field.encode(read_frame(rows, missing=getattr(self.schema, "missing", ())).data)[0]

    # ------------------------------------------------------------ on disk
    def save(self, folder: Path) -> None:
        """Write the bundle as a folder of safetensors and JSON with a manifest."""
        from safetensors.torch import save

        weights = {k: v.detach().cpu().clone().contiguous() for k, v in self.objective.state_dict().items()}
        spec: dict[str, Any] = {
            "format": FORMAT,
            "task": self.task,
            "objective": self.build.to_data(),
            "schema": self.schema.to_data(),
            **({} if self.privacy is None else {"privacy": dict(self.privacy)}),
        }
        if self.thresholds is not None:
            rules = self.thresholds.to_data()
            spec["thresholds"] = {"group": self.group, "favourable": self.favourable, "rules": rules}
        content = json.dumps(spec, indent=1, ensure_ascii=False).encode()
        replace_folder(Path(folder), {WEIGHTS: save(weights), SPEC: content})

    @staticmethod
    def load(folder: Path, own: Collection[Callable[..., Any]] = ()) -> Bundle:
        """Read a bundle from untrusted files.

        own: the caller's own constructors that the bundle may name (a net of theirs).

        Raises Corrupt for damaged files, Refused for names outside the package's vocabulary. The weights' names and
        shapes are checked before any memory of the size they claim is taken.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        from sonde.data import schema_from_data

        folder = Path(folder)
        refuse_pickle(folder)
        try:
            _, files = read_folder(folder)
        except FileNotFoundError:
            raise SondeError(f"there is no model in {folder}", "give a run's name or its model folder") from None
        try:
            spec = json.loads(files[SPEC])
            weights = load(files[WEIGHTS])
            objective_data, schema_data, task = spec["objective"], spec["schema"], spec["task"]
            newer = int(spec["format"]) > FORMAT
        except (KeyError, ValueError, TypeError, SafetensorError, RecursionError):
            raise Corrupt(f"{folder.name} is not a whole bundle", RESTORE) from None
        if newer:
            raise SondeError(f"{folder.name} was written by a newer version of sonde", "upgrade sonde to read it")
        if unknown := sorted(spec.keys() - ENTRIES):
            raise Corrupt(f"{folder.name} has an entry {unknown[0]!r}, which no bundle has", RESTORE)
        privacy = spec.get("privacy")
        if not isinstance(privacy, dict | None):
            raise Corrupt(f"{folder.name} is not a whole bundle", RESTORE)
        try:
            schema = schema_from_data(schema_data)
        except SondeError as error:
            raise Corrupt(f"{folder.name}: {error.cause}", error.remedy) from None
        if task != schema.task:
            raise Corrupt(f"{folder.name} says two things of its task", "use the folder that was saved")
        by_group = _by_group(spec["thresholds"], schema, folder) if "thresholds" in spec else ()
        most = max(LARGEST, sum(v.numel() for v in weights.values()))
        build = _read(objective_data, own, most, folder)
        objective = _constructed(build, weights, folder)
        objective.load_state_dict(weights, assign=True)
        return Bundle(objective.requires_grad_(False).eval(), build, task, schema, privacy, *by_group)

    @staticmethod
    def of(
        objective: Objective, build: Build[Objective], data: Dataset, privacy: Mapping[str, Any] | None = None
    ) -> Bundle:
        """The bundle of a trained objective."""
        return Bundle(objective, build, data.task, data.schema, privacy)


def _by_group(data: Any, schema: Any, folder: Path) -> tuple[GroupThresholds, str, int]:
    """The thresholds, the column they go by and the favourable class, as far as they fit the schema."""
    from sonde.fairness import GroupThresholds

    try:
        if data.keys() != {"group", "favourable", "rules"} or data["rules"].keys() != {"constraint", "rules", "pooled"}:
            raise ValueError("entries")
        thresholds, group, favourable = GroupThresholds.from_data(data["rules"]), data["group"], data["favourable"]
        two = schema.task == "classification" and len(schema.classes) == 2
        if not two or type(favourable) is not int or favourable not in (0, 1):
            raise ValueError("classes")
        if len(thresholds.rules) > len(schema.groups[group]):
            raise ValueError("groups")
    except (SondeError, AttributeError, KeyError, TypeError, ValueError):
        raise Corrupt(f"the thresholds in {folder.name} are damaged, or of another model", RESTORE) from None
    return thresholds, group, favourable


def _read(data: Any, own: Collection[Callable[..., Any]], most: int, folder: Path) -> Build[Objective]:
    """What builds the objective: it may name only nets and objectives of the package, nothing that reads or fetches.

    most: the largest number in the description of a net of the package; what is larger can only be a claim.
    """
    mine = {f"{make.__module__}:{make.__qualname__}" for make in own}
    todo = [data]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            named = value.get("build")
            if named is not None and named not in mine and not str(named).startswith(MAKERS):
                raise Refused(f"{folder.name} names {named!r}, which is not a net of the package", REFUSED)
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, int | float) and not own and not abs(value) <= most:
            raise Corrupt(f"{folder.name} describes a net larger than its weights", RESTORE)
    try:
        return Build.from_data(data, own)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise Corrupt(f"{folder.name} describes no net: {error}", RESTORE) from None


def _constructed(build: Build[Objective], weights: Mapping[str, Tensor], folder: Path) -> Objective:
    """The objective without memory for its weights, whose names and shapes are those of `weights`.

    A description may claim any size. Construction ends as soon as it has registered more than the file holds.
    """
    registered = 0

    def count(*_: Any) -> None:
        nonlocal registered
        registered += 1
        if registered > SLACK * (len(weights) + SLACK):
            raise _Oversized

    watched = [
        register(count)
        for register in (
            register_module_module_registration_hook,
            register_module_parameter_registration_hook,
            register_module_buffer_registration_hook,
        )
    ]
    try:
        with torch.device("meta"):
            objective = build()
    except _Oversized:
        raise Corrupt(f"{folder.name} describes a net larger than its weights", RESTORE) from None
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, MemoryError) as error:
        raise Corrupt(f"{folder.name} describes a net that cannot be built: {error}", RESTORE) from None
    finally:
        for handle in watched:
            handle.remove()
    if not isinstance(objective, Objective):
        raise Refused(f"{folder.name} names {build.make.__qualname__}, which is not an objective", REFUSED)
    expected = {k: (tuple(v.shape), v.dtype) for k, v in objective.state_dict().items()}
    found = {k: (tuple(v.shape), v.dtype) for k, v in weights.items()}
    if expected != found:
        odd = sorted(set(expected.items()) ^ set(found.items()), key=str)[0][0]
        raise Corrupt(f"the weights in {folder.name} do not fit its net: {odd}", RESTORE)
    # What is computed at construction and not stored needs real numbers, now that its size is known to be right.
    if any(b.is_meta and k not in weights for k, b in objective.named_buffers()):
        with torch.random.fork_rng(devices=[]):  # its first weights are thrown away: nobody's draws should move
            objective = build()
    return objective
