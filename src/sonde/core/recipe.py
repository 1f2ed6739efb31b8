"""Everything needed to reproduce one trained and measured model, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from .build import Build
from .engine import Engine, rank_and_world, seed_everything
from .errors import SondeError
from .loop import Budget, fit
from .method import Method, Source
from .objective import Objective
from .run import Run


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A source and how long to train on it; several stages are a stream of tasks or phases."""

    source: Build[Source]
    budget: Budget


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """objective × methods × stages × audits. The same recipe on the same machine gives the same bits.

    name: what the run is called. seed: seeds every generator.
    data: what builds the data set; whatever asks for an argument `data` and has none of its own is given it.
    methods: in the order in which they apply within each hook.
    """

    name: str
    seed: int
    objective: Build[Objective]
    methods: tuple[Build[Method], ...]
    stages: tuple[Stage, ...]
    audits: tuple[Build[Any], ...] = ()
    data: Build[Any] | None = None
    engine: Engine = Engine()

    def start(self, data: Any = None, extra: tuple[Method, ...] = ()) -> Run:
        """Seed, build the objective and the methods, and return the run at step 0.

        data: the data set, if it is already built.
        extra: observers that do not belong to the recipe (progress, logs, checkpoints); they come last.
        """
        seed_everything(self.seed)
        context = {"data": data} if data is not None else {}
        objective = self.objective(**context)
        run = Run(objective, [*(m(**context) for m in self.methods), *extra], self.engine)
        if run.shared:  # the same start everywhere, and then dropout and augmentation of each process's own
            torch.manual_seed(self.seed + 1_000_003 * rank_and_world()[0])
        return run

    def train(self, run: Run | None = None, data: Any = None) -> Run:
        """Train every stage that `run` has not finished; without `run`, start one."""
        data = self.data() if data is None and self.data is not None else data
        run = self.start(data) if run is None else run
        for stage in self.stages[run.stage :]:
            fit(run, stage.source(**({"data": data} if data is not None else {})), stage.budget)
            if run.interrupted:
                break
        return run

    # ------------------------------------------------------------ plain data
    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON; `from_data` is its inverse."""
        return {
            "name": self.name,
            "seed": self.seed,
            "data": None if self.data is None else self.data.to_data(),
            "objective": self.objective.to_data(),
            "methods": [m.to_data() for m in self.methods],
            "stages": [{"source": s.source.to_data(), "budget": _present(s.budget)} for s in self.stages],
            "audits": [a.to_data() for a in self.audits],
            "engine": asdict(self.engine),
        }

    @staticmethod
    def from_data(data: Mapping[str, Any], own: Collection[Callable[..., Any]] = ()) -> Recipe:
        """A recipe from plain, untrusted data. It may name only the package's vocabulary and `own`."""
        known = {f.name for f in fields(Recipe)}
        try:
            if unknown := sorted(map(str, data.keys() - known)):
                entries = ", ".join(sorted(known))
                raise SondeError(f"the recipe has no entry {unknown[0]!r}", f"its entries are {entries}")
            return Recipe(
                name=str(data["name"]),
                seed=int(data["seed"]),
                data=None if data.get("data") is None else Build.from_data(data["data"], own),
                objective=Build.from_data(data["objective"], own),
                methods=tuple(Build.from_data(m, own) for m in data["methods"]),
                stages=tuple(
                    Stage(source=Build.from_data(s["source"], own), budget=Budget(**s["budget"]))
                    for s in data["stages"]
                ),
                audits=tuple(Build.from_data(a, own) for a in data.get("audits", [])),
                engine=Engine(**data.get("engine", {})),
            )
        except KeyError as missing:
            raise SondeError(
                f"the recipe lacks {missing}", "see `sonde train DATA --dry-run` for a whole one"
            ) from None
        except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise SondeError(f"the recipe is not valid: {error}", "see `sonde train DATA --dry-run` for one") from None

    def changed(self, **changes: Any) -> Recipe:
        """The same recipe with some entries replaced."""
        return replace(self, **changes)


def _present(budget: Budget) -> dict[str, Any]:
    return {k: v for k, v in asdict(budget).items() if v is not None}
