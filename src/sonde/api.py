"""The Python face of the main job: `train`, `resume`, `load`, `audit`; what tunes stands in `sonde.tuning.api`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from sonde.changes import builds, check_numbers, over
from sonde.core import Audit, Build, Engine, Method, Recipe, SondeError, Subject
from sonde.data import Dataset
from sonde.names import apply_settings, completed, parse
from sonde.training import Trained, opened, rebuild, recipe_from_file
from sonde.training import resume as _resume
from sonde.training import train as _train

if TYPE_CHECKING:
    from sonde.bundle import Bundle
    from sonde.report.audit import AuditFacts

Named = str | Build[Any] | Callable[..., Any]
"""A constructor as a name with options (`mixup(alpha=0.2)`), as a class, or as a `Build`."""


def train(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    net: Named | None = None,
    methods: Sequence[Named] = (),
    settings: Mapping[str, Any] | None = None,
    recipe: Recipe | str | Path | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    patience: int | None = None,
    microbatch: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    compile: bool = False,
    parallel: str | None = None,
    output_dir: str | Path = "runs",
    name: str | None = None,
    baselines: bool = True,
    observers: Sequence[Method] = (),
    own: Collection[Callable[..., Any]] = (),
    **reading: Any,
) -> Trained:
    """Train on your data, measure the result, and leave a run folder with the model and its report.

    data: a folder of images, a CSV, TSV, Parquet, npz or idx file, a pandas or polars frame, the name of a data set
        (`digits`, `mnist`, ...), or a `sonde.data.Dataset`.
    target: the column or columns of a table to predict. reading: the rest of `sonde.data.open`: `sensitive`,
        `kinds`, `on_bad`, `test`, `val`...
    net, methods: in place of and beside the defaults, e.g. `methods=["mixup(alpha=0.2)", EMA]`. Parameters that you
        leave out and the data decides (`outputs`, `classes`, `shape`, ...) are filled in.
    settings: changes of the resolved recipe by path, e.g. `{"methods.ema.decay": 0.99}`.
    recipe: a whole recipe, or the path of one; what else is given changes it. own: constructors of yours it names.
    epochs, steps, seconds: the budget; the first limit reached ends training. seed: seeds everything, 0 if not given.
    patience: validations without improvement before it ends; microbatch: rows differentiated at a time.
    device: `auto` if not given, `cpu`, `cuda`, `mps`. precision: `32`, `bf16-mixed`, `16-mixed`.

    Raises SondeError, whose text names the file, row or option and says what to do.

    Entry: early stopping.
    """
    numbers: dict[str, Any] = {
        "epochs": epochs,
        "steps": steps,
        "seconds": seconds,
        "batch_size": batch_size,
        "lr": lr,
        "weight_decay": weight_decay,
        "patience": patience,
        "microbatch": microbatch,
        "seed": seed,
    }
    check_numbers(**numbers)
    chosen = {"device": device, "precision": precision, "parallel": parallel, "compile": compile or None}
    dataset = read(data, target, seed, reading)
    resolved = resolve(dataset, net, methods, settings, recipe, numbers, chosen, own)
    return _train(dataset, recipe=resolved, output_dir=output_dir, name=name, baselines=baselines, observers=observers)


def resume(
    run: str | Path, *, data: Any = None, own: Collection[Callable[..., Any]] = (), output_dir: str | Path = "runs"
) -> Trained:
    """Continue an interrupted run; the result equals that of one which never stopped, bit for bit.

    run: its name or folder. data: the data, for a run whose data came from memory. own: constructors of yours.
    """
    from sonde.runs import RunFolder

    return _resume(RunFolder.find(run, Path(output_dir)), data=data, own=own)


def load(run: str | Path, *, own: Collection[Callable[..., Any]] = (), output_dir: str | Path = "runs") -> Bundle:
    """The trained model of a run, with `predict` and `predict_proba`.

    run: a run's name or folder, or a model folder. own: constructors of yours that the model was built with.
    """
    from sonde.bundle import Bundle
    from sonde.core.state import refuse_pickle
    from sonde.runs import RunFolder

    path = Path(run)
    refuse_pickle(path)
    if (path / "bundle.json").is_file():
        return Bundle.load(path, own)
    return Bundle.load(RunFolder.find(run, Path(output_dir)).model, own)


def audit(
    subject: str | Path | Trained | Subject | nn.Module,
    x: Any = None,
    y: Tensor | None = None,
    *,
    classes: Sequence[str] = (),
    groups: Mapping[str, tuple[Sequence[str], Tensor]] | None = None,
    data: Dataset | None = None,
    audits: Sequence[Audit] | None = None,
    only: Collection[str] = (),
    thresholds: str | Path | Mapping[str, Any] | None = None,
    baseline: str | Path | Trained | AuditFacts | None = None,
    seconds: float = math.inf,
    seed: int = 0,
    own: Collection[Callable[..., Any]] = (),
    output_dir: str | Path = "runs",
) -> AuditFacts:
    """Measure what a model is worth: its `.measures` by name, `.verdicts`, and `.save("audit.html")` for a page.

    subject: a run, by its name or folder or as `train` returned it, whose folder then holds audit.json and a report
        with what was found; or any module that classifies, with x (N, ...) as it reads them and y (N,) int64, rows that
        it was not trained on; or a `sonde.core.Subject`, which can say more about a module, and has models of texts
        (`Subject.of`).
    classes, groups: of a module: the classes' names, and `{"sex": (("female", "male"), codes)}`, codes (N,) int64.
    data: of a run whose data came from memory. own: constructors of yours that a run's model names.
    audits: those to run, with settings: `[Quality()]`. only: topics or names in their place; `["all"]`: every one.
        Without both, all that there are, or those that the run's recipe names.
    thresholds: a TOML file, or the same as nested dicts: `{"quality": {"accuracy": {"at_least": 0.97}}}`.
    baseline: an audited run, or what this function returned, to say what changed. seconds: the time for all audits.

    A module is left as it was found. Raises SondeError for what the user can mend.
    """
    from sonde.audited import audit_run, audit_subject
    from sonde.report.audit import AuditFacts
    from sonde.thresholds import of, read

    if isinstance(only, str):
        raise SondeError(f"only={only!r} is a text", f"give a list: only=[{only!r}]")
    bounds = () if thresholds is None else of(thresholds) if isinstance(thresholds, Mapping) else read(Path(thresholds))
    before = baseline.folder if isinstance(baseline, Trained) else baseline
    asked: dict[str, Any] = {"audits": audits, "only": only, "thresholds": bounds, "budget": seconds, "seed": seed}
    if isinstance(subject, str | Path | Trained):
        if x is not None or y is not None or classes or groups:
            raise SondeError("a run has rows, classes and groups of its own", "leave x, y, classes and groups out")
        run = subject.folder if isinstance(subject, Trained) else subject
        return audit_run(run, data, baseline=before, own=own, output_dir=output_dir, **asked)
    if not isinstance(subject, Subject | nn.Module):
        raise SondeError(f"a {type(subject).__name__} cannot be audited", "give a run, a module or a Subject")
    if isinstance(subject, nn.Module):
        if x is None or y is None:
            raise SondeError("a module is audited on rows", "give them: sonde.audit(model, x, y)")
        subject = Subject.of(subject, x, y, classes=classes, groups=groups)
    if before is not None and not isinstance(before, AuditFacts):
        from sonde.audited import read_audit

        before = read_audit(before, Path(output_dir))
    return audit_subject(subject, baseline=before, **asked)


def read(data: Any, target: str | Sequence[str] | None, seed: int | None, reading: Mapping[str, Any]) -> Dataset:
    """The data set that `train`'s arguments describe."""
    reading = {**reading, **({} if target is None else {"target": target}), **({} if seed is None else {"seed": seed})}
    return opened(data, **({} if isinstance(data, Dataset) else reading))


def resolve(
    dataset: Dataset,
    net: Named | None,
    methods: Sequence[Named],
    settings: Mapping[str, Any] | None,
    recipe: Recipe | str | Path | None,
    numbers: Mapping[str, Any],
    engine: Mapping[str, Any],
    own: Collection[Callable[..., Any]],
) -> Recipe:
    """The recipe that `train`'s arguments describe. numbers, engine: by name; None changes nothing."""
    from sonde.recipes.defaults import Wishes, decided_by, for_data

    check_numbers(**numbers)
    chosen = {k: v for k, v in engine.items() if v is not None}
    if isinstance(recipe, str | Path):
        recipe = recipe_from_file(Path(recipe), own)
    known = decided_by(dataset)
    wanted = {
        **numbers,
        "net": None if net is None else _named("nets", net, known),
        "methods": [_named("methods", m, known) for m in methods],
    }
    if recipe is None:
        wanted = {k: v for k, v in wanted.items() if v is not None}
        resolved = for_data(dataset, Wishes(**wanted, engine=Engine(**chosen)), rebuild(dataset))
    else:
        whole = replace(recipe.engine, **chosen)
        resolved = over(recipe.changed(data=rebuild(dataset), name=dataset.name), engine=whole, **wanted)
    if settings:
        makes = [b.make for b in builds([resolved.objective, *resolved.methods])]
        resolved = Recipe.from_data(apply_settings(resolved.to_data(), settings), own=[*own, *makes])
    return resolved


def _named(part: str, given: Named, known: Mapping[str, Any]) -> Build[Any]:
    if isinstance(given, str):
        return parse(part, given, known)
    if (
        not isinstance(given, Build)
        and not callable(given)
        or hasattr(given, "state_dict")
        and not isinstance(given, type)
    ):
        raise SondeError(
            f"a {type(given).__name__} that is already made cannot be written into a recipe",
            f"pass its class, or sonde.core.Build({type(given).__name__}, option=value, ...)",
        )
    return completed(given if isinstance(given, Build) else Build(given), known)
