"""A search for better settings of a recipe: many short-lived trainings, judged on the validation rows alone.

The first trial is the recipe as it is, so the best can be no worse on the rows that choose. Each trial trains with the
recipe's own seed: trained again, the best recipe gives the same model, to the bit. The test rows are not touched.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonde.core import Build, Event, Measured, Method, Recipe, Run, SondeError, Stepped, rank_and_world
from sonde.core.backprop import NonFinite
from sonde.core.engine import rng_state, set_rng_state
from sonde.methods import EarlyStopping, Validate
from sonde.methods.observe.validate import row_scores
from sonde.methods.regularise.early_stopping import LOWER_IS_BETTER
from sonde.runs import RunFolder
from sonde.training import DATA_FILE, Interrupted, Watchers, interruptible
from sonde.tuning import Misasked
from sonde.tuning.asking import Adviser, Pruner, check_installed
from sonde.tuning.optimism import Corrected, corrected
from sonde.tuning.privacy import check_public
from sonde.tuning.space import Space, applied, check_space, default_space, own_values, read_space
from sonde.tuning.trials import State, Trial, TrialsFile, opened_folder, rows_of

if TYPE_CHECKING:
    from sonde.data import Dataset

TOLD_EVERY = 10.0  # seconds between signs of life within a trial
PRUNED, TIME = "pruned", "time"


@dataclass(frozen=True)
class Tuned:
    """A search, as far as it came.

    folder: with search.json, trials.jsonl and best.json. recipe: the best. metric: what was to be improved on the
    validation rows. why: how the search ended.
    """

    folder: RunFolder
    recipe: Recipe
    metric: str
    lower_is_better: bool
    space: Space
    trials: tuple[Trial, ...]
    importance: Mapping[str, float]
    seconds: float
    why: str

    @property
    def ranked(self) -> list[Trial]:
        """The complete trials, the best first; of equal ones the earlier."""
        sign = 1.0 if self.lower_is_better else -1.0
        known = [t for t in self.trials if t.value is not None]
        return sorted(known, key=lambda t: (sign * (t.value or 0.0), t.number))

    @property
    def best(self) -> Trial:
        """The best trial."""
        return self.ranked[0]

    @cached_property
    def honest(self) -> Corrected | None:
        """What the best is worth on rows that did not choose it; None where too little is known to say."""
        return corrected(rows_of(list(self.trials)), self.lower_is_better)


def search(
    recipe: Recipe,
    data: Dataset,
    *,
    space: Mapping[str, Any] | None = None,
    trials: int = 20,
    seconds: float | None = None,
    metric: str | None = None,
    pruner: Pruner = "median",
    output_dir: str | Path = "runs",
    name: str | None = None,
    resume: bool = False,
    despite_privacy: bool = False,
    own: Collection[Callable[..., Any]] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> Tuned:
    """Try up to `trials` variants of a recipe, and keep the best in a folder.

    space: values by path (see `sonde.tuning.space`); what usually matters unless given. seconds: of the whole search;
    a trial that is under way then does not count. metric: of the validation rows; what early stopping watches, or the
    loss, unless given. pruner: gives up trials that fall behind. resume: go on with the folder's unfinished search.
    tell: a line of progress.

    Raises SondeError for a space, metric or recipe that cannot be searched, Interrupted after Ctrl-C with all
    finished trials saved, and Refused where the recipe is private.
    """
    check_installed()
    if rank_and_world()[1] > 1:
        raise SondeError("a search runs in one process", "start it without torchrun")
    if trials < 1:
        raise Misasked(f"{trials} trials find nothing", "give 1 or more; 20 is usual")
    check_public(recipe, despite_privacy, "a search")
    recipe, split = _measuring(recipe, data)
    metric = metric or _watched(recipe)
    chosen = read_space(space) if space is not None else default_space(recipe, len(data.splits["train"]))
    if metric == "loss" and (changing := [p for p in chosen if p.startswith("objective.") and ".net." not in p]):
        raise Misasked(f"{changing[0]} changes what the loss is, so losses do not compare", "give another --metric")
    before = rng_state()
    try:
        check_space(recipe, chosen, data, own)
    finally:
        set_rng_state(before)
    about = {
        "recipe": recipe.to_data(),
        "space": {p: str(d) if not hasattr(d, "labels") else list(d.labels) for p, d in chosen.items()},
        "metric": metric,
        "split": split,
        "pruner": pruner,
        "fingerprint": data.fingerprint,
    }
    folder = opened_folder(Path(output_dir), f"{name or DATA_FILE.sub('', recipe.name)}-tune", about, resume)
    lower = metric.partition("/")[0] in LOWER_IS_BETTER
    adviser = Adviser(chosen, lower, recipe.seed, pruner, _measurements(recipe, data), trials)
    job = _Search(recipe, data, chosen, metric, split, lower, adviser, folder, own, tell)
    try:
        with folder.held():
            return job.go(trials, seconds)
    finally:
        set_rng_state(before)


class _Search:
    """The loop over trials."""

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        space: Space,
        metric: str,
        split: str,
        lower: bool,
        adviser: Adviser,
        folder: RunFolder,
        own: Collection[Callable[..., Any]],
        tell: Callable[[str], None],
    ) -> None:
        self.recipe, self.data, self.space, self.metric, self.split = recipe, data, space, metric, split
        self.lower, self.adviser, self.folder, self.own, self.tell = lower, adviser, folder, own, tell
        self.file = TrialsFile(folder.path / "trials.jsonl")
        self.trials = self.file.read()

    def go(self, most: int, seconds: float | None) -> Tuned:
        """Try until there are `most` trials, or the time is up."""
        if self.trials:
            self.tell(f"going on with {self.folder.path} after {len(self.trials)} trials")
        began, why = time.monotonic(), "all trials done"
        until = math.inf if seconds is None else began + seconds
        try:
            while len(self.trials) < most:
                trial = self._try(until)
                if trial is None:
                    why = "out of time"
                    break
                self.file.append(trial)
                self.trials.append(trial)
                self.tell(self._told(trial, most))
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped; {len(self.trials)} finished trials are saved in {self.folder.path}",
                "go on with the same command and --resume",
            ) from None
        return self._tuned(time.monotonic() - began, why)

    def _tuned(self, seconds: float, why: str) -> Tuned:
        found = Tuned(
            folder=self.folder,
            recipe=self.recipe,
            metric=self.metric,
            lower_is_better=self.lower,
            space=self.space,
            trials=tuple(self.trials),
            importance=self.adviser.importance(self.trials),
            seconds=seconds,
            why=why,
        )
        if not found.ranked:
            reasons = [t.reason for t in self.trials if t.reason]
            raise SondeError(
                f"no trial was finished: {reasons[0] if reasons else why}",
                "give more --time, or fewer --epochs for each trial"
                if not reasons
                else "change the recipe or the space",
            )
        values = found.best.values if found.best.number else {}
        best = applied(self.recipe, values, self.own) if values else self.recipe
        self.folder.write("best.json", best.to_data())
        return replace(found, recipe=best)

    def _try(self, until: float) -> Trial | None:
        """One trial; None where the time was up before its end."""
        number = len(self.trials)
        if time.monotonic() >= until:
            return None
        values = self.adviser.ask(self.trials) if number else own_values(self.recipe, self.space)
        if same := next((t for t in self.trials if t.values == values), None):  # the same seed gives the same bits
            return replace(
                same, number=number, seconds=0.0, reason=same.reason or f"the same as trial {same.number + 1}"
            )
        judge = _Judge(self, until)
        began = time.monotonic()
        try:
            recipe = applied(self.recipe, values, self.own) if number else self.recipe
            run = recipe.start(self.data, extra=(Watchers([judge]),))
            with interruptible(run) as asked:
                recipe.train(run, self.data)
        except (SondeError, TypeError, ValueError) as error:
            if number == 0:  # the recipe as it is cannot be trained
                raise
            state: State = "pruned" if isinstance(error, NonFinite) else "failed"
            reason = "the loss was not finite" if isinstance(error, NonFinite) else str(getattr(error, "cause", error))
            taken = time.monotonic() - began
            return Trial(number=number, state=state, values=values, measured=judge.seen, seconds=taken, reason=reason)
        if asked:
            raise KeyboardInterrupt
        if judge.ended == TIME:
            return None
        trial = Trial(
            number=number,
            state="pruned",
            values=values,
            measured=judge.seen,
            steps=run.step,
            seconds=time.monotonic() - began,
            reason="fell behind",
        )
        return trial if judge.ended == PRUNED else self._complete(trial, run)

    def _complete(self, trial: Trial, run: Run) -> Trial:
        """The trial with what its shipped weights score on each validation row."""
        import torch

        found: dict[str, list[Any]] = {}
        with run.evaluating() as objective:
            turn = next(iter(objective.players()))
            for index in self.data.splits[self.split].split(1024):
                for name, rows in row_scores(objective, turn, self.data.batch(index).to(run.device)).items():
                    found.setdefault(name, []).append(rows.double().cpu())
        scores = {name: torch.cat(parts) for name, parts in found.items()}
        if self.metric not in scores:
            raise _unknown(self.metric, scores)
        mine = scores[self.metric]
        if not math.isfinite(float(mine.mean())):
            return replace(trial, reason="the loss was not finite")
        return replace(
            trial,
            state="complete",
            value=float(mine.mean()),
            scores={k: float(v.mean()) for k, v in scores.items()},
            rows=tuple(mine.tolist()),
            reason="",
        )

    def _told(self, trial: Trial, most: int) -> str:
        from sonde.tuning.space import shown

        values = ", ".join(f"{p.rpartition('.')[2]} {shown(v)}" for p, v in trial.values.items())
        what = f"{self.metric} {trial.value:.4g}" if trial.value is not None else f"{trial.state}: {trial.reason}"
        known = [t for t in self.trials if t.value is not None]
        best = min(known, key=lambda t: (t.value or 0.0) * (1 if self.lower else -1)) if known else None
        leads = (
            ""
            if best is None or trial.value is None
            else "the best so far"
            if best is trial
            else f"best {best.value:.4g}"
        )
        first = "as it is" if trial.number == 0 else values
        parts = (f"trial {trial.number + 1}/{most}", first, what, leads, f"{trial.seconds:.1f} s")
        return " · ".join(filter(None, parts))


class _Judge(Method):
    """Watches a trial's validation, and ends it where it falls behind or the time is up."""

    def __init__(self, search: _Search, until: float) -> None:
        self.search, self.until = search, until
        self.measured: list[float] = []
        self.ended = ""
        self._told_at = time.monotonic()

    @property
    def seen(self) -> tuple[float, ...]:
        """The metric at each validation."""
        return tuple(self.measured)

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Stepped):
            now = time.monotonic()
            if now >= self.until:
                self._end(run, TIME)
            elif now - self._told_at > TOLD_EVERY:
                self._told_at = now
                self.search.tell(f"  trial {len(self.search.trials) + 1}: step {run.done:,} of {run.total:,}")
        elif isinstance(event, Measured) and event.split == self.search.split:
            self._weigh(run, event.values)

    def _weigh(self, run: Run, values: Mapping[str, float]) -> None:
        if self.search.metric not in values:
            raise _unknown(self.search.metric, values)
        self.measured.append(values[self.search.metric])
        whole = run.limit is not None and run.done >= run.limit
        if not whole and len(self.search.trials) and self.search.adviser.hopeless(self.search.trials, self.measured):
            self._end(run, PRUNED)

    def _end(self, run: Run, why: str) -> None:
        """Leave the stage open: nothing that concludes it is done, and no further stage begins."""
        if run.stop is None:
            self.ended, run.stop = why, "interrupted"


# ---------------------------------------------------------------- the recipe
def _measuring(recipe: Recipe, data: Dataset) -> tuple[Recipe, str]:
    """The recipe with validation, and the split that it measures."""
    build = next((b for b in recipe.methods if b.make is Validate), None)
    if build is None:
        if not len(data.splits["val"]):
            raise SondeError(
                "a search needs validation rows, and there are none", "keep a share of the rows with --val"
            )
        at = next((i for i, b in enumerate(recipe.methods) if b.make is EarlyStopping), len(recipe.methods))
        methods = [*recipe.methods]
        methods.insert(at, Build(Validate))
        return recipe.changed(methods=tuple(methods)), "val"
    split = str(build.arguments.get("split", "val"))
    if split == "test":
        raise SondeError(
            "the recipe validates on the test rows, which would choose the settings that they are to judge",
            "validate on val: --set methods.validate.split=val",
        )
    return recipe, split


def _watched(recipe: Recipe) -> str:
    """The metric by which the recipe itself chooses weights, or the loss."""
    build = next((b for b in recipe.methods if b.make is EarlyStopping), None)
    return "loss" if build is None else str(build.arguments.get("metric", "loss"))


def _measurements(recipe: Recipe, data: Dataset) -> int:
    """How many validations a whole trial has, about."""
    build = next(b for b in recipe.methods if b.make is Validate)
    every = int(build.arguments.get("every_epochs", inspect.signature(Validate).parameters["every_epochs"].default))
    found = 0
    for stage in recipe.stages:
        per_epoch = stage.source(data=data).steps_per_epoch
        steps = stage.budget.steps_of(per_epoch) if per_epoch or stage.budget.epochs is None else None
        found += max(1, steps // (per_epoch * every)) if steps and per_epoch else 1
    return found


def _unknown(metric: str, known: Sequence[str] | Mapping[str, Any]) -> SondeError:
    return Misasked(f"validation does not measure {metric!r}", f"choose --metric from {', '.join(known)}")
