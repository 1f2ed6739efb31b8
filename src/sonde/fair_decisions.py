"""A trained model that decides by group: thresholds fitted on its validation rows, and measured on others.

Hardt, Price and Srebro, Equality of opportunity in supervised learning, 2016, sections 3 and 4: the scores stay as they
are, and only the decisions that are made from them change; see `sonde.fairness.GroupThresholds`.

Entry: fairness after training; demographic parity; equal opportunity; equalised odds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sonde.api import load
from sonde.bundle import Bundle
from sonde.core import Measure, SondeError
from sonde.fairness import GroupThresholds, decided, fairness_measures

if TYPE_CHECKING:
    from sonde.data import Dataset
    from sonde.fairness.thresholds import Constraint

MINIMUM = 30  # records; a share of fewer is too uncertain to act on


def with_thresholds(
    model: Bundle | str | Path,
    data: Dataset,
    group: str,
    constraint: Constraint,
    favourable: str | None = None,
    minimum: int = MINIMUM,
    own: Collection[Callable[..., Any]] = (),
    output_dir: str | Path = "runs",
) -> Bundle:
    """The model with a threshold for each group, fitted on the validation rows of the data; `save` it where you like.

    Never on the training rows, which the scores were made to fit, nor on the test rows, which judge the result.

    model: a bundle, or a run's name or folder. data: the data it was trained on, opened with `sensitive=group`.
    constraint: "demographic_parity", "equal_opportunity" or "equalised_odds".
    favourable: the class decided for; the second one if not given.
    minimum: validation rows with each label (of any, for demographic parity) that a group needs for a rule of its own;
        smaller groups share one, which is said in a warning. own: constructors of yours that the model names.
    """
    bundle = model if isinstance(model, Bundle) else load(model, own=own, output_dir=output_dir)
    code = _code(bundle, favourable)
    _check(bundle, data, group)
    index = data.splits["val"]
    if not len(index):
        raise SondeError(f"{data.name} has no validation rows", "set some aside: val=0.1")
    y, codes = (data.y[index] == code).numpy().astype(np.int64), data.fields[group][index].numpy()
    found = GroupThresholds.fit(_scores(bundle, data, "val", code), y, codes, constraint, minimum)
    names = data.schema.groups[group]
    few = ", ".join(names[g] for g in found.pooled)
    alone = sorted(set(codes.tolist()) - set(found.pooled))
    rest = np.bincount(y[np.isin(codes, found.pooled)], minlength=2)
    enough = (rest.sum() if constraint == "demographic_parity" else rest.min()) >= max(1, minimum)
    if len(alone) + int(enough) < 2:
        kind = "" if constraint == "demographic_parity" else " of each label"
        raise SondeError(
            f"fewer than two groups of {group!r} have {minimum} validation rows{kind}",
            "set more rows aside (val=0.3), or lower minimum",
        )
    if few:
        how = "share one rule" if enough else "get the rule of all rows, which the constraint does not cover"
        warnings.warn(f"groups of {group!r} with fewer than {minimum} validation rows {how}: {few}", stacklevel=2)
    fields = tuple(f for f in bundle.schema.fields if f.column != group)
    fields += tuple(f for f in data.schema.fields if f.column == group)
    schema = replace(bundle.schema, fields=fields)
    return replace(bundle, schema=schema, thresholds=found, group=group, favourable=code)


def measured(
    bundle: Bundle, data: Dataset, group: str, favourable: str | None = None, split: str = "test", seed: int = 0
) -> list[Measure]:
    """Accuracy of a model's decisions and their differences between groups, with 95 % intervals, on held-out rows.

    By thresholds where the bundle has them, else for the likeliest class. favourable: as in `with_thresholds`; where
    there are thresholds, it is theirs. seed: of the lots.
    """
    from sonde.audits.quality.intervals import wilson

    fair = bundle.thresholds
    code = _code(bundle, favourable) if fair is None else bundle.favourable
    _check(bundle, data, group)
    index = data.splits[split]
    y, scores = (data.y[index] == code).numpy().astype(np.int64), _scores(bundle, data, split, code)
    if fair is None:
        chosen, lots = (scores > 0.5).astype(np.int64), 0
    else:
        _check(bundle, data, bundle.group)
        found = decided(fair, scores, data.fields[bundle.group][index].numpy(), bundle.answers, seed)
        chosen, lots = (found.answers == bundle.answers[1]).astype(np.int64), int(found.randomised.sum())
    right = int((chosen == y).sum())
    accuracy = Measure(
        name="quality/accuracy",
        value=right / max(1, len(y)),
        unit="1",
        n=len(y),
        better="higher",
        source="share of right decisions",
        interval=wilson(right, len(y)),
        split=split,
        settings={"interval": "wilson", "lots": lots, "seed": seed},
    )
    names = data.schema.groups[group]
    return [accuracy, *fairness_measures(y, chosen, data.fields[group][index].numpy(), names, split=split)]


def _code(bundle: Bundle, favourable: str | None) -> int:
    if bundle.task != "classification" or len(bundle.classes) != 2:
        raise SondeError("thresholds for groups decide between two classes, and this model does not",
                         "train it on a target of two classes")  # fmt: skip
    if favourable is not None and favourable not in bundle.classes:
        raise SondeError(f"there is no class {favourable!r}", f"choose from {', '.join(bundle.classes)}")
    return 1 if favourable is None else bundle.classes.index(favourable)


def _check(bundle: Bundle, data: Dataset, group: str) -> None:
    if group not in data.fields:
        known = ", ".join(sorted(data.fields)) or "none"
        raise SondeError(f"{data.name} has no groups {group!r} (it has: {known})", f"open it with sensitive={group!r}")
    if replace(bundle.schema, fields=()) != replace(data.schema, fields=()):
        raise SondeError(
            f"{data.name} was read in another way than the model reads", "open it as it was opened for training"
        )
    mine, theirs = ([f for f in s.fields if f.column == bundle.group] for s in (bundle.schema, data.schema))
    if bundle.thresholds is not None and group == bundle.group and mine != theirs:
        raise SondeError(f"{data.name} has other groups of {group!r} than the model", "open it as for its thresholds")


def _scores(bundle: Bundle, data: Dataset, split: str, code: int) -> np.ndarray:
    """The probability of the favourable class for the rows of a split, (N,)."""
    from sonde.results import predictions

    return predictions(bundle, data, split)[0][:, code].numpy()
