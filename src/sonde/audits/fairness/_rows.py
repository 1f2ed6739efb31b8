"""What every audit of groups reads: labels, decisions and group codes of the rows, and why it may not be asked."""

# N rows, C classes, G groups

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonde.core import SondeError, Subject
from sonde.fairness import confusion

Array = NDArray[Any]
NAMED = 12  # names in a sentence; the others are counted


@dataclass(frozen=True, eq=False)
class Grouped:
    """The rows of a split that have an answer and a group of one attribute, or of several crossed.

    attribute: `sex`, or `sex x race`. names: of the groups (G,). codes: (N,) of them. y, decision: (N,) classes.
    answers: (N, C) probabilities. index: (N,) which rows of the split these are. unanswered: rows whose answers are no
    numbers. split: they are of.
    """

    attribute: str
    names: tuple[str, ...]
    codes: Array
    y: Array
    decision: Array
    answers: Array
    index: Array
    unanswered: int
    split: str

    def table(self, favourable: int) -> Array:
        """Counts (G, 2, 2) by group, whether the label is the favourable class, and whether the decision is."""
        return confusion(self.y == favourable, self.decision == favourable, self.codes, len(self.names))

    @property
    def right(self) -> Array:
        """Counts (G, 2, 2) in which every label is 1, and a decision is 1 where it is right."""
        return confusion(np.ones(len(self.y)), self.y == self.decision, self.codes, len(self.names))

    @property
    def counts(self) -> Array:
        """How many rows each group has, (G,)."""
        return np.bincount(self.codes, minlength=len(self.names))

    def large(self, minimum: int) -> list[int]:
        """The groups of `minimum` rows or more, largest first."""
        return [int(g) for g in np.argsort(-self.counts, kind="stable") if self.counts[g] >= max(1, minimum)]

    def small(self, minimum: int) -> list[str]:
        """The names of the groups of fewer rows, but some."""
        return [self.names[g] for g in np.flatnonzero((self.counts > 0) & (self.counts < minimum))]

    @property
    def settings(self) -> dict[str, Any]:
        """What a reader of a number must know of its rows."""
        return {"unanswered": self.unanswered} if self.unanswered else {}


def refusal(subject: Subject, favourable: str = "", binary: bool = False) -> str:
    """Why an audit of groups cannot be asked of a subject; "" where it can.

    binary: whether one class must be the favourable one, which is the last of two unless named.
    """
    if subject.task != "classification":
        return f"it is about decisions between classes, and the task is {subject.task}"
    if not subject.groups:
        return "no groups of people are known: name their column when the data is opened (sensitive=)"
    if len(subject.classes) < 2:
        return "there is one class, so nothing is decided"
    if favourable and favourable not in subject.classes:
        return f"there is no class {favourable!r}: favourable is one of {listed(subject.classes)}"
    if binary and not favourable and len(subject.classes) > 2:
        return f"there are {len(subject.classes)} classes: say which is the favourable one (favourable=)"
    return ""


def favoured(subject: Subject, favourable: str) -> int | None:
    """The code of the favourable class; None where there are more than two classes and none is named."""
    if favourable:
        return subject.classes.index(favourable)
    return 1 if len(subject.classes) == 2 else None


def grouped(subject: Subject, split: str) -> list[Grouped]:
    """The rows of a split by each sensitive attribute. Raises SondeError where these rows have none."""
    batch, answers = subject.rows(split), _numbers(subject.answers(split))
    y, decision = _numbers(batch.y), _numbers(subject.decisions(split))
    known, found = np.isfinite(answers).all(1), []
    for attribute, names in subject.groups.items():
        if attribute not in batch.fields or not names:
            continue
        codes = _numbers(batch.fields[attribute]).astype(np.int64)
        kept = np.flatnonzero(known & (codes >= 0) & (codes < len(names)))
        found.append(
            Grouped(
                attribute=attribute,
                names=tuple(names),
                codes=codes[kept],
                y=y[kept],
                decision=decision[kept],
                answers=answers[kept].astype(np.float64),
                index=kept,
                unanswered=int((~known).sum()),
                split=split,
            )
        )
    if not found:
        raise SondeError(f"the {split} rows say nothing about groups", "give rows that have these columns")
    return found


def _numbers(values: Tensor) -> Array:
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()  # type: ignore[no-any-return]


def listed(names: Sequence[str]) -> str:
    """`a, b and 3 more`."""
    shown = ", ".join(short(name, 60) for name in names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown


def percent(value: float, interval: tuple[float, float] | None) -> str:
    """`44.8 % (42.8 to 46.9)`."""
    ends = "" if interval is None else f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
    return f"{100 * value:.1f} %{ends}"


def file_name(what: str, attribute: str) -> str:
    """A name for a figure of an attribute that any file system takes: `rates-sex`. Different attributes differ."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", attribute)[:40]
    if plain not in (attribute, attribute.replace(" ", "-")):
        plain += "-" + hashlib.sha256(attribute.encode("utf-8", "replace")).hexdigest()[:6]
    return f"{what}-{plain}"


def short(name: str, most: int = 28) -> str:
    """A group's name as a figure has room for it; signs that its font lacks are a question mark."""
    from matplotlib import font_manager

    known = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    name = "".join(c if ord(c) in known else "?" for c in name)
    return name if len(name) <= most else name[: most - 1] + "…"
