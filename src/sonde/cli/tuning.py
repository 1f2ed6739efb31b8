"""`sonde tune`: a learning-rate range test, or a search, and the command to go on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonde.cli import training
from sonde.cli.process import keep_freed_memory
from sonde.cli.text import duration, emit_json, interval, measured, say, table
from sonde.cli.words import Misused, spoken
from sonde.core import Recipe, SondeError, rank_and_world
from sonde.results import SHARES
from sonde.runs import RunFolder
from sonde.training import DATA_FILE
from sonde.tuning.ramp import RULES, RangeTest, range_test
from sonde.tuning.space import Space, read_space, shown

if TYPE_CHECKING:
    from sonde.tuning.search import Tuned
    from sonde.tuning.trials import Trial

ABSENT = {"lr": None, "patience": None, "time": None, "stream": None, "parallel": None, "compile_": False}
"""Options of training that are not this command's; its own --lr and --time mean something else."""
OF_SEARCH = ("trials", "time", "search", "metric", "pruner", "resume", "train_best")
OF_RANGE = ("low", "high", "seeds")
DESCRIBING = (
    *("target", "sensitive", "task", "encoding", "size", "test", "val", "net", "recipe", "batch_size"),
    *("weight_decay", "seed", "device", "precision", "microbatch", "epochs", "name"),
)
"""Options of one value that mean for training what they mean here."""
MOST_SHOWN = 8  # trials that a terminal lists


def command(given: Mapping[str, Any]) -> None:
    """Run `sonde tune`."""
    alien = [n for n in (OF_SEARCH if given["lr"] else OF_RANGE) if given[n] not in (None, [], False)]
    if alien:
        name = {"low": "from", "high": "to"}.get(alien[0], alien[0]).replace("_", "-")
        raise Misused(
            f"--{name} is an option of {'a search' if given['lr'] else 'the range test'}",
            "leave --lr out to search" if given["lr"] else "add --lr for a range test of the learning rate",
        )
    if rank_and_world()[1] > 1:
        raise SondeError("tuning runs in one process", "start it without torchrun")
    for_training = {**given, **ABSENT, "steps": None if given["lr"] else given["steps"]}
    seconds = None if given["time"] is None else training.seconds(given["time"])
    numbers = training.numbers_of(for_training)
    space = _space(given["search"])
    dataset, recipe = training.described(for_training, numbers, given["quiet"])
    keep_freed_memory()
    if given["lr"]:
        _range(given, recipe, dataset)
    else:
        _search(given, recipe, dataset, space, seconds)


# ---------------------------------------------------------------- the range test
def _range(given: Mapping[str, Any], recipe: Recipe, dataset: Any) -> None:
    from sonde.tuning.figures import range_figure

    options = {"low": given["low"], "high": given["high"], "steps": given["steps"], "seeds": given["seeds"]}
    test = range_test(
        recipe,
        dataset,
        despite_privacy=given["despite_privacy"],
        tell=(lambda text: None) if given["quiet"] else (lambda text: say(f"· {text}")),
        **{k: v for k, v in options.items() if v is not None},
    )
    folder = RunFolder.create(given["output_dir"], f"{_name(given, recipe)}-lr")
    figure = range_figure(test, f"Learning rates for {dataset.name}, {test.rule}")
    folder.write("lr.svg", figure)
    rate = test.suggestion
    again = None if rate is None else _train_command(given, test.settings(rate), test.rule)
    found = _range_data(test) | {"train": again, "figure": str(folder.path / "lr.svg")}
    folder.write("lr.json", found)
    if given["json"]:
        emit_json(found)
        return
    _show_range(test, again, folder.path / "lr.svg")


def _range_data(test: RangeTest) -> dict[str, Any]:
    return {
        "rule": test.rule,
        "own": test.rate,
        "anneals": test.anneals,
        "chosen": test.chosen,
        "suggestion": test.suggestion,
        "suggestions": {k: {"rate": m, "lowest": a, "highest": b} for k, (m, a, b) in test.suggestions.items()},
        "settings": None if test.suggestion is None else test.settings(test.suggestion),
        "still_falling": test.still_falling,
        "seconds": round(test.seconds, 2),
        "curves": [
            {
                "seed": c.seed,
                "ended": c.ended,
                "first": c.first,
                "noise": c.noise if c.noise < float("inf") else None,
                "rates": list(c.rates),
                "losses": [v if abs(v) < float("inf") else None for v in c.losses],
                "smoothed": list(c.smoothed),
            }
            for c in test.curves
        ],
    }


def _show_range(test: RangeTest, again: str | None, figure: Path) -> None:
    found = test.suggestions
    if test.suggestion is None:
        print("The loss did not clearly fall at any rate, so none is suggested.")
        print()
        print("see     whether the data can be learned at all, or give more steps: --steps 600")
        print(f"figure  {figure}")
        return
    print(f"Try {test.suggestion:g}; the recipe's own rate is {test.rate:g}.")
    print()
    rows = []
    for name, (rate, low, high) in found.items():
        mark = " *" if name == test.chosen else ""
        rows.append([name + mark, f"{rate:g}", f"{low:.2g} to {high:.2g}" if high > low else "", RULES[name]])
    few = len(test.curves)
    table(["by rule", "rate", f"over {few} seeds" if few > 1 else "", "what it is"], rows, numeric=(1, 2))
    print()
    if test.still_falling:
        print("the loss was still falling at the highest rate: there may be better ones beyond; raise --to")
    why = "its schedule lets the rate fall from its peak" if test.anneals else "its rate stays as it is"
    print(f"* fits this recipe: {why}")
    print(f"tested in {duration(test.seconds)}: a figure of a few steps; a whole training may prefer another rate")
    print(f"figure  {figure}")
    print(f"go on   {again}")


# ---------------------------------------------------------------- the search
def _search(given: Mapping[str, Any], recipe: Recipe, dataset: Any, space: Space | None, seconds: float | None) -> None:
    from sonde.tuning.figures import search_figure
    from sonde.tuning.search import search

    if given["trials"] is None and seconds is not None:
        trials = 1_000_000  # as many as the time allows
    else:
        trials = 20 if given["trials"] is None else given["trials"]
    tuned = search(
        recipe,
        dataset,
        space=space,
        trials=trials,
        seconds=seconds,
        metric=given["metric"],
        pruner=given["pruner"] or "median",
        output_dir=given["output_dir"],
        name=given["name"],
        resume=given["resume"],
        despite_privacy=given["despite_privacy"],
        tell=(lambda text: None) if given["quiet"] else (lambda text: say(f"· {text}")),
    )
    figure = tuned.folder.path / "search.svg"
    tuned.folder.write("search.svg", search_figure(tuned, f"Search on {dataset.name}: {len(tuned.trials)} trials"))
    best = tuned.folder.path / "best.json"
    again = spoken(["train", "--recipe", str(best)])
    found = _search_data(tuned) | {"train": again, "recipe": str(best), "figure": str(figure)}
    tuned.folder.write("result.json", found)
    if not given["train_best"]:
        emit_json(found) if given["json"] else _show_search(tuned, again, figure)
        return
    if not given["json"]:
        _show_search(tuned, None, figure)
        print()
    trained = training.watched(
        given["quiet"],
        len(tuned.recipe.stages),
        lambda watchers: training.train_run(
            dataset,
            recipe=tuned.recipe,
            output_dir=given["output_dir"],
            name=f"{_name(given, recipe)}-best",
            observers=watchers,
            command=again,
        ),
    )
    training.show(trained, given["json"])


def _search_data(tuned: Tuned) -> dict[str, Any]:
    honest = tuned.honest
    return {
        "search": str(tuned.folder.path),
        "ended": tuned.why,
        "metric": tuned.metric,
        "better": "lower" if tuned.lower_is_better else "higher",
        "best": _trial_data(tuned.best),
        "as_it_was": _trial_data(tuned.trials[0]),
        "honest": None
        if honest is None
        else {
            "value": honest.value,
            "interval": honest.interval,
            "gain": honest.gain,
            "gain_interval": honest.gain_interval,
            "tries": honest.tries,
            "rows": honest.rows,
        },
        "importance": dict(tuned.importance),
        "space": {path: str(d) for path, d in tuned.space.items()},
        "trials": [_trial_data(t) for t in tuned.trials],
        "seconds": round(tuned.seconds, 2),
    }


def _trial_data(trial: Trial) -> dict[str, Any]:
    kept = ("number", "state", "values", "value", "scores", "steps", "seconds", "reason")
    return {name: getattr(trial, name) for name in kept}


def _show_search(tuned: Tuned, again: str | None, figure: Path) -> None:
    best, first, percent = tuned.best, tuned.trials[0], tuned.metric.partition("/")[0] in SHARES
    score = measured(best.value or 0.0, None, percent)
    if best.number == 0:
        print(f"Nothing was better than the recipe as it was: validation {tuned.metric} {score}.")
    else:
        before = "" if first.value is None else f", from {measured(first.value, None, percent)} as it was"
        print(f"The best of {len(tuned.trials)} trials: validation {tuned.metric} {score}{before}.")
    print()
    _show_trials(tuned, percent)
    print()
    _show_honest(tuned, percent)
    if tuned.importance:
        shares = ", ".join(f"{p.removeprefix('objective.')} {100 * v:.0f} %" for p, v in tuned.importance.items())
        print(f"what made the difference: {shares} (of {len(tuned.ranked)} finished trials: a hint)")
    counts = {s: sum(t.state == s for t in tuned.trials) for s in ("complete", "pruned", "failed")}
    said = [f"{counts['complete']} finished", f"{counts['pruned']} given up", f"{counts['failed']} failed"]
    said = [s for s in said if not s.startswith("0 ")]
    print(f"searched in {duration(tuned.seconds)}: {', '.join(said)}; {tuned.why}")
    print(f"figure  {figure}")
    if again is not None:
        print(f"go on   {again}")


def _show_trials(tuned: Tuned, percent: bool) -> None:
    paths = list(tuned.space)
    shown_trials = tuned.ranked[:MOST_SHOWN]
    if tuned.trials[0].value is not None and tuned.trials[0] not in shown_trials:
        shown_trials.append(tuned.trials[0])
    # A loss tells most and a share is what people know: both are shown where both were measured.
    also = [n for n in tuned.best.scores if n in SHARES and n != tuned.metric][:1]
    rows = []
    for t in shown_trials:
        name = "as it was" if t.number == 0 else str(t.number + 1)
        known = [measured(t.value or 0.0, None, percent), *(measured(t.scores[n], None, True) for n in also)]
        rows.append([name, *known, *(shown(t.values.get(p, "")) for p in paths)])
    heads = [p.removeprefix("objective.").removeprefix("methods.") for p in paths]
    heads = [tuned.metric, *also, *heads]
    table(["trial", *heads], rows, numeric=tuple(range(1, len(heads) + 1)))
    if len(tuned.ranked) > len(shown_trials):
        print(f"and {len(tuned.ranked) - len(shown_trials)} more, in {tuned.folder.path / 'trials.jsonl'}")


def _show_honest(tuned: Tuned, percent: bool) -> None:
    honest = tuned.honest
    if honest is None:
        print("too few trials or validation rows to say what the best is worth on other rows")
        return
    value = measured(honest.value, honest.interval, percent)
    print(
        f"on rows that did not choose it, about {value}: "
        f"the score above is the best of {honest.tries} on {honest.rows:,} rows"
    )
    low, high = honest.gain_interval
    told = "better" if low > 0 else "worse" if high < 0 else "too close to call"
    gain = f"{100 * honest.gain:.2f} points" if percent else f"{honest.gain:.3g}"
    print(f"gain over the recipe as it was, on such rows: {gain} ({interval(honest.gain_interval, percent)}): {told}")


# ---------------------------------------------------------------- words
def _space(texts: Sequence[str]) -> Space | None:
    space: dict[str, str] = {}
    for text in texts:
        path, equals, values = text.partition("=")
        if not equals:
            raise Misused(f"--search {text!r} has no values", "write PATH=VALUES, e.g. 'lr=1e-4..1e-1 log'")
        space[path.strip()] = values.strip()
    return read_space(space) or None


def _train_command(given: Mapping[str, Any], settings: Mapping[str, float], rule: str) -> str:
    """The command that trains as this one tested, at another rate."""
    return spoken(["train", *_described(given), *_rates(settings, rule)])


def _rates(settings: Mapping[str, float], rule: str) -> list[str]:
    others = [f"methods.{rule}.{name}={value:g}" for name, value in settings.items() if name != "lr"]
    return ["--lr", f"{settings['lr']:g}", *(word for text in others for word in ("--set", text))]


def _name(given: Mapping[str, Any], recipe: Recipe) -> str:
    return str(given["name"] or DATA_FILE.sub("", recipe.name))


def _described(given: Mapping[str, Any]) -> list[str]:
    """The words that describe data and recipe, as `sonde train` takes them."""
    words = [str(d) for d in given["data"]]
    for name in DESCRIBING:
        if given[name] not in (None, ""):
            value = given[name]
            words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    if given["on_bad"] != "fail":
        words += ["--on-bad", given["on_bad"]]
    for name in ("kind", "read", "with_", "set_"):
        for value in given[name]:
            words += [f"--{name.rstrip('_')}", value]
    return [*words, "--download"] if given["download"] else words
