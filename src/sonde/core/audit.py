"""Audits: measurements of a trained model. They read; they never change what they measure."""

from __future__ import annotations

import hashlib
import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from .batch import Batch, Texts, some_rows
from .errors import SondeError
from .finding import Figure, Shown, Table
from .measure import Measure

# N rows, C classes, L labels, T targets

Ask = Callable[[Any], Tensor]
INTERRUPTED = "interrupted"


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
    task: Literal["classification", "multilabel", "regression"]
    model: nn.Module
    predict: Ask
    splits: Mapping[str, Batch]
    logits: Ask | None = None
    classes: tuple[str, ...] = ()
    kind: Literal["image", "table", "text", "other"] = "other"
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
        classes: Sequence[str] = (),
        predict: Ask | None = None,
        logits: Ask | None = None,
        groups: Mapping[str, tuple[Sequence[str], Tensor]] | None = None,
        bounds: tuple[float, float] | None = None,
        kind: Literal["image", "table", "text", "other"] = "other",
        name: str = "",
        more: Mapping[str, tuple[Any, Tensor]] | None = None,
    ) -> Subject:
        """A subject of any module that classifies: one of Hugging Face's or timm's too.

        x, y: the test rows, x (N, ...) as `model` reads it or a list of N texts, y (N,) int64.
        more: other splits, `{"val": (x, y)}`.
        logits: x -> (N, C); without it, what `model(x)` returns, or its `.logits`. A model of texts is most often two,
            a tokenizer and a net: `logits=lambda texts: net(**tokenizer(texts, ...)).logits`.
        predict: x -> probabilities (N, C); without it, softmax of the logits.
        groups: sensitive attributes of the test rows: `{"sex": (("female", "male"), codes (N,))}`.
        """

        def scored(x: Any) -> Tensor:
            out = model(**x) if isinstance(x, Mapping) else model(x)
            found = getattr(out, "logits", out)
            if not isinstance(found, Tensor):
                raise SondeError(f"{type(model).__name__} returns {type(out).__name__}, not logits", "give logits=")
            return found

        ask = logits or scored
        fields = {key: codes for key, (_, codes) in (groups or {}).items()}
        splits = {"test": Batch(_texts(x), y, torch.arange(len(y)), fields)}
        splits |= {k: Batch(_texts(xs), ys, torch.arange(len(ys))) for k, (xs, ys) in (more or {}).items()}
        for split, rows in splits.items():
            if len(rows) != len(rows.y):
                raise SondeError(f"there are {len(rows)} {split} rows and {len(rows.y)} answers", "give one for each row")
        tested = splits["test"].x
        with torch.no_grad(), unchanged(model):
            one = ask(some_rows(tested, slice(0, 1)))
        named = tuple(classes) or tuple(str(c) for c in range(one.shape[-1]))
        if one.dim() != 2 or one.shape[1] != len(named):
            raise SondeError(
                f"the model gives {tuple(one.shape[1:])} numbers a row for {len(named)} classes",
                "give logits=, a function from x to (N, C)",
            )
        return Subject(
            name=name or type(model).__name__,
            task="classification",
            model=model,
            predict=predict or (lambda x: ask(x).float().softmax(1)),
            logits=ask if predict is None or logits is not None else None,
            splits=splits,
            classes=named,
            kind="text" if isinstance(tested, Texts) else kind,
            names={k: rows.x for k, rows in splits.items() if isinstance(rows.x, Texts)},
            bounds=bounds,
            groups={key: tuple(values) for key, (values, _) in (groups or {}).items()},
        )


def _texts(x: Any) -> Any:
    """A list of strings as rows that can be taken by their places; anything else as it is."""
    return Texts(x) if isinstance(x, list | tuple) and x and all(isinstance(text, str) for text in x) else x


class Clock:
    """How much time an audit has, and how far it is. One that can measure fewer rows looks at `left`."""

    def __init__(self, seconds: float = math.inf, watch: Callable[[float], None] = lambda share: None) -> None:
        self._end = time.monotonic() + seconds
        self._watch = watch

    @property
    def left(self) -> float:
        """Seconds; inf without a limit."""
        return self._end - time.monotonic()

    def at(self, share: float) -> None:
        """Say how much of the audit is done, 0 to 1."""
        self._watch(min(1.0, max(0.0, share)))


class Audit:
    """One side of a model, measured. A subclass is named after what it measures.

    Its constructor takes plain values and keeps them under their own names. `cost` is its part of a time budget,
    relative to the others'. Measures are named `topic/...`, each name once in the whole package.
    """

    cost: ClassVar[float] = 1.0

    def settings(self) -> dict[str, Any]:
        """What its constructor was given, by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def refuses(self, subject: Subject) -> str:
        """Why this cannot be asked of `subject`, in words; "" where it can."""
        return ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """What is found, one after the other; what is found stays found when a later part fails or time runs out."""
        raise NotImplementedError


@dataclass(frozen=True)
class Audited:
    """What came of one audit. outcome: `partial` where time ran out or it failed midway; `reason` says why not done."""

    audit: Audit
    outcome: Literal["done", "partial", "refused", "failed"]
    reason: str
    seconds: float
    findings: tuple[Shown, ...]

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The numbers."""
        return tuple(f for f in self.findings if isinstance(f, Measure))

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The drawings."""
        return tuple(f for f in self.findings if isinstance(f, Figure))

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables."""
        return tuple(f for f in self.findings if isinstance(f, Table))


def fingerprint(model: nn.Module) -> str:
    """Changes with any weight, buffer, mode, hook or wish for a gradient of a model."""
    digest = hashlib.sha256()
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} {value.requires_grad}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    for name, module in model.named_modules():
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
        digest.update(f"{name} {module.training} {[len(h) for h in hooks]}\n".encode())
    return digest.hexdigest()


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients of its parameters; afterwards as it was."""
    modes = {m: m.training for m in model.modules()}
    wanted = {p: p.requires_grad for p in model.parameters()}
    model.eval()
    for p in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training
        for p, asked in wanted.items():
            p.requires_grad_(asked)


def run_audits(
    subject: Subject,
    audits: Iterable[Audit],
    budget: float = math.inf,
    seed: int = 0,
    watch: Callable[[Audit, float], None] = lambda audit, share: None,
) -> Iterator[Audited]:
    """Run audits one after the other; each result as it is had, whatever became of the others.

    budget: seconds for all. What is left is shared out by `cost`, so what one does not use the next ones have.
    seed: of torch's generators at the start of every audit, so that its numbers do not hang on which others ran.
    watch: told of every audit's progress.

    Raises RuntimeError when an audit changed the model: what is measured afterwards would be of another one.
    """
    todo = list(audits)
    end = time.monotonic() + budget
    with unchanged(subject.model):
        before = fingerprint(subject.model)
        for i, one in enumerate(todo):
            started = time.monotonic()
            share = one.cost / sum(a.cost for a in todo[i:])
            clock = Clock(max(0.0, end - started) * share, lambda done, one=one: watch(one, done))  # type: ignore[misc]
            found: list[Shown] = []
            outcome, reason = "done", one.refuses(subject)
            if reason:
                outcome = "refused"
            elif clock.left <= 0:
                outcome, reason = "refused", "the time budget was spent before it began"
            else:
                try:
                    with torch.random.fork_rng(devices=[]):
                        torch.manual_seed(seed)
                        for finding in one.run(subject, clock):
                            found.append(finding)
                except KeyboardInterrupt:
                    outcome, reason = "partial" if found else "refused", INTERRUPTED
                except SondeError as error:
                    outcome, reason = "partial" if found else "refused", error.cause
                except Exception as error:  # one audit's defect must not cost the others' results
                    text = " ".join(str(error).split())[:300]
                    outcome, reason = "partial" if found else "failed", f"{type(error).__name__}: {text}"
                if fingerprint(subject.model) != before:
                    raise RuntimeError(f"{type(one).__name__} changed the model that it audited")
            took = time.monotonic() - started
            yield Audited(one, outcome, reason, took, tuple(found))  # type: ignore[arg-type]
            if reason == INTERRUPTED:
                raise KeyboardInterrupt
