"""What to try next, and what to give up: Optuna's samplers and pruners, as functions of the trials so far.

Bergstra, Bardenet, Bengio and Kégl, Algorithms for hyper-parameter optimization, 2011 (the tree-structured Parzen
estimator); Golovin and others, Google Vizier, 2017 (the median rule); Li and others, Hyperband, 2018.

The study is made anew for each question, in memory, and its sampler is seeded by the number of the trial. Nothing but
the trials themselves has to be kept, and Optuna's own storages, which lock files or need a data base, are not used.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, get_args

from sonde.core import SondeError
from sonde.tuning import Misasked
from sonde.tuning.space import Among, Between, Space
from sonde.tuning.trials import Trial

if TYPE_CHECKING:
    import optuna

Pruner = Literal["median", "hyperband", "none"]
STARTUP = 5  # trials at random before the sampler learns, and complete ones before the median means something


class Adviser:
    """Chooses values, judges intermediate measurements, and weighs which settings mattered.

    lower: whether lower is better. longest: how many measurements a whole trial has. trials: how many are planned.
    """

    def __init__(self, space: Space, lower: bool, seed: int, pruner: Pruner, longest: int, trials: int) -> None:
        if pruner not in get_args(Pruner):
            raise Misasked(f"pruner {pruner!r} is not known", f"choose one of {', '.join(get_args(Pruner))}")
        self.space, self.lower, self.seed, self.pruner, self.longest = space, lower, seed, pruner, longest
        self.startup = max(STARTUP, min(10, trials // 4))
        with _quiet():
            self._distributions = {path: _distribution(d) for path, d in space.items()}

    def ask(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """The values of the next trial."""
        with _quiet():
            params = self._study(trials).ask(self._distributions).params
        return {path: _value(self.space[path], v) for path, v in params.items()}

    def hopeless(self, trials: Sequence[Trial], measured: Sequence[float]) -> bool:
        """Whether the trial after `trials`, with these measurements, should be given up."""
        if self.pruner == "none":
            return False
        with _quiet():
            trial = self._study(trials).ask(self._distributions)
            for step, value in enumerate(measured, 1):
                if not math.isnan(value):
                    trial.report(value, step)
            return math.isnan(measured[-1]) or trial.should_prune()

    def importance(self, trials: Sequence[Trial]) -> dict[str, float]:
        """The share of the metric's variance that each setting explains by itself and with others (fANOVA).

        Hutter, Hoos and Leyton-Brown, 2014. Empty where there are fewer than eight complete trials, or all alike.
        """
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        known = [t for t in trials if t.state == "complete" and self._known(t)]
        if len(known) < 8 or len(self.space) < 2 or len({t.value for t in known}) < 2:
            return {}
        with _quiet():
            found = get_param_importances(self._study(known), evaluator=FanovaImportanceEvaluator(seed=self.seed))
        return {path: float(share) for path, share in found.items()}

    def _known(self, trial: Trial) -> bool:
        return set(trial.values) == set(self.space) and all(self.space[p].holds(v) for p, v in trial.values.items())

    def _study(self, trials: Sequence[Trial]) -> optuna.Study:
        import optuna

        sampler = optuna.samplers.TPESampler(
            seed=(self.seed * 1_000_003 + len(trials)) % 2**32, n_startup_trials=self.startup, multivariate=True
        )
        pruners: dict[str, Any] = {
            "median": lambda: optuna.pruners.MedianPruner(STARTUP, n_warmup_steps=max(1, self.longest // 5)),
            "hyperband": lambda: optuna.pruners.HyperbandPruner(1, max(3, self.longest), 3),
            "none": optuna.pruners.NopPruner,
        }
        study = optuna.create_study(
            sampler=sampler,
            pruner=pruners[self.pruner](),
            study_name="search",  # from which Hyperband draws its brackets
            direction="minimize" if self.lower else "maximize",
        )
        study.add_trials([self._frozen(t) for t in trials])
        return study

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        """The trial as Optuna knows it; one outside the space (the recipe as it was) tells the sampler nothing."""
        from optuna.trial import TrialState, create_trial

        if not self._known(trial) or trial.state == "failed":
            return create_trial(state=TrialState.FAIL)
        return create_trial(
            state=TrialState.COMPLETE if trial.state == "complete" else TrialState.PRUNED,
            value=trial.value,
            params={p: _param(self.space[p], v) for p, v in trial.values.items()},
            distributions=self._distributions,
            intermediate_values={i: v for i, v in enumerate(trial.measured, 1) if not math.isnan(v)},
        )


def check_installed() -> None:
    """Raise SondeError where Optuna is not there."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise SondeError("a search needs optuna, which is not installed", "pip install 'sonde[tune]'") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's log is ours to write, and that parts of it may change is for us to know."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


def _distribution(dimension: Between | Among) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Among):
        return CategoricalDistribution(dimension.labels)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(float(dimension.low), float(dimension.high), log=dimension.log)


def _param(dimension: Between | Among, value: Any) -> Any:
    return json.dumps(value) if isinstance(dimension, Among) else value


def _value(dimension: Between | Among, param: Any) -> Any:
    if isinstance(dimension, Among):
        return dimension.values[dimension.labels.index(param)]
    if dimension.whole:
        return param
    return min(max(float(f"{param:.4g}"), dimension.low), dimension.high)  # without digits that nobody would choose
