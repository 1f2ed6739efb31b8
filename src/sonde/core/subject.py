"""What is audited: a model, how it is asked, and the rows that it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .batch import Batch, Texts, some_rows
from .errors import SondeError
from .intact import unchanged

# N rows, C classes, L labels, T targets

Ask = Callable[[Any], Tensor]
Task = Literal["classification", "multilabel", "regression"]
Kind = Literal["image", "table", "text", "other"]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is audited: the model, how to ask it, the rows to ask about, and what is known of its making.

    name: what the reports call it. task: classification, multilabel or regression.
    model: every module behind the answers, in evaluation mode: what an audit must leave as it found it.
    predict: x (N, ...) -> probabilities (N, C) or (N, L), or values (N, T). Texts come as `Texts`, a list of strings.
    logits: x -> (N, C), differentiable with respect to x unless x is texts; None where the model has none.
    splits: rows by the name of their split, in the user's units; `fields` hold the groups' codes.
    classes: the names of the classes or labels; () for regression.
    kind: what a row is. bounds: of the inputs, in their units; None where they have none.
    groups: the sensitive attributes and their values' names, in the order of the codes in `fields`.
    schema: how raw input becomes x (column names, categories), where there is one.
    decide: rows -> class codes (N,), for a model that does not simply take the likeliest class.
    names: what a person calls the rows of a split. ledger: what training left: privacy, energy, the recipe.
    """

    name: str
    task: Task
    model: nn.Module
    predict: Ask
    splits: Mapping[str, Batch]
    logits: Ask | None = None
    classes: tuple[str, ...] = ()
    kind: Kind = "other"
    bounds: tuple[float, float] | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    schema: Any = None
    decide: Callable[[Batch], Tensor] | None = None
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ledger: Mapping[str, Any] = field(default_factory=dict)
    rows_at_once: int = 512
    _kept: dict[str, Tensor] = field(default_factory=dict, repr=False)  # forward passes that audits share

    def rows(self, split: str = "test") -> Batch:
        """The rows of a split. Raises SondeError where there are none."""
        batch = self.splits.get(split)
        if batch is None or not len(batch):
            have = ", ".join(name for name, rows in self.splits.items() if len(rows)) or "none"
            raise SondeError(f"{self.name} has no {split} rows", f"the splits that have rows: {have}")
        return batch

    def answers(self, split: str = "test") -> Tensor:
        """`predict` on the rows of a split, on the CPU; asked once however many audits want it."""
        return self._remembered("predict", split, self.predict)

    def scores(self, split: str = "test") -> Tensor:
        """`logits` on the rows of a split, on the CPU, without gradients; asked once."""
        if self.logits is None:
            raise SondeError(f"{self.name} gives no logits", "audit what asks for its answers alone")
        return self._remembered("logits", split, self.logits)

    def decisions(self, split: str = "test") -> Tensor:
        """The class that the model decides for on each row of a split, (N,) int64."""
        if self.decide is None:
            return self.answers(split).argmax(1)
        if f"decide {split}" not in self._kept:
            self._kept[f"decide {split}"] = self.decide(self.rows(split))
        return self._kept[f"decide {split}"]

    def ask(self, x: Any, how: Ask | None = None) -> Tensor:
        """Answers to any rows, a few at a time, without gradients, on the CPU. how: `predict` if not given."""
        asked, n = how or self.predict, len(Batch(x))
        with torch.no_grad():
            parts = [
                asked(some_rows(x, slice(i, i + self.rows_at_once))).cpu()
                for i in range(0, max(1, n), self.rows_at_once)
            ]
        return torch.cat(parts)

    def _remembered(self, what: str, split: str, how: Ask) -> Tensor:
        key = f"{what} {split}"
        if key not in self._kept:
            self._kept[key] = self.ask(self.rows(split).x, how)
        return self._kept[key]

    @staticmethod
    def of(
        model: nn.Module,
        x: Any,
        y: Tensor,
        *,
        task: Task | None = None,
        classes: Sequence[str] = (),
        predict: Ask | None = None,
        logits: Ask | None = None,
        groups: Mapping[str, tuple[Sequence[str], Tensor]] | None = None,
        bounds: tuple[float, float] | None = None,
        kind: Kind = "other",
        name: str = "",
        more: Mapping[str, tuple[Any, Tensor]] | None = None,
    ) -> Subject:
        """A subject of any module: one of Hugging Face's or timm's too.

        x, y: the test rows, x (N, ...) as `model` reads it or a list of N texts; y (N,) int64 classes, (N, L) labels of
            0 and 1, or numbers, (N,) or (N, T) floating point.
        task: if not given, classification, multilabel or regression as y is the first, second or third of these; what
            has `classes` is no regression.
        more: other splits, `{"val": (x, y)}`.
        logits: x -> (N, C) or (N, L); without it, what `model(x)` returns, or its `.logits`. A single logit of two
            classes will do. A model of texts is most often two, a tokenizer and a net:
            `logits=lambda texts: net(**tokenizer(texts, ...)).logits`.
        predict: x -> probabilities (N, C) or (N, L), or numbers (N, T); without it, softmax or sigmoid of the logits,
            or what `model(x)` returns.
        classes: their names, or the labels'.
        groups: sensitive attributes of the test rows: `{"sex": (("female", "male"), codes (N,))}`.
        """
        fields = {key: codes for key, (_, codes) in (groups or {}).items()}
        splits = {"test": _rows("test", x, y, fields)}
        splits |= {split: _rows(split, xs, ys, {}) for split, (xs, ys) in (more or {}).items()}
        numbers = y.is_floating_point() and not classes
        task = task or ("regression" if numbers else "classification" if y.dim() == 1 else "multilabel")
        ask = logits or _plain(model)
        tested = splits["test"].x
        with torch.no_grad(), unchanged(model):
            two = some_rows(tested, slice(0, 2))
            answer = (predict or ask)(two)
        if answer.dim() not in (1, 2) or len(answer) != len(Batch(two)):
            raise SondeError(
                f"asked about {len(Batch(two))} rows, the model answers with a tensor of shape {tuple(answer.shape)}",
                "give logits=, a function from x to (N, C)",
            )
        width = 1 if answer.dim() == 1 else answer.shape[1]
        if task == "regression":
            given = predict or ask
            ask, predict = given, lambda x: _columns(given(x))
            splits = {split: replace(rows, y=_columns(rows.y)) for split, rows in splits.items()}
            wanted, what = splits["test"].y.shape[1], "targets"
        else:
            if task == "classification" and predict is None and width == 1 and len(classes) in (0, 2):
                single = ask
                ask, width = lambda x: _two(single(x)), 2
            wanted, what = len(classes) or (y.shape[1] if task == "multilabel" else width), "classes"
        if width != wanted:
            raise SondeError(
                f"the model gives {width} numbers a row, and the {what} are {wanted}",
                "give logits=, a function from x to (N, C), or y of another type: int64 for classes, float for numbers",
            )
        if task == "classification":
            splits = {split: replace(rows, y=_codes(split, rows.y, wanted)) for split, rows in splits.items()}
            probabilities: Ask = predict or (lambda x: ask(x).float().softmax(1))
        else:
            probabilities = predict or (lambda x: ask(x).float().sigmoid())
        return Subject(
            name=name or type(model).__name__,
            task=task,
            model=model,
            predict=probabilities,
            logits=ask if task == "classification" and (predict is None or logits is not None) else None,
            splits=splits,
            classes=() if task == "regression" else tuple(classes) or tuple(str(c) for c in range(wanted)),
            kind="text" if isinstance(tested, Texts) else kind,
            names={split: rows.x for split, rows in splits.items() if isinstance(rows.x, Texts)},
            bounds=bounds,
            groups={key: tuple(values) for key, (values, _) in (groups or {}).items()},
        )


def _plain(model: nn.Module) -> Ask:
    """What a model returns, or its `.logits`."""

    def asked(x: Any) -> Tensor:
        out = model(**x) if isinstance(x, Mapping) else model(x)
        found = getattr(out, "logits", out)
        if not isinstance(found, Tensor):
            raise SondeError(f"{type(model).__name__} returns {type(out).__name__}, not logits", "give logits=")
        return found

    return asked


def _rows(split: str, x: Any, y: Tensor, fields: Mapping[str, Tensor]) -> Batch:
    """The rows of a split; a list of strings is `Texts`."""
    texts = isinstance(x, list | tuple) and len(x) > 0 and all(isinstance(text, str) for text in x)
    rows = Batch(Texts(x) if texts else x, y, torch.arange(len(y)), fields)
    if len(rows) != len(y):
        raise SondeError(f"{len(rows)} {split} rows have {len(y)} labels", "give one label for each row")
    return rows


def _columns(values: Tensor) -> Tensor:
    """Numbers (N,) as (N, 1); (N, T) as they are."""
    return values[:, None] if values.dim() == 1 else values


def _two(z: Tensor) -> Tensor:
    """The logits of two classes, (N, 2), of which the second has the probability sigmoid(z); z (N,) or (N, 1)."""
    flat = z.reshape(len(z))
    return torch.stack([torch.zeros_like(flat), flat], 1)


def _codes(split: str, y: Tensor, classes: int) -> Tensor:
    """The classes of a split's rows, (N,) int64."""
    codes = y.long()
    wrong = ((codes < 0) | (codes >= classes) | (codes != y)).nonzero().flatten()
    if len(wrong):
        at = int(wrong[0])
        raise SondeError(
            f"row {at} of the {split} rows is of class {y[at].item():g}, and there are classes 0 to {classes - 1}",
            "number the classes from 0",
        )
    return codes
