"""Facts to render in tests: an ordinary run, one made of hostile values, one with a thousand classes."""

from __future__ import annotations

import math
from typing import Any

import torch

from sonde.report.facts import (
    Applied,
    Aspect,
    Baseline,
    ClassCount,
    ClassScore,
    Column,
    Confusion,
    Curve,
    Data,
    Example,
    Facts,
    Fit,
    Group,
    Histogram,
    Mark,
    Model,
    Privacy,
    Score,
    Series,
    Unmeasured,
)
from sonde.report.pictures import png

NAN, INF = math.nan, math.inf
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><link rel=stylesheet href=https://evil.example/x.css>",
    "</title><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% include 'x' %}",
    "javascript:alert(1)",
    "&lt;b&gt; &amp; &#x41;",
)
ODD = (
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "שלום עולם",
    "مرحبا بالعالم",
    "photo\u202egpj.exe",
    "a\x00b\x1b[31mc\r\nd",
    "lone \ud800 surrogate",
    "Z" + "\u0335" * 400,
    "",
    "   ",
    "x" * 10_000,
    "長" * 3_000,
)


def accuracy(value: float, half: float = 0.02, name: str = "quality/accuracy", **other: Any) -> Score:
    interval = (value - half, value + half)
    settings = {"label": "Accuracy", "percent": True, **other}
    return Score(name, value, "1", 360, "higher", "share of rows right", interval, **settings)


def ordinary(**changes: Any) -> Facts:
    """Three classes of pictures, two curves, two baselines, two mistakes."""
    steps = tuple(range(10, 110, 10))
    facts: dict[str, Any] = {
        "title": "shapes",
        "created": "2026-03-04T14:05:12+00:00",
        "verdict": "95.0 % of 360 test images right (95 % interval 93.0 to 97.0)",
        "task": "classification",
        "outcome": "stopped early",
        "step": 100,
        "command": "sonde train shapes --seed 3",
        "seconds": 12.5,
        "model": Model("ResNet", "Two blocks.", 12_345),
        "data": Data(
            "shapes",
            "image",
            "1 x 8 x 8 grey image",
            {"train": 600, "test": 360},
            classes=tuple(ClassCount(c, {"train": 200, "test": 120}) for c in ("disc", "ring", "square")),
            notes=("Two pictures stand in both splits.",),
        ),
        "measures": (accuracy(0.95), Score("quality/nll", 0.2, "nat", 360, "lower", "mean of -log p", (0.15, 0.26))),
        "recipe": {"net": {"widths": [32, 64]}, "methods": [{"build": "AdamW", "lr": 1e-3}], "seed": 3},
        "environment": {"PyTorch": "2.13.0", "Device": "CPU"},
        "rows_per_second": 4567.8,
        "epoch": 5.0,
        "methods": (Applied("AdamW", {"lr": 1e-3}), Applied("EMA", {"decay": 0.99}, "A running mean.")),
        "baselines": (
            Baseline("Majority class", (accuracy(0.33),), "The net is better: the intervals do not overlap."),
            Baseline("Linear model", (accuracy(0.94),), "Not distinguishable from the net: the intervals overlap."),
        ),
        "curves": (
            Curve(
                "Loss",
                "nat",
                Series(tuple(range(1, 1001)), tuple(3.0 * 0.99**k for k in range(1000))),
                Series(steps, tuple(0.5 + 1 / k for k in steps), tuple(k / 20 for k in steps)),
            ),
        ),
        "marks": (Mark(80, "best", "best checkpoint: step 80"), Mark(100, "stopped", "stopped early")),
        "confusion": Confusion.of(("disc", "ring", "square"), [[118, 2, 0], [10, 110, 0], [6, 0, 114]]),
        "per_class": (
            ClassScore("disc", 120, 0.983, 0.88, (0.94, 0.995), (0.82, 0.93)),
            ClassScore("ring", 120, 0.917, None),
        ),
        "examples": (
            Example("test/ring_07.png", "ring", "disc", 0.81, png(torch.linspace(0, 1, 64).view(1, 8, 8))),
            Example("row 9", "square", "disc", 0.9997, None, {"area": 12.5, "colour": None}),
        ),
        "mistakes": 18,
        "chosen": "The most confident first.",
        "intervals": "Wilson's score interval.",
        "not_measured": (Unmeasured("Robustness", "How answers change under attack."),),
    }
    return Facts(**{**facts, **changes})


def regression(**changes: Any) -> Facts:
    """One target, with its scatter and residuals."""
    truth = tuple(float(v) for v in range(50))
    guess = tuple(v + (-1) ** int(v) * 2.5 for v in truth)
    residuals = Histogram((-3.0, -1.0, 1.0, 3.0), (25, 0, 25), "mm")
    parts: dict[str, Any] = {
        "task": "regression",
        "measures": (Score("quality/rmse", 2.5, "mm", 50, "lower", "root of the mean squared error", (2.1, 2.9)),),
        "baselines": (),
        "confusion": None,
        "per_class": (),
        "fits": (Fit("length", "mm", truth, guess, residuals),),
        "data": Data("rods", "table", "3 columns", {"train": 100, "test": 50}, target=residuals, target_name="length"),
    }
    return ordinary(**{**parts, **changes})


def hostile() -> Facts:
    """Every text a hostile or an odd one, every number beyond reason."""
    texts = HOSTILE + ODD
    name = texts.__getitem__
    rows = {t: i for i, t in enumerate(texts)}
    score = Score(name(0), NAN, name(1), -1, "higher", name(2), (NAN, INF), name(3), {name(4): name(5)}, name(6))
    huge = Score("huge", 1e308, name(1), 10**30, "lower", name(0), (-INF, INF), "test", {}, name(7))
    wild = (NAN, INF, -INF, 1e308, -1e308, 0.0, 1e-320)
    return Facts(
        title=name(4),
        created="2026-03-04",
        verdict=" ".join(HOSTILE),
        task="classification",
        outcome="interrupted",
        step=0,
        command="\n".join(texts),
        seconds=NAN,
        model=Model(name(0), name(1), 10**40),
        data=Data(
            name(0),
            name(1),
            name(2),
            rows,
            tuple(ClassCount(t, {t: 10**12, name(0): 3}) for t in texts),
            Histogram((-INF, 0.0, 1.0, NAN, INF), (1, 0, 2, 3), name(1)),
            name(3),
            tuple(Column(t, name(1), m) for t in texts for m in (NAN, 2.0, -1.0)),
            tuple(Group(t, rows) for t in texts),
            texts,
            name(1),
        ),
        measures=(score, huge),
        recipe={t: {t: [t, {t: NAN}]} for t in texts},
        environment={t: t for t in texts},
        rows_per_second=INF,
        epoch=NAN,
        methods=tuple(Applied(t, {t: t}, t) for t in texts),
        baselines=tuple(Baseline(t, (score, huge), t, t, INF) for t in texts),
        curves=tuple(Curve(t, t, Series(tuple(range(7)), wild), Series((), ())) for t in texts)
        + (
            Curve("one point", "1", Series((1,), (0.5,))),
            Curve("nothing", "1"),
            Curve("NaN", "1", Series((1,), (NAN,))),
        ),
        marks=tuple(Mark(10**18, "best", t) for t in texts),
        confusion=Confusion(texts, tuple((i, j, 10**15) for i in range(3) for j in range(19))),
        per_class=tuple(ClassScore(t, 0, NAN, INF, (NAN, NAN), (-INF, INF)) for t in texts)
        + (ClassScore("", 0, None, None),),
        fits=tuple(Fit(t, t, wild, wild[::-1], Histogram((), (), t)) for t in texts),
        examples=tuple(Example(t, t, t, NAN, None, {t: t, "nan": NAN, "list": [[1], {"a": t}]}) for t in texts),
        mistakes=0,
        chosen=name(1),
        intervals=name(0),
        not_measured=tuple(Unmeasured(t, t) for t in texts),
        privacy=Privacy(
            INF,
            NAN,
            name(0),
            name(1),
            name(2),
            name(3),
            -1,
            ((NAN, INF, 10**20),),
            (INF,),
            -1,
            False,
            texts,
            name(4),
            name(5),
            name(6),
            tuple(Aspect(t, t) for t in texts),
            tuple(Aspect(t, t) for t in texts),
        ),
        notes=texts,
    )


def many_classes(count: int = 1000) -> Facts:
    """A thousand classes with names of 60 characters."""
    names = tuple(f"class {i} " + "of a long and winding family of things".ljust(50, "!") for i in range(count))
    cells = tuple((i, j % count, 1 + (i * j) % 7) for i in range(count) for j in (i, i + 1, i + 5))
    return ordinary(
        data=Data(
            "big",
            "image",
            "3 x 32 x 32",
            {"train": 9, "test": 9},
            tuple(ClassCount(n, {"train": 5, "test": 4}) for n in names),
        ),
        confusion=Confusion(names, cells),
        per_class=tuple(ClassScore(n, 50, i / count, 0.5, (i / count, 1.0), (0.4, 0.6)) for i, n in enumerate(names)),
    )


def nothing() -> Facts:
    """A run that left almost nothing to say."""
    return Facts(
        title="",
        created="2026-03-04T00:00:00",
        verdict="",
        task="multilabel",
        outcome="out of time",
        step=0,
        command="",
        seconds=0.0,
        model=Model("", "", 0),
        data=Data("", "", "", {}),
        measures=(),
        recipe={},
        environment={},
        curves=(Curve("empty", "1", Series((), ()), Series((), ())),),
        confusion=Confusion((), ()),
        fits=(Fit("none", "1", (), (), Histogram((), ())),),
        per_class=(),
    )
