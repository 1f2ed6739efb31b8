"""The end of a run: measure what was trained, and write the model, the facts and the report."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sonde.bundle import Bundle
from sonde.core import Build, Measure, Recipe, Run, rank_and_world
from sonde.core.engine import sharing
from sonde.methods import EarlyStopping
from sonde.names import snake, summary_of
from sonde.report.facts import (
    Applied,
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
    Score,
    Series,
    Unmeasured,
)
from sonde.runs import RunFolder

if TYPE_CHECKING:
    from sonde.data import Dataset

# N rows, C classes, L labels, T targets

SHARES = {"accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "exact_match", "label_accuracy", "ece"}
LABELS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "nll": "Negative log-likelihood",
    "macro_f1": "F1, mean over classes",
    "micro_f1": "F1 over all labels",
    "roc_auc": "Area under the ROC curve",
    "ece": "Calibration error (ECE)",
    "exact_match": "Rows with every label right",
    "label_accuracy": "Labels right",
    "rmse": "Root mean squared error",
    "mae": "Mean absolute error",
    "r2": "R squared",
}
NOT_MEASURED = (
    Unmeasured("Robustness", "how the answers change under noise, corruption or an attack"),
    Unmeasured("Fairness", "whether groups of people are treated alike, beyond the counts shown here"),
    Unmeasured("Privacy", "whether the model gives away its training rows: without private training it may"),
    Unmeasured("Energy", "what training and answering cost in energy"),
    Unmeasured("Other data", "how it does on rows that come from elsewhere than these"),
)


def conclude(run: Run, recipe: Recipe, data: Dataset, folder: RunFolder) -> tuple[Bundle, Facts]:
    """Save the bundle, measure it on the test split beside the baselines, and write report.json and report.html."""
    from sonde.report.html import render

    outcome = _outcome(run, recipe, folder)
    bundle = shipped(run, recipe, data)  # every process takes part: a sharded model is gathered
    if rank_and_world()[0] == 0:
        bundle.save(folder.model)
        facts = gather(bundle, recipe, data, folder, outcome)
        folder.write("report.json", facts.to_data())
        folder.write("report.html", render(facts))
    if sharing():
        torch.distributed.barrier()
        facts = Facts.from_data(folder.read("report.json"))
    return bundle, facts


def shipped(run: Run, recipe: Recipe, data: Dataset) -> Bundle:
    """The bundle of a run with the weights that its methods ship, on the CPU."""
    weights = {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in run.weights().items()}
    objective = recipe.objective(data=data)
    objective.load_state_dict({k: v.to("cpu") for k, v in weights.items()})
    return Bundle.of(objective.requires_grad_(False).eval(), recipe.objective, data)


def predictions(bundle: Bundle, data: Dataset, split: str) -> tuple[Tensor, Tensor]:
    """Probabilities or values (N, C), and truths, for the rows of a split."""
    index = data.splits[split]
    parts = [bundle.raw(data.batch(i).x) for i in index.split(2048)]
    return torch.cat(parts), data.y[index]


def measure(task: str, guess: Tensor, truth: Tensor, classes: Sequence[str], split: str = "test") -> list[Measure]:
    """The quality of predictions, the most important measure first."""
    from sonde.audits import quality

    if task == "classification":
        return quality.classification(guess, truth, classes, split=split)
    if task == "multilabel":
        return quality.multilabel(guess, truth, classes, split=split)
    return quality.regression(guess, truth, split=split)


def gather(
    bundle: Bundle, recipe: Recipe, data: Dataset, folder: RunFolder, outcome: dict[str, Any]
) -> Facts:
    """Everything the report says."""
    about = folder.read("run.json")
    guess, truth = predictions(bundle, data, "test")
    found = measure(data.task, guess, truth, data.classes)
    scores = tuple(_score(m) for m in found)
    baselines = _baselines(data, guess, truth) if about.get("baselines", True) else ()
    wrong = _mistakes(data, guess, truth)
    extra: dict[str, Any] = {}
    if data.task == "classification":
        extra = _classified(data, guess, truth)
    elif data.task == "regression":
        extra = {"fits": _fits(data, guess, truth)}
    return Facts(
        title=folder.name,
        created=str(about["created"]),
        verdict=verdict(data, found),
        task=data.task,
        command=str(about.get("command") or f"sonde train --recipe {folder.path / 'recipe.json'}"),
        model=_model(bundle),
        data=_data(data),
        measures=scores,
        recipe=recipe.to_data(),
        environment={k: str(v) for k, v in folder.read("environment.json").items()},
        methods=tuple(_applied(m) for m in recipe.methods),
        baselines=baselines,
        curves=_curves(folder),
        mistakes=wrong[0],
        examples=wrong[1],
        chosen=wrong[2],
        intervals=INTERVALS,
        not_measured=NOT_MEASURED,
        **outcome,
        **extra,
    )


INTERVALS = (
    "Intervals cover the true value in 95 % of repetitions with other test rows from the same source: Wilson's for "
    "shares, the bootstrap over rows for the rest. They say nothing of another seed or another source."
)


def verdict(data: Dataset, measures: Sequence[Measure]) -> str:
    """The whole result in one sentence."""
    m = measures[0]
    kind = "images" if isinstance(data.x, Tensor) else "rows"
    if data.task == "regression":
        between = f" (95 % interval {m.interval[0]:.4g} to {m.interval[1]:.4g})" if m.interval else ""
        return f"Off by {m.value:.4g} on {m.n:,} test {kind}, as {_label(m).lower()}{between}."
    between = f" (95 % interval {100 * m.interval[0]:.1f} to {100 * m.interval[1]:.1f})" if m.interval else ""
    what = {"classification": "right", "multilabel": "of labels right"}[data.task]
    return f"{100 * m.value:.1f} % of {m.n:,} test {kind} {what}{between}."


# ---------------------------------------------------------------- parts of the facts
def _outcome(run: Run, recipe: Recipe, folder: RunFolder) -> dict[str, Any]:
    budget = recipe.stages[-1].budget
    stopped = run.stop is not None
    timed = budget.seconds is not None and not stopped and run.elapsed >= budget.seconds
    per_epoch = run.source.steps_per_epoch if run.source is not None else None
    batch_size = getattr(run.source, "batch_size", None)
    marks: list[Mark] = []
    for m in run.methods:
        if isinstance(m, EarlyStopping) and m.best_step and m.kept:
            marks.append(Mark(m.best_step, "best", f"best {m.split} {m.metric}: these weights are shipped"))
    if stopped:
        marks.append(Mark(run.step, "stopped", str(run.stop)))
    return {
        "outcome": "stopped early" if stopped else "out of time" if timed else "finished",
        "step": run.step,
        "epoch": run.step / per_epoch if per_epoch else None,
        "seconds": run.elapsed,
        "rows_per_second": run.step * batch_size / run.elapsed if batch_size and run.elapsed else None,
        "marks": tuple(marks),
    }


def _label(m: Measure) -> str:
    short = m.name.rpartition("/")[2]
    return LABELS.get(short, short.replace("_", " ").capitalize())


def _score(m: Measure) -> Score:
    return Score.of(m, label=_label(m), percent=m.name.rpartition("/")[2] in SHARES)


def _model(bundle: Bundle) -> Model:
    net = bundle.build.arguments.get("net")
    make = net.make if isinstance(net, Build) else bundle.build.make
    count = sum(p.numel() for p in bundle.objective.parameters())
    return Model(make.__name__, summary_of(make), count)


def _applied(build: Build[Any]) -> Applied:
    settings = {**_defaults(build), **build.arguments}
    shown = {k: v if isinstance(v, bool | int | float | str) or v is None else describe_build(v) for k, v in settings.items()}
    return Applied(snake(build.make.__name__), shown, summary_of(build.make))


def _defaults(build: Build[Any]) -> dict[str, Any]:
    parameters = inspect.signature(build.make).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def describe_build(value: Any) -> str:
    """`mixup(alpha=0.2)`: a build as a person types it."""
    if isinstance(value, Build):
        inside = ", ".join(f"{k}={describe_build(v)}" for k, v in value.arguments.items())
        return f"{snake(value.make.__name__)}({inside})" if inside else snake(value.make.__name__)
    return str(value)


def _baselines(data: Dataset, guess: Tensor, truth: Tensor) -> tuple[Baseline, ...]:
    from sonde.audits.quality.baselines import baselines

    return tuple(
        Baseline(
            b.name,
            tuple(_score(m) for m in b.measures),
            verdict=b.verdict,
            description=" ".join(filter(None, (b.description, b.note))),
            seconds=b.seconds,
        )
        for b in baselines(data, guess)
    )


def _curves(folder: RunFolder) -> tuple[Curve, ...]:
    per_epoch: dict[str, dict[str, list[tuple[int, float, float]]]] = {}
    for line in folder.history():
        for name, value in line["values"].items():
            split = per_epoch.setdefault(name, {}).setdefault(line["split"], [])
            split.append((line["step"], float(line.get("epoch", math.nan)), float(value)))
    curves = []
    for name, splits in per_epoch.items():
        drawn = {s: _series(points) for s, points in splits.items() if s in ("train", "val")}
        curves.append(Curve(_curve_name(name), "1", drawn.get("train"), drawn.get("val"), percent=name in SHARES))
    return tuple(curves)


def _curve_name(name: str) -> str:
    return {"loss": "Loss", "mse": "Mean squared error", "exact": "Rows with every label right"}.get(
        name, LABELS.get(name, name.replace("_", " ").capitalize())
    )


def _series(points: list[tuple[int, float, float]]) -> Series:
    epochs = tuple(e for _, e, _ in points)
    known = not any(math.isnan(e) for e in epochs)
    return Series(tuple(s for s, _, _ in points), tuple(v for _, _, v in points), epochs if known else ())


def _classified(data: Dataset, guess: Tensor, truth: Tensor) -> dict[str, Any]:
    from sonde.audits import quality

    per_class = tuple(
        ClassScore(c.name, c.n, c.recall, c.precision, c.recall_interval, c.precision_interval)
        for c in quality.per_class(guess, truth, data.classes)
    )
    return {"confusion": Confusion.of(data.classes, quality.confusion(guess, truth, data.classes)), "per_class": per_class}


def _fits(data: Dataset, guess: Tensor, truth: Tensor, most: int = 2000) -> tuple[Fit, ...]:
    fits = []
    names = _target_names(data)
    for t, name in enumerate(names):
        error = (guess[:, t] - truth[:, t]).double()
        counts, edges = torch.histogram(error[torch.isfinite(error)], bins=min(30, max(5, len(error) // 10)))
        histogram = Histogram(tuple(edges.tolist()), tuple(int(c) for c in counts.tolist()))
        fits.append(Fit(name, "1", tuple(truth[:most, t].tolist()), tuple(guess[:most, t].tolist()), histogram))
    return tuple(fits)


def _target_names(data: Dataset) -> list[str]:
    return [str(name) for name in data.schema.outputs]


def _mistakes(data: Dataset, guess: Tensor, truth: Tensor, most: int = 24) -> tuple[int, tuple[Example, ...], str]:
    index = data.splits["test"]
    if data.task == "classification":
        confidence, called = guess.max(1)
        wrong = (called != truth).nonzero().flatten()
        order = wrong[confidence[wrong].argsort(descending=True)]
        say = [
            (int(i), data.classes[int(truth[i])], data.classes[int(called[i])], float(confidence[i])) for i in order[:most]
        ]
        chosen = "the wrong answers it was surest of"
    elif data.task == "multilabel":
        called = guess > 0.5
        wrong = (called != (truth > 0.5)).any(1).nonzero().flatten()
        order = wrong[(guess - truth).abs().sum(1)[wrong].argsort(descending=True)]
        say = [(int(i), _named(data, truth[i] > 0.5), _named(data, called[i]), None) for i in order[:most]]
        chosen = "the rows with the most labels wrong"
    else:
        spread = truth.std(0, correction=0).clamp_min(torch.finfo(truth.dtype).tiny)
        error = ((guess - truth).abs() / spread).mean(1)
        wrong = error.argsort(descending=True)[: most // 2]
        say = [(int(i), _numbers(truth[i]), _numbers(guess[i]), None) for i in wrong]
        chosen = "the rows that were furthest off"
    examples = tuple(
        Example(str(data.names[int(index[i])]), t, g, c, **_shown(data, int(index[i]))) for i, t, g, c in say
    )
    return len(wrong) if data.task != "regression" else 0, examples, chosen


def _shown(data: Dataset, record: int) -> dict[str, Any]:
    from sonde.report.pictures import png

    x = data.batch(torch.tensor([record])).x
    if isinstance(x, Tensor):
        return {"picture": png(x[0])}
    return {"values": _row_values(data, x)}


def _named(data: Dataset, chosen: Tensor) -> str:
    return ", ".join(c for c, yes in zip(data.classes, chosen.tolist(), strict=True) if yes) or "none"


def _numbers(values: Tensor) -> str:
    return ", ".join(f"{v:.4g}" for v in values.tolist())


def _data(data: Dataset) -> Data:
    splits = {k: len(v) for k, v in data.splits.items()}
    images = isinstance(data.x, Tensor)
    shape = _shape(data)
    classes: tuple[ClassCount, ...] = ()
    target, target_name = None, ""
    if data.task == "classification":
        counts = {k: torch.bincount(data.y[v], minlength=len(data.classes)).tolist() for k, v in data.splits.items()}
        classes = tuple(ClassCount(c, {k: int(v[i]) for k, v in counts.items()}) for i, c in enumerate(data.classes))
    elif data.task == "multilabel":
        sums = {k: data.y[v].sum(0).long().tolist() for k, v in data.splits.items()}
        classes = tuple(ClassCount(c, {k: int(v[i]) for k, v in sums.items()}) for i, c in enumerate(data.classes))
    else:
        counts, edges = torch.histogram(data.y[data.splits["train"], 0].double(), bins=20)
        target = Histogram(tuple(edges.tolist()), tuple(int(c) for c in counts.tolist()))
        target_name = _target_names(data)[0]
    groups = tuple(
        Group(f, {str(g): int((codes == i).sum()) for i, g in enumerate(data.schema.groups[f])})
        for f, codes in data.fields.items()
    )
    kind = "image" if images else "table"
    return Data(
        data.name, kind, shape, splits, classes, target, target_name, _columns(data), groups, data.notes, data.fingerprint
    )


def _shape(data: Dataset) -> str:
    """One row in words."""
    if isinstance(data.x, Tensor):
        channels, height, width = data.x.shape[1:]
        colour = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
        return f"{height} x {width} {colour} image"
    return f"{len(data.schema.columns)} columns"


def _columns(data: Dataset) -> tuple[Column, ...]:
    if isinstance(data.x, Tensor):
        return ()
    missing = {
        **dict(zip(data.schema.numeric, data.x["numeric"].isnan().float().mean(0).tolist(), strict=True)),
        **dict(zip(data.schema.categorical, (data.x["categorical"] == 0).float().mean(0).tolist(), strict=True)),
    }
    columns = []
    for c in data.schema.columns:
        kind = f"categorical, {len(c.categories)} values" if c.kind == "categorical" else str(c.kind)
        role: Any = "sensitive" if c.name in data.fields else "input"
        columns.append(Column(c.name, kind, missing.get(c.outputs[0] if c.outputs else c.name, 0.0), role))
    kind = {"classification": "classes", "multilabel": "labels", "regression": "numeric"}[data.task]
    return (*columns, *(Column(t, kind, 0.0, "target") for t in data.schema.target.columns))


def _row_values(data: Dataset, x: dict[str, Tensor]) -> dict[str, Any]:
    """A table's row as a person reads it: numbers as they were, categories by name."""
    names = {c.name: c.categories for c in data.schema.columns}
    codes = zip(data.schema.categorical, x["categorical"][0].tolist(), strict=True)
    numbers = zip(data.schema.numeric, x["numeric"][0].tolist(), strict=True)
    values: dict[str, Any] = {k: None if math.isnan(v) else float(f"{v:.6g}") for k, v in numbers}
    return values | {k: names[k][code - 1] if code else None for k, code in codes}
