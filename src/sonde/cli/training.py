"""`sonde train` and `sonde resume`: options to a recipe, and the result as a person reads it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sonde.data
from sonde.changes import check_numbers, check_whole, over, resized
from sonde.cli.process import keep_freed_memory
from sonde.cli.text import duration, emit_json, interval, measured, say, table
from sonde.cli.words import Misused, spoken
from sonde.core import Build, Engine, Method, Recipe, SondeError, rank_and_world
from sonde.methods import Retention
from sonde.names import apply_settings, did_you_mean, parse, read_value
from sonde.recipes.defaults import Wishes, decided_by, for_data
from sonde.recipes.streams import for_stream, stream_of
from sonde.report.facts import Retained
from sonde.report.plain import to_plain
from sonde.report.retained import experience
from sonde.runs import RunFolder
from sonde.training import Trained, join_processes, opened, rebuild, recipe_from_file
from sonde.training import resume as continue_run
from sonde.training import train as train_run

READ_BY_NAME = ("target", "sensitive", "kinds", "task", "on_bad", "size", "test", "val", "seed", "encoding", "name")
TIME_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
MOST_EXPERIENCES = 20  # that a terminal lists
NUMBERS = ("epochs", "steps", "batch_size", "lr", "weight_decay", "patience", "microbatch", "seed")


def command(given: Mapping[str, Any], words: Sequence[str]) -> None:
    """Run `sonde train` with the options `given`, typed as `words`."""
    typed, numbers = spoken(words), numbers_of(given)
    join_processes()
    if given["resume"] and _resumed(given, typed):
        return
    quiet = given["quiet"] or rank_and_world()[0] > 0
    dataset, resolved = described(given, numbers, quiet)
    if given["dry_run"]:
        emit_json(resolved.to_data())
        return
    if not quiet:
        say(_plan(resolved, dataset))
    trained = watched(
        quiet,
        len(resolved.stages),
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
    stages = len(folder.read("recipe.json").get("stages", ()))
    join_processes()
    quiet = quiet or rank_and_world()[0] > 0
    show(watched(quiet, stages, lambda watchers: continue_run(folder, observers=watchers)), json)


def _resumed(given: Mapping[str, Any], typed: str) -> bool:
    """Go on with the latest run of this same command, if there is one; whether that was all there was to do."""
    root = given["output_dir"]
    same = [f for f in RunFolder.all(root) if f.has("run.json") and f.read("run.json").get("command") == typed]
    if not same:
        if not given["quiet"]:
            say("· no run of this command to go on with: starting one")
        return False
    if same[-1].has("report.json"):
        raise SondeError(f"run {same[-1].name} of this command is finished", "leave --resume out to train another")
    if not given["quiet"]:
        say(f"· going on with run {same[-1].name}")
    resume(str(same[-1].path), root, given["json"], given["quiet"])
    return True


def watched(quiet: bool, stages: int, job: Callable[[Sequence[Method]], Trained]) -> Trained:
    """What a job of training gives, with its progress shown unless `quiet`."""
    keep_freed_memory()
    if quiet:
        return job(())
    from sonde.cli.progress import Progress

    progress = Progress(stages)
    try:
        return job((progress,))
    finally:
        progress.close()


# ---------------------------------------------------------------- options to a recipe
def described(given: Mapping[str, Any], numbers: dict[str, Any], quiet: bool) -> tuple[Any, Recipe]:
    """The data and the recipe that the options describe; what was noticed in the data is said."""
    own_recipe = _recipe(given["recipe"]) if given["recipe"] else None
    dataset = _data(given, own_recipe)
    if not quiet:
        for note in dataset.notes:
            say(f"· {note}")
    return dataset, resolve(given, numbers, own_recipe, dataset)


def resolve(given: Mapping[str, Any], numbers: dict[str, Any], own_recipe: Recipe | None, dataset: Any) -> Recipe:
    """The recipe that the options describe: a file's or the default for the data, and then every option on top."""
    known = decided_by(dataset)
    try:
        net = None if given["net"] is None else parse("nets", given["net"], known)
        methods = [parse("methods", text, known) for text in given["with_"]]
        recipe = _asked(given, {**numbers, "net": net, "methods": methods}, own_recipe, dataset)
        if settings := _settings(given["set_"]):
            recipe = Recipe.from_data(apply_settings(recipe.to_data(), settings))
        return check_whole(recipe)
    except SondeError as error:
        if error.code != 1:
            raise
        raise Misused(error.cause, error.remedy) from None


def _asked(given: Mapping[str, Any], wanted: dict[str, Any], own_recipe: Recipe | None, dataset: Any) -> Recipe:
    asked = {k: given[k] for k in ("device", "precision", "parallel") if given[k] is not None}
    asked |= {"compile": True} if given["compile_"] else {}
    stream = stream_of(dataset, None if given["stream"] is None else parse("data.streams", given["stream"]))
    if own_recipe is None:
        wanted = {k: v for k, v in wanted.items() if v is not None}
        default = for_data(dataset, Wishes(**wanted, engine=Engine(**asked)), rebuild(dataset))
        return default if stream is None else for_stream(default, stream, dataset, wanted["methods"])
    if stream is not None and len(own_recipe.stages) == 1:
        own_recipe = for_stream(own_recipe, stream, dataset, own_recipe.methods)
    elif given["stream"] is not None:
        raise Misused("the recipe has stages of its own", "leave --stream out, or give a recipe of one stage")
    data: Build[Any] | None = None
    if given["data"] or data_options(given):
        data = rebuild(dataset)
        own_recipe = resized(own_recipe, decided_by(dataset)).changed(name=dataset.name)
    engine = None
    if asked:
        own = own_recipe.engine
        kept = {"device": own.device, "precision": own.precision, "compile": own.compile, "parallel": own.parallel}
        engine = Engine(**{**kept, **asked})
    return over(own_recipe, data=data, engine=engine, **wanted)


def numbers_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are numbers, by the names of the package."""
    numbers = {name: given[name] for name in NUMBERS}
    numbers["seconds"] = None if given["time"] is None else seconds(given["time"])
    try:
        check_numbers(**numbers)
    except SondeError as error:
        raise Misused(f"--{error.cause.replace('_', '-')}", error.remedy) from None
    return numbers


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    settings = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            raise Misused(f"--set {text!r} has no value", "write PATH=VALUE, e.g. methods.ema.decay=0.99")
        settings[path.strip()] = read_value(value)
    return settings


def _recipe(name: str) -> Recipe:
    path = Path(name).expanduser()
    if path.exists() or path.suffix or "/" in name:
        return recipe_from_file(path)
    from sonde.names import find

    made: Recipe = find("recipes", name).make()
    return made


def _data(given: Mapping[str, Any], recipe: Recipe | None) -> Any:
    options = data_options(given)
    if given["data"]:
        sets = [opened(one, **options) for one in given["data"]]
        return sets[0] if len(sets) == 1 else sonde.data.several(sets)
    if recipe is None:
        raise Misused("there is nothing to train on", "give a folder, a file or a name: sonde train digits")
    if recipe.data is None:
        raise Misused("the recipe does not say where its data is", "give the data too: sonde train DATA --recipe FILE")
    build = _offline(recipe.data)
    try:
        return build.with_arguments(**options)()
    except TypeError as error:
        raise Misused(f"the recipe's data cannot be read so: {error}", "leave that option out") from None


def _offline(build: Build[Any]) -> Build[Any]:
    """A recipe from elsewhere does not decide whether this machine asks the network for anything."""
    kept = {k: v for k, v in build.arguments.items() if k != "download"}
    return Build(build.make, **{k: [_offline(b) for b in v] if k == "datasets" else v for k, v in kept.items()})


def data_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say how to read the data, as `sonde.data.open` takes them."""
    options: dict[str, Any] = {}
    for name in ("task", "encoding", "size", "test", "val", "seed"):
        if given.get(name) is not None:
            options[name] = given[name]
    if given["target"]:
        targets = [t.strip() for t in given["target"].split(",")]
        options["target"] = targets[0] if len(targets) == 1 else targets
    if given["sensitive"]:
        options["sensitive"] = [s.strip() for s in given["sensitive"].split(",")]
    if given["kind"]:
        pairs = [k.partition("=") for k in given["kind"]]
        if bad := [name for name, equals, _ in pairs if not equals]:
            raise Misused(f"--kind {bad[0]!r} has no kind", "write COLUMN=KIND, e.g. zip=categorical")
        options["kinds"] = {name.strip(): kind.strip() for name, _, kind in pairs}
    allowed = [n for n in inspect.signature(sonde.data.open).parameters if n not in ("data", *READ_BY_NAME)]
    for text in given["read"]:
        name, equals, value = text.partition("=")
        if not equals or name not in allowed:
            raise Misused(
                f"--read {text!r} is not OPTION=VALUE of what can be chosen",
                did_you_mean(name, allowed) or f"the options are {', '.join(allowed)}",
            )
        options[name] = read_value(value) if name in ("limit", "header", "missing") else value
    if given["on_bad"] not in ("fail", "skip"):
        raise Misused(f"--on-bad {given['on_bad']!r} is not known", "choose fail or skip")
    if given["on_bad"] != "fail":
        options["on_bad"] = given["on_bad"]
    if given["download"]:
        options["download"] = True
    return options


def seconds(text: str, option: str = "--time") -> float:
    """`90`, `90s`, `10m`, `2h` in seconds. option: which says it.

    >>> seconds("10m"), seconds("1.5h")
    (600.0, 5400.0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*", text)
    if not found or float(found[1]) == 0:
        raise Misused(f"{option} {text!r} is not a time", "write e.g. 90s, 10m or 2h")
    return float(found[1]) * TIME_UNITS[found[2] or ""]


# ---------------------------------------------------------------- what a person reads
def _plan(recipe: Recipe, dataset: Any) -> str:
    from sonde.results import describe_build

    sizes = ", ".join(f"{len(v):,} {k}" for k, v in dataset.splits.items())
    net = recipe.objective.arguments.get("net")
    lines = [f"{sizes} rows", f"net {describe_build(net)}"]
    lines.append(f"methods {', '.join(describe_build(m) for m in recipe.methods)}")
    lines.extend(_stages(recipe, dataset))
    return "\n".join(f"· {line}" for line in lines)


def _stages(recipe: Recipe, dataset: Any) -> list[str]:
    """How long, and for a stream of what."""
    if len(recipe.stages) == 1 or len({stage.budget for stage in recipe.stages}) > 1:
        return [f"for {_limits(stage.budget)}" for stage in recipe.stages]
    streams = [b.arguments["stream"] for b in recipe.methods if b.make is Retention]
    names = [e.name for e in streams[0](data=dataset)] if streams else []
    of = f" of {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}," if names else ","
    return [f"{len(recipe.stages)} stages{of} each for {_limits(recipe.stages[0].budget)}"]


def _limits(budget: Any) -> str:
    found = []
    for name in ("epochs", "steps", "seconds"):
        if (value := getattr(budget, name)) is not None:
            found.append(f"{value:,g} {name if value != 1 else name[:-1]}")
    return " or ".join(found) + (", whichever is first" if len(found) > 1 else "")


def show(trained: Trained, json: bool) -> None:
    """Print what was measured, and where everything is."""
    from sonde.promises import in_a_line, numbers

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
                "baselines": [
                    {"name": b.name, "verdict": b.verdict, "measures": [_as_data(m) for m in b.scores]}
                    for b in facts.baselines
                ],
                "retained": None if facts.retained is None else to_plain(facts.retained),
                "privacy": None if facts.privacy is None else numbers(facts.privacy),
                "notes": list(facts.notes),
                "report": str(folder.report),
                "model": str(folder.model),
            }
        )
        return
    shown = [m for m in facts.measures if m.split == "test"]
    print(facts.verdict)
    print()
    rows = [
        [m.label or m.name, measured(m.value, None, m.percent), interval(m.interval, m.percent), f"{m.n:,}"]
        for m in shown
    ]
    table(["test", facts.model.name, "95 % interval", "rows"], rows, numeric=(1, 2, 3))
    if facts.retained is not None:
        print()
        _show_retained(facts.retained)
    if facts.baselines:
        print()
        theirs = {s.name for b in facts.baselines for s in b.scores}
        first = next((m for m in shown if m.name in theirs), shown[0])
        rows = []
        for b in facts.baselines:
            score = next((s for s in b.scores if s.name == first.name), None)
            rows.append([b.name, "—" if score is None else measured(score.value, None, score.percent), b.verdict])
        table(["beside it", first.label or first.name, ""], rows, numeric=(1,))
    print()
    print(f"trained in {duration(facts.seconds)}, {facts.step:,} steps, {facts.outcome}")
    if facts.privacy is not None:
        print(f"privacy {in_a_line(facts.privacy)}")
    print(f"report  {folder.report}")
    print(f"model   {folder.model}")
    where = folder.name if folder.path.parent == Path("runs") else folder.path
    print(f"use it  sonde predict {where} INPUT")


def _show_retained(retained: Retained) -> None:
    """A line an experience: what was learned of it, and what is left."""
    parts = [experience(retained, t) for t in range(len(retained.names))]
    rows = [[e["name"], e["learned"], e["best"], e["end"], e["lost"]] for e in parts[:MOST_EXPERIENCES]]
    rows = [[cell.replace("\u202f", " ") for cell in row] for row in rows]
    table(["experience", "just learned", "at its best", "at the end", "forgotten"], rows, numeric=(1, 2, 3, 4))
    if len(parts) > MOST_EXPERIENCES:
        print(f"and {len(parts) - MOST_EXPERIENCES} more, in the report")


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
