"""A trained model as the subject of audits, and the audits that there are."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sonde.core import Audit, Batch, SondeError, Subject
from sonde.names import did_you_mean, snake, squash
from sonde.objectives import Classify

if TYPE_CHECKING:
    from sonde.bundle import Bundle
    from sonde.data import Dataset

TOPICS = ("quality", "calibration", "fairness", "robustness", "privacy", "explain", "energy")
"""The order in which audits run and are shown: what everything else is read in the light of comes first."""
ALL = "all"  # what `--only` calls every audit, also where a recipe names some

# N rows, M members, C classes


def subject_of(
    bundle: Bundle,
    data: Dataset,
    splits: Collection[str] = ("train", "val", "test"),
    ledger: Mapping[str, Any] | None = None,
    name: str = "",
) -> Subject:
    """A bundle and the rows of a data set as what an audit asks.

    data: read as the bundle reads. splits: those that are taken along. ledger: what else is known of its making.
    """
    objective = bundle.objective
    image = bundle.schema.kind == "image"

    def logits(x: Any) -> Tensor:
        out: Tensor = objective.net(x)  # type: ignore[operator]
        return out if out.dim() == 2 else out.softmax(-1).mean(1).log()  # (N, C) of (N, M, C)

    def decide(batch: Batch) -> Tensor:
        codes = batch.fields[bundle.group].numpy()
        scores = bundle.raw(batch.x)[:, bundle.favourable].numpy()
        from sonde.fairness import decided

        answers = decided(bundle.thresholds, scores, codes, bundle.answers, seed=0).answers  # type: ignore[arg-type]
        favoured = torch.from_numpy(answers == bundle.answers[1])
        return torch.where(favoured, bundle.favourable, 1 - bundle.favourable)

    return Subject(
        name=name or data.name,
        task=bundle.task,  # type: ignore[arg-type]
        model=objective,
        predict=objective.predict,  # type: ignore[arg-type]
        logits=logits if isinstance(objective, Classify) else None,
        splits={s: data.batch(data.splits[s]) for s in splits if len(data.splits[s])},
        classes=bundle.classes,
        kind="image" if image else "table",
        bounds=(0.0, 1.0) if image else None,
        groups={field: tuple(data.schema.groups[field]) for field in data.fields},
        schema=bundle.schema,
        decide=None if bundle.thresholds is None else decide,
        names={s: [data.names[i] for i in data.splits[s].tolist()] for s in splits if len(data.names)},
        ledger={**({} if bundle.privacy is None else {"privacy": dict(bundle.privacy)}), **(ledger or {})},
    )


@cache
def catalogue() -> tuple[type[Audit], ...]:
    """Every audit of `sonde.audits`: by topic, in each the one that is called like it first, then by module."""
    package = importlib.import_module("sonde.audits")
    found: list[type[Audit]] = []
    for info in pkgutil.walk_packages(package.__path__, prefix="sonde.audits."):
        if any(piece.startswith("_") for piece in info.name.split(".")):
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            own = inspect.isclass(value) and issubclass(value, Audit) and value.__module__ == module.__name__
            if own and not name.startswith("_"):
                found.append(value)
    places = {name: i for i, name in enumerate(TOPICS)}
    return tuple(sorted(found, key=lambda a: (places.get(topic(a), len(TOPICS)), snake(a.__name__) != topic(a))))


def topic(audit: Audit | type[Audit]) -> str:
    """The part of `sonde.audits` that an audit belongs to: `fairness`."""
    make = audit if isinstance(audit, type) else type(audit)
    pieces = make.__module__.split(".")
    return pieces[2] if pieces[:2] == ["sonde", "audits"] else snake(make.__name__)


def chosen(only: Collection[str] = (), named: Sequence[Audit] = ()) -> list[Audit]:
    """The audits to run. named: those of a recipe, with its settings; the others have their defaults.

    only: topics or names, or "all"; without any, those that are named, or all if none is.
    """
    given = {snake(type(a).__name__) for a in named}
    every = [*named, *(make() for make in catalogue() if snake(make.__name__) not in given)]
    if not only:
        return list(named) or every
    words = {squash(word) for word in only}
    known = [ALL, *dict.fromkeys([*map(topic, every), *(snake(type(a).__name__) for a in every)])]
    for name in only:
        if squash(name) not in map(squash, known):
            near = did_you_mean(name, known) or f"choose from {', '.join(known)}"
            raise SondeError(f"there is no audit {name!r}", near)
    return [a for a in every if words & {ALL, squash(topic(a)), squash(type(a).__name__)}]
