"""Models for audits to ask: one of each task, trained for a moment, and those that a careless audit trips over."""

# N rows, C classes

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from sonde import data
from sonde.api import resolve
from sonde.auditing import subject_of
from sonde.core import Batch, Subject
from sonde.results import shipped
from tests.support import blobs, mlp

NETS = ("tabm(widths=(16,), members=4, bins=8)", "mlp(widths=(16,))")  # of tables, of images
HOSTILE = (
    "<script>alert(1)</script>",
    "\u202eevil\u2066",
    "x" * 3000,
    "a/b: 'c' \"d\" $x_1^2$ {e} %s",
    "",
    "𝒳\x00\x1b[31m",
)


def people(rows: int = 160, seed: int = 0) -> pl.DataFrame:
    """People with two sensitive columns, missing values, and an income that depends on age, hours and job."""
    rng = np.random.default_rng(seed)
    age, hours = rng.integers(18, 70, rows), rng.integers(10, 60, rows).astype(float)
    job = rng.choice(["cook", "clerk", "nurse"], rows)
    sex, race = rng.choice(["female", "male"], rows), rng.choice(["black", "other", "white"], rows, p=[0.4, 0.1, 0.5])
    score = age / 20 + hours / 20 + (job == "nurse") + 0.5 * (sex == "male") + rng.normal(0, 0.5, rows)
    hours[rng.random(rows) < 0.05] = np.nan
    return pl.DataFrame(
        {
            "age": age, "hours": pl.Series(hours).fill_nan(None), "job": job, "sex": sex, "race": race,
            "income": np.where(score > 4.4, "high", "low"), "pay": score * 10,
            "tags": [";".join(t for t, has in (("a", s > 4), ("b", a > 40), ("c", h)) if has) or "none"
                     for s, a, h in zip(score, age, sex == "male", strict=True)],
        }
    )  # fmt: skip


@cache
def _trained(kind: str) -> Subject:
    frame = people()
    if kind == "images":
        whole = data.load("digits")
        order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
        cut = {"train": order[:200], "val": order[200:260], "test": order[260:330]}
        dataset = replace(whole, splits={k: v.sort().values for k, v in cut.items()})
    elif kind == "regression":
        dataset = data.open(frame.drop("income", "tags"), "pay", sensitive="sex")
    elif kind == "multilabel":
        dataset = data.open(frame.drop("income", "pay"), "tags", task="multilabel", sensitive="sex")
    else:
        dataset = data.open(frame.drop("pay", "tags"), "income", sensitive="sex,race", test=0.4)
    numbers: dict[str, Any] = {"steps": 40, "batch_size": 32, "lr": 0.02, "seed": 0}
    recipe = resolve(dataset, NETS[kind == "images"], (), None, None, numbers, {"device": "cpu"}, ())
    with torch.random.fork_rng(devices=[]):
        run = recipe.train(data=dataset)
    return subject_of(shipped(run, recipe, dataset), dataset, name=kind)


def again(subject: Subject, **changes: Any) -> Subject:
    """The same subject with nothing remembered, and some of it changed."""
    return replace(subject, _kept={}, **changes)


def _of(x: Tensor, y: Tensor, net: nn.Module, classes: tuple[str, ...] = (), sex: Tensor | None = None) -> Subject:
    """A bare module with rows of every split and one or two groups."""
    n = len(y)
    sex = torch.arange(n) % 2 if sex is None else sex
    more = {"train": blobs(40, seed=5), "val": blobs(30, seed=6)}
    kept = {k: (a, b % net(a[:1]).shape[1]) for k, (a, b) in more.items()}
    return Subject.of(net, x, y, classes=classes, groups={"sex": (("f", "m"), sex)}, bounds=(-9.0, 9.0), more=kept)


def bare() -> Subject:
    torch.manual_seed(0)
    return _of(*blobs(60), mlp(4, 8, 3))


def one_class() -> Subject:
    x, _ = blobs(40)
    torch.manual_seed(0)
    return _of(x, torch.zeros(40, dtype=torch.int64), mlp(4, 8, 2))


def one_group() -> Subject:
    x, y = blobs(40)
    torch.manual_seed(0)
    return _of(x, y.clamp_max(1), mlp(4, 8, 2), sex=torch.zeros(40, dtype=torch.int64))


def constant_feature() -> Subject:
    x, y = blobs(40)
    torch.manual_seed(0)
    return _of(torch.cat([x[:, :3], torch.ones(40, 1)], 1), y.clamp_max(1), mlp(4, 8, 2))


def constant_answers() -> Subject:
    x, y = blobs(40)
    net = nn.Linear(4, 2)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    return _of(x, y.clamp_max(1), net)


class Absent(nn.Module):
    """A net that answers NaN for every row whose first number is positive."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return torch.where((x.flatten(1)[:, :1] > 0), torch.full_like(out, float("nan")), out)


def no_answers() -> Subject:
    torch.manual_seed(0)
    x, y = blobs(40)
    return _of(x, y.clamp_max(1), Absent(mlp(4, 8, 2)))


def one_row() -> Subject:
    torch.manual_seed(0)
    x, y = blobs(1)
    return _of(x, y.clamp_max(1), mlp(4, 8, 2))


def empty_test() -> Subject:
    whole = _trained("table")
    return again(whole, name="no test rows", splits={k: v for k, v in whole.splits.items() if k != "test"})


def no_rows_at_all() -> Subject:
    s = bare()
    return again(s, splits={"test": Batch(s.rows().x[:0], s.rows().y[:0], torch.arange(0), {"sex": torch.arange(0)})})


def only_test() -> Subject:
    whole = _trained("images")
    return again(whole, name="only test rows", splits={"test": whole.rows()})


def answers_alone() -> Subject:
    """A model that cannot be differentiated: an answer of another machine's, say."""
    return again(_trained("images"), name="no logits", logits=None)


def hostile() -> Subject:
    torch.manual_seed(0)
    x, y = blobs(60, features=6, classes=6)
    rows = {k: (torch.randn(30, 6), torch.arange(30) % 6) for k in ("train", "val")}
    s = Subject.of(
        mlp(6, 8, 6), x, y, classes=HOSTILE, name=HOSTILE[0], more=rows,
        groups={HOSTILE[0]: (HOSTILE, torch.arange(60) % 6), "a/b": (("", "\u202e"), torch.arange(60) % 2)},
    )  # fmt: skip
    return again(s, names={"test": [HOSTILE[i % 6] for i in range(60)]})


class Lexical(nn.Module):
    """Adds up a weight for each word of a text; a word that it does not know counts nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.places = {word: i for i, word in enumerate(("good", "great", "fine", "film", "bad", "poor"))}
        self.weights = nn.Parameter(torch.tensor([1.0, 2.0, 0.4, 0.0, -1.0, -0.5]))

    def forward(self, texts: Sequence[str]) -> Tensor:
        counts = torch.zeros(len(texts), len(self.places))
        for row, text in enumerate(texts):
            for word in text.split():
                if word in self.places:
                    counts[row, self.places[word]] += 1
        z = counts @ self.weights - 0.1
        return torch.stack([-z, z], 1)


def texts() -> Subject:
    rng = np.random.default_rng(0)
    words = ("good", "great", "fine", "film", "bad", "poor", "a", HOSTILE[0], HOSTILE[1])

    def some(n: int) -> tuple[list[str], Tensor]:
        found = [" ".join(rng.choice(words, 6)) for _ in range(n)]
        truth = [int("good" in t or "great" in t) for t in found]
        return found, torch.tensor(truth)

    x, y = some(60)
    groups = {"dialect": (("a", "b"), torch.arange(60) % 2)}
    return Subject.of(Lexical(), x, y, groups=groups, more={"train": some(40), "val": some(30)}, name="texts")


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "table": lambda: again(_trained("table")),
    "images": lambda: again(_trained("images")),
    "regression": lambda: again(_trained("regression")),
    "multilabel": lambda: again(_trained("multilabel")),
    "bare": bare,
    "texts": texts,
    "one_class": one_class,
    "one_group": one_group,
    "constant_feature": constant_feature,
    "constant_answers": constant_answers,
    "no_answers": no_answers,
    "one_row": one_row,
    "empty_test": empty_test,
    "no_rows_at_all": no_rows_at_all,
    "only_test": only_test,
    "answers_alone": answers_alone,
    "hostile": hostile,
}
ORDINARY = ("table", "images", "regression", "multilabel", "bare", "texts")
