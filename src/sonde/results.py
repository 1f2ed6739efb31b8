"""The end of a run: measure what was trained, and write the model, the facts and the report."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sonde.bundle import Bundle
from sonde.core import Build, Measure, Recipe, Run, rank_and_world
from sonde.core.engine import sharing
from sonde.describe import data_facts, histogram, mistakes
from sonde.methods import FGSM, PGD, TRADES, EarlyStopping, GaussianNoise
from sonde.names import snake, summary_of
from sonde.promises import numbers, privacy_of
from sonde.report import words
from sonde.report.facts import (
    Applied,
    Baseline,
    ClassScore,
    Confusion,
    Curve,
    Facts,
    Fit,
    Mark,
    Model,
    Privacy,
    Score,
    Series,
    Unmeasured,
)
from sonde.runs import RunFolder, shareable
from sonde.streamed import Streamed, streamed

if TYPE_CHECKING:
    from sonde.data import Dataset

# N rows, C classes, L labels, T targets

SHARES = {"accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "exact_match", "label_accuracy", "ece"}
SHARES |= {"adaptive_ece", "classwise_ece", "ece_change", "debiased_error", "overconfidence", "recall"}
SHARES |= {"average_accuracy", "forgetting", "backward_transfer", "forward_transfer"}
LABELS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "nll": "Negative log-likelihood",
    "macro_f1": "F1, mean over classes",
    "micro_f1": "F1 over all labels",
    "roc_auc": "Area under the ROC curve",
    "ece": "Calibration error (ECE)",
    "adaptive_ece": "Calibration error, bins of equally many rows",
    "classwise_ece": "Calibration error, mean over classes",
    "debiased_error": "Calibration error, root mean square, debiased",
    "ece_change": "Change of the calibration error",
    "nll_change": "Change of the negative log-likelihood",
    "held_out_nll_change": "Change of the negative log-likelihood, held out",
    "brier": "Brier score",
    "aurc": "Area under the risk-coverage curve",
    "e_aurc": "Area above the best risk-coverage curve",
    "worst_class/recall": "Recall of the worst class",
    "worst_slice/accuracy": "Accuracy of the worst slice",
    "mistakes/confident_share": "Confidently wrong",
    "mistakes/doubted_labels_share": "Labels in doubt",
    "mistakes/far_off_share": "Answers far off",
    "selective/aurc": "Area under the risk-coverage curve",
    "selective/e_aurc": "Area above the best risk-coverage curve",
    "at_80_percent_coverage/accuracy": "Accuracy on the surest 80 %",
    "at_90_percent_coverage/accuracy": "Accuracy on the surest 90 %",
    "at_95_percent_coverage/accuracy": "Accuracy on the surest 95 %",
    "recalibrated/nll": "Negative log-likelihood, recalibrated",
    "recalibrated/nll_change": "Change of the negative log-likelihood, recalibrated",
    "recalibrated/ece": "Calibration error (ECE), recalibrated",
    "recalibrated/ece_change": "Change of the calibration error, recalibrated",
    "brier/miscalibration": "Brier score, miscalibration",
    "brier/discrimination": "Brier score, discrimination",
    "brier/uncertainty": "Brier score, uncertainty",
    "standard_accuracy": "Accuracy under the standard attacks",
    "linf/median_distance": "Median distance to a wrong answer (L-inf)",
    "l2/median_distance": "Median distance to a wrong answer (L2)",
    "corruptions/clean_accuracy": "Accuracy, nothing corrupted",
    "corruptions/mean_accuracy": "Accuracy under corruptions",
    "corruptions/kept_share": "Accuracy kept under corruptions",
    "corruptions/worst_accuracy": "Accuracy under the worst corruption",
    "typos/clean_accuracy": "Accuracy, nothing mistyped",
    "typos/mean_accuracy": "Accuracy under typing errors",
    "typos/kept_share": "Accuracy kept under typing errors",
    "typos/worst_accuracy": "Accuracy under the worst typing errors",
    "masking/signs": "Signs of gradient masking",
    "masking/one_step_only_share": "Fall to one step alone (masking)",
    "masking/black_box_only_share": "Fall to queries alone (masking)",
    "masking/random_only_share": "Fall to random points alone (masking)",
    "masking/standing_at_large_radius_share": "Stand at half the range (masking)",
    "masking/without_gradient_share": "Have no gradient (masking)",
    "patch/success_rate": "Fooled by a patch",
    "patch/random_patch_rate": "Fooled by a random patch",
    "patch/accuracy": "Accuracy under the patch",
    "smoothing/certified_accuracy": "Certified accuracy (smoothing)",
    "smoothing/mean_radius": "Mean certified radius (smoothing)",
    "auc_from_features": "Told from the other columns (AUC)",
    "auc_from_representation": "Told from the representation (AUC)",
    "exact_match": "Rows with every label right",
    "label_accuracy": "Labels right",
    "rmse": "Root mean squared error",
    "mae": "Mean absolute error",
    "r2": "R squared",
}
SPELT = {"lac": "LAC", "aps": "APS", "raps": "RAPS", "linf": "L-inf", "l2": "L2", "mahalanobis": "Mahalanobis"}
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

    outcome = _outcome(run, recipe, data)
    bundle = shipped(run, recipe, data, outcome["privacy"])  # every process takes part: a sharded model is gathered
    if rank_and_world()[0] == 0:
        bundle.save(folder.model)
        facts = gather(bundle, recipe, data, folder, outcome, streamed(run, data))
        folder.write("report.json", facts.to_data())
        folder.write("report.html", render(facts))
    if sharing():
        torch.distributed.barrier()
        facts = Facts.from_data(folder.read("report.json"))
    return bundle, facts


def shipped(run: Run, recipe: Recipe, data: Dataset, privacy: Privacy | None = None) -> Bundle:
    """The bundle of a run with the weights that its methods ship, on the CPU. privacy: what it promises."""
    weights = {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in run.weights().items()}
    build = recipe.objective
    for method in run.methods:
        build = method.built(build)
    objective = build(data=data)
    objective.load_state_dict({k: v.to("cpu") for k, v in weights.items()})
    promised = None if privacy is None else numbers(privacy)
    return Bundle.of(objective.requires_grad_(False).eval(), build, data, promised)


def predictions(bundle: Bundle, data: Dataset, split: str) -> tuple[Tensor, Tensor]:
    """Probabilities or values (N, C), and truths, for the rows of a split."""
    index = data.splits[split]
    parts = [bundle.raw(data.batch(i).x) for i in index.split(2048)]
    return torch.cat(parts), data.y[index]


def measure(bundle: Bundle, guess: Tensor, truth: Tensor, split: str) -> list[Measure]:
    """The quality of a model's predictions for rows of any origin; see `sonde.audits.quality`."""
    from sonde.audits import quality

    if bundle.task == "regression":
        return quality.regression(guess, truth, bundle.schema.outputs, split=split)
    of = quality.classification if bundle.task == "classification" else quality.multilabel
    return of(guess, truth, bundle.classes, split=split)


def gather(
    bundle: Bundle,
    recipe: Recipe,
    data: Dataset,
    folder: RunFolder,
    outcome: dict[str, Any],
    stream: Streamed | None = None,
) -> Facts:
    """Everything the report says. stream: what a run over a stream of experiences kept of them."""
    about = folder.read("run.json")
    found: list[Measure] = []
    extra: dict[str, Any] = {}
    if stream is None or len(stream.index):
        seen = data if stream is None else stream.of(data)
        guess, truth = predictions(bundle, seen, "test")
        found = measure(bundle, guess, truth, "test")
        extra = dict(zip(("mistakes", "examples", "chosen"), mistakes(seen, guess, truth), strict=True))
        if about.get("baselines", True) and (stream is None or stream.whole):
            extra["baselines"] = _baselines(data, guess)
        if data.task == "classification":
            extra |= _classified(seen, guess, truth)
        elif data.task == "regression":
            extra |= {"fits": _fits(seen, guess, truth)}
    scores, says = tuple(_score(m) for m in found), verdict(data, found) if found else ""
    if stream is not None:
        scores = tuple(replace(s, label=stream.called(s.label)) for s in scores)
        scores = (*(_score(m) for m in stream.measures), *scores)
        extra["retained"], says = stream.facts, stream.verdict or says
    return Facts(
        title=folder.name,
        created=str(about["created"]),
        verdict=says,
        task=data.task,
        command=str(about.get("command") or f"sonde train --recipe {shareable(folder.path)}"),
        model=_model(bundle),
        data=data_facts(data),
        measures=scores,
        recipe=recipe.to_data(),
        environment={k: str(v) for k, v in folder.read("environment.json").items()},
        methods=tuple(_applied(m) for m in recipe.methods),
        curves=_curves(folder),
        intervals=INTERVALS,
        not_measured=_not_measured(recipe, outcome["privacy"] is not None, folder.name),
        **outcome,
        **extra,
    )


INTERVALS = "Shares have Wilson's interval, the others a bootstrap over rows; the table says which."


def verdict(data: Dataset, measures: Sequence[Measure]) -> str:
    """The whole result in one sentence."""
    m = measures[0]
    kind = "images" if isinstance(data.x, Tensor) else "rows"
    percent = data.task != "regression"
    value = words.measured(m.value, m.unit, percent, m.interval)
    between = f" (95 % interval {words.ends(m.interval, percent)})" if m.interval else ""
    if data.task == "regression":
        return f"Off by {value} on {m.n:,} test {kind}, as {label_of(m).lower()}{between}."
    what = {"classification": "right", "multilabel": "with every label right"}[data.task]
    return f"{value} of {m.n:,} test {kind} {what}{between}."


# ---------------------------------------------------------------- parts of the facts
def _not_measured(recipe: Recipe, private: bool, name: str) -> tuple[Unmeasured, ...]:
    """What the page does not tell, and the command that would; of a net trained on moved rows, how far they were."""
    kept = [u for u in NOT_MEASURED if u.name != "Privacy" or not private]
    moved = [_strength(b) for b in recipe.methods if b.make in (FGSM, PGD, TRADES, GaussianNoise)]
    if moved:
        said = f"it was trained against {' and '.join(moved)}, and what it withstands was not measured"
        kept = [replace(u, text=f"{u.text}: {said}") if u.name == "Robustness" else u for u in kept]
    asked = {"Robustness": "robustness", "Fairness": "fairness"}
    how = {known: f"sonde audit {name} --only {topic}" for known, topic in asked.items()}
    return tuple(replace(u, text=f"{u.text}; to measure it: {how[u.name]}") if u.name in how else u for u in kept)


def _strength(build: Build[Any]) -> str:
    """`pgd(radius=0.3, norm=linf)`: how far a method moves rows, whatever else it is given."""
    settings = {**_defaults(build), **build.arguments}
    return describe_build(Build(build.make, **{k: settings[k] for k in ("radius", "norm", "sigma") if k in settings}))


def _outcome(run: Run, recipe: Recipe, data: Dataset) -> dict[str, Any]:
    budget = recipe.stages[-1].budget
    stopped = run.stop is not None
    timed = budget.seconds is not None and not stopped and run.elapsed >= budget.seconds
    # A run that was interrupted while it was measured has no source when it goes on: nothing is left to train.
    source = recipe.stages[-1].source(data=data) if run.source is None else run.source
    per_epoch, batch_size = source.steps_per_epoch, getattr(source, "batch_size", None)
    marks: list[Mark] = []
    for m in run.methods:
        if isinstance(m, EarlyStopping) and m.best_step and m.kept:
            marks.append(Mark(m.best_step, "best", f"best {m.split} {m.metric}: these weights are shipped"))
    if stopped:
        marks.append(Mark(run.step, "stopped", str(run.stop)))
    return {
        "outcome": "stopped early" if stopped else "out of time" if timed else "finished",
        "step": run.step,
        "epoch": run.step / per_epoch if per_epoch and len(recipe.stages) == 1 else None,
        "seconds": run.elapsed,
        "rows_per_second": run.step * batch_size / run.elapsed if batch_size and run.elapsed else None,
        "marks": tuple(marks),
        "privacy": privacy_of(run),
        "notes": tuple(run.notes),
    }


def label_of(m: Measure) -> str:
    """A measure as a table names it: by the longest end of its name that has a label, else by its last word."""
    return _labelled(m.name.split("/"))[0]


def full_label_of(m: Measure) -> str:
    """The same with what is between: `fairness/sex/accuracy` is "Accuracy (sex)"."""
    label, between = _labelled(m.name.split("/")[1:])
    words = [SPELT.get(part, part.replace("_", " ")) for part in between]
    return label + (f" ({', '.join(words)})" if words else "")


def _labelled(parts: list[str]) -> tuple[str, list[str]]:
    for i in range(len(parts)):
        if (label := LABELS.get("/".join(parts[i:]))) is not None:
            return label, parts[:i]
    return parts[-1].replace("_", " ").capitalize(), parts[:-1]


def _score(m: Measure) -> Score:
    return Score.of(m, label=label_of(m), percent=m.name.rpartition("/")[2] in SHARES)


def _model(bundle: Bundle) -> Model:
    build = bundle.build.arguments.get("module", bundle.build)  # what a method wrapped, if one did
    net = build.arguments.get("net")
    make = net.make if isinstance(net, Build) else build.make
    count = sum(p.numel() for p in bundle.objective.parameters())
    return Model(make.__name__, summary_of(make), count)


def _applied(build: Build[Any]) -> Applied:
    settings = {**_defaults(build), **build.arguments}
    shown = {
        k: v if isinstance(v, bool | int | float | str) or v is None else describe_build(v) for k, v in settings.items()
    }
    return Applied(snake(build.make.__name__), shown, summary_of(build.make))


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else describe_build(value)


def _defaults(build: Build[Any]) -> dict[str, Any]:
    parameters = inspect.signature(build.make).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def describe_build(value: Any) -> str:
    """`mixup(alpha=0.2)`: a build as a person types it."""
    if isinstance(value, Build):
        inside = ", ".join(f"{k}={describe_build(v)}" for k, v in value.arguments.items())
        return f"{snake(value.make.__name__)}({inside})" if inside else snake(value.make.__name__)
    return str(value)


def _baselines(data: Dataset, guess: Tensor) -> tuple[Baseline, ...]:
    from sonde.audits.quality import baselines

    return tuple(
        Baseline(
            b.name,
            tuple(_score(m) for m in b.measures),
            verdict=b.verdict,
            description=" ".join(filter(None, (b.description, b.note))),
            seconds=b.seconds,
        )
        for b in baselines(data, prediction=guess)
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
    return {
        "loss": "Loss",
        "epsilon": "Privacy spent (epsilon)",
        "mse": "Mean squared error",
        "exact": "Rows with every label right",
    }.get(name, LABELS.get(name, name.replace("_", " ").capitalize()))


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
    counts = quality.confusion(guess, truth, data.classes).tolist()
    return {"confusion": Confusion.of(data.classes, counts), "per_class": per_class}


def _fits(data: Dataset, guess: Tensor, truth: Tensor, most: int = 2000) -> tuple[Fit, ...]:
    fits = []
    for t, name in enumerate(data.schema.outputs):
        residuals = histogram(guess[:, t] - truth[:, t], bins=min(30, max(5, len(truth) // 10)))
        fits.append(Fit(name, "1", tuple(truth[:most, t].tolist()), tuple(guess[:most, t].tolist()), residuals))
    return tuple(fits)
