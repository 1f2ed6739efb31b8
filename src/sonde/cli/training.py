"""`sonde train` and `sonde resume`: options to wishes, and the result as a person reads it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonde.cli.text import duration, emit_json, measured, say, table
from sonde.core import Engine, Recipe, SondeError, rank_and_world
from sonde.names import apply_settings, parse, read_value
from sonde.recipes.defaults import Wishes, for_data
from sonde.runs import RunFolder
from sonde.training import Trained, opened, rebuild, recipe_from_file
from sonde.training import resume as continue_run
from sonde.training import train as train_run

TIME_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def command(given: Mapping[str, Any], words: Sequence[str]) -> None:
    """Run `sonde train` with the options `given`, typed as `words`."""
    given = {**given, "words": list(words)}
    typed = "sonde " + shlex.join(_shared(w) for w in words if w not in ("--resume", "--debug"))
    if given["resume"] and (folder := unfinished(given["output_dir"], typed)):
        resume(str(folder.path), given["output_dir"], given["json"], given["quiet"])
        return
    own_recipe = _recipe(given["recipe"]) if given["recipe"] else None
    dataset = _data(given, own_recipe)
    quiet = given["quiet"] or rank_and_world()[0] > 0
    if not quiet:
        for note in dataset.notes:
            say(f"· {note}")
    resolved = resolve(given, own_recipe, dataset)
    if given["dry_run"]:
        emit_json(resolved.to_data())
        return
    if not quiet:
        say(_plan(resolved, dataset))
    trained = _watched(
        quiet,
        lambda watchers: train_run(
            dataset,
            recipe=resolved,
            output_dir=given["output_dir"],
            name=given["name"],
            observers=watchers,
            command=typed,
            baselines=not given["no_baselines"],
        ),
    )
    show(trained, given["json"])


def resume(run: str, output_dir: Path, json: bool, quiet: bool) -> None:
    """Run `sonde resume`."""
    folder = RunFolder.find(run, output_dir)
    if folder.has("report.json"):
        raise SondeError(f"run {folder.name} is finished", "train again under another --name to change it")
    show(_watched(quiet, lambda watchers: continue_run(folder, observers=watchers)), json)


def _watched(quiet: bool, job: Any) -> Trained:
    from sonde.cli.progress import Progress

    if quiet:
        trained: Trained = job(())
        return trained
    progress = Progress()
    try:
        trained = job((progress,))
        return trained
    finally:
        progress.close()


# ---------------------------------------------------------------- options to a recipe
def resolve(given: Mapping[str, Any], own_recipe: Recipe | None, dataset: Any) -> Recipe:
    """The recipe that the options describe: a file's or the default for the data, and then every option on top."""
    from sonde.recipes.defaults import decided_by

    known = decided_by(dataset)
    wishes = Wishes(
        net=None if given["net"] is None else parse("nets", given["net"], known),
        methods=[parse("methods", text, known) for text in given["with_"]],
        epochs=given["epochs"],
        steps=given["steps"],
        seconds=None if given["time"] is None else seconds(given["time"]),
        batch_size=given["batch_size"],
        lr=given["lr"],
        weight_decay=given["weight_decay"],
        patience=given["patience"],
        microbatch=given["microbatch"],
        seed=given["seed"],
        engine=Engine(given["device"], given["precision"], given["compile_"], given["parallel"]),
    )
    recipe = for_data(dataset, wishes, rebuild(dataset)) if own_recipe is None else _over(own_recipe, wishes, given)
    settings = {}
    for text in given["set_"]:
        path, equals, value = text.partition("=")
        if not equals:
            raise SondeError(f"--set {text!r} has no value", "write PATH=VALUE, e.g. methods.ema.decay=0.99")
        settings[path.strip()] = read_value(value)
    return Recipe.from_data(apply_settings(recipe.to_data(), settings)) if settings else recipe


def _over(recipe: Recipe, wishes: Wishes, given: Mapping[str, Any]) -> Recipe:
    """A recipe from a file, with the options that were given beside it."""
    from sonde.core import Budget, Stage
    from sonde.recipes.defaults import with_methods

    if wishes.net is not None:
        recipe = recipe.changed(objective=recipe.objective.with_arguments(net=wishes.net))
    if wishes.methods:
        recipe = recipe.changed(methods=tuple(with_methods(recipe.methods, wishes.methods)))
    limits = {k: v for k in ("steps", "epochs", "seconds") if (v := getattr(wishes, k)) is not None}
    stages = recipe.stages
    if limits:
        stages = tuple(Stage(source=s.source, budget=Budget(**limits)) for s in stages)
    if wishes.batch_size is not None:
        stages = tuple(
            Stage(source=s.source.with_arguments(batch_size=wishes.batch_size), budget=s.budget) for s in stages
        )
    recipe = recipe.changed(stages=stages)
    if any(f in given["words"] for f in ("--device", "--precision", "--compile", "--parallel")):
        recipe = recipe.changed(engine=wishes.engine)
    unheard = [f for f in ("--lr", "--weight-decay", "--patience", "--microbatch") if f in given["words"]]
    if unheard:
        raise SondeError(f"{unheard[0]} does not apply to a recipe from a file", "use --set, e.g. methods.adamw.lr=1e-3")
    return recipe if "--seed" not in given["words"] else recipe.changed(seed=wishes.seed)


def _recipe(name: str) -> Recipe:
    if Path(name).exists() or name.endswith(".json") or "/" in name:
        return recipe_from_file(Path(name))
    from sonde.names import find

    made: Recipe = find("recipes", name).make()
    return made


def _data(given: Mapping[str, Any], recipe: Recipe | None) -> Any:
    if given["data"] is None:
        if recipe is None or recipe.data is None:
            raise SondeError("there is nothing to train on", "give a folder, a file or a name, e.g. sonde train digits")
        return recipe.data()
    return opened(given["data"], **data_options(given))


def data_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say how to read the data, as `sonde.data.open` takes them."""
    options: dict[str, Any] = {}
    for name in ("task", "encoding", "size", "test", "val"):
        if given.get(name) is not None:
            options[name] = given[name]
    if given.get("seed"):
        options["seed"] = given["seed"]
    if given["target"]:
        targets = [t.strip() for t in given["target"].split(",")]
        options["target"] = targets[0] if len(targets) == 1 else targets
    if given["sensitive"]:
        options["sensitive"] = [s.strip() for s in given["sensitive"].split(",")]
    if given["kind"]:
        pairs = [k.partition("=") for k in given["kind"]]
        if bad := [name for name, equals, _ in pairs if not equals]:
            raise SondeError(f"--kind {bad[0]!r} has no kind", "write COLUMN=KIND, e.g. zip=categorical")
        options["kinds"] = {name.strip(): kind.strip() for name, _, kind in pairs}
    if given["on_bad"] != "fail":
        options["on_bad"] = given["on_bad"]
    if given["download"]:
        options["download"] = True
    return options


def seconds(text: str) -> float:
    """`90`, `90s`, `10m`, `2h` in seconds.

    >>> seconds("10m"), seconds("1.5h")
    (600.0, 5400.0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*", text)
    if not found or float(found[1]) == 0:
        raise SondeError(f"--time {text!r} is not a time", "write e.g. 90s, 10m or 2h")
    return float(found[1]) * TIME_UNITS[found[2] or ""]


def unfinished(root: Path, typed: str) -> RunFolder | None:
    """The latest run of the same command that has not finished."""
    for folder in reversed(RunFolder.all(root)):
        if not folder.has("report.json") and folder.has("run.json") and folder.read("run.json").get("command") == typed:
            return folder
    return None


def _shared(word: str) -> str:
    """A word of the command as others may read it: the home folder is nobody's business."""
    home = str(Path.home())
    return "~" + word[len(home) :] if home != "/" and word.startswith(home + "/") else word


# ---------------------------------------------------------------- what a person reads
def _plan(recipe: Recipe, dataset: Any) -> str:
    from sonde.results import describe_build

    sizes = ", ".join(f"{len(v):,} {k}" for k, v in dataset.splits.items())
    net = recipe.objective.arguments.get("net")
    names = ", ".join(describe_build(m) for m in recipe.methods)
    budget = recipe.stages[-1].budget
    limits = [f"{v:g} {k}" for k in ("epochs", "steps", "seconds") if (v := getattr(budget, k)) is not None]
    return f"· {sizes} rows\n· net {describe_build(net)}\n· methods {names}\n· for {' or '.join(limits)}"


def show(trained: Trained, json: bool) -> None:
    """Print what was measured, and where everything is."""
    if rank_and_world()[0] > 0:
        return
    facts, folder = trained.facts, trained.folder
    if json:
        emit_json(
            {
                "run": str(folder.path),
                "verdict": facts.verdict,
                "outcome": facts.outcome,
                "steps": facts.step,
                "seconds": round(facts.seconds, 2),
                "measures": [_as_data(m) for m in facts.measures],
                "baselines": [{"name": b.name, "measures": [_as_data(m) for m in b.scores]} for b in facts.baselines],
                "report": str(folder.report),
            }
        )
        return
    shown = [m for m in facts.measures if m.split == "test"]
    headers = ["test", facts.model.name, *(b.name for b in facts.baselines)]
    rows = []
    for m in shown:
        others = [next((s for s in b.scores if s.name == m.name), None) for b in facts.baselines]
        cells = ["—" if s is None else measured(s.value, None, s.percent) for s in others]
        rows.append([m.label or m.name, measured(m.value, m.interval, m.percent), *cells])
    print(facts.verdict)
    print()
    table("", headers, rows, numeric=range(1, len(headers)))
    print()
    for b in facts.baselines:
        if b.verdict:
            print(f"{b.name}: {b.verdict}")
    print(f"trained in {duration(facts.seconds)}, {facts.step:,} steps, {facts.outcome}")
    print(f"report  {folder.report}")
    print(f"model   {folder.model}    sonde predict {folder.name} INPUT")


def _as_data(score: Any) -> dict[str, Any]:
    return {
        "name": score.name,
        "value": score.value,
        "interval": score.interval,
        "n": score.n,
        "unit": score.unit,
        "better": score.better,
        "split": score.split,
    }

