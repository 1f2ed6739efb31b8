"""How many steps, and how long, each optimiser takes to where tuned AdamW gets, on five small tasks.

    python benchmarks/optim_suite.py              goes on with benchmarks/results/optim_suite.json until it is whole
    python benchmarks/optim_suite.py --quick      one task, a tenth of the steps; writes nothing unless --out is given
    python benchmarks/optim_suite.py --table      the table of what was measured

See `README.md` for the rules.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _suite_tables import tables
from _suite_tasks import TASKS, Task
from _timing import HERE, Spread, machine, versions

from sonde import methods
from sonde.core import Budget, Build, Event, Method, NonFinite, Recipe, Run, Stage, Stepped
from sonde.data.rows import Split
from sonde.methods.observe.validate import mean_scores
from sonde.optim.schedules import Cosine

RESULTS = HERE / "results" / "optim_suite.json"
LOOKS = 50  # measurements in a budget: steps to a target are known to 2 % of it
SHARE = 0.75  # of the budget: the target is what tuned AdamW has reached by then
PILOT, TUNING, SEEDS = (100, 101, 102), 0, (1, 2, 3)
WIDER = 2  # rates that may be added where the best one is the grid's first or last
COSINE = Build(Cosine, warmup=0.05)


@dataclass(frozen=True)
class Rule:
    """An update rule at a rate. middle: of its five rates, in half decades: see `rate`."""

    make: Callable[[float, Task], Build[Method]]
    middle: int


RULES: dict[str, Rule] = {
    "AdamW": Rule(lambda lr, t: Build(methods.adamw, lr=lr, weight_decay=0.01, schedule=COSINE), -5),
    "Adam": Rule(lambda lr, t: Build(methods.adam, lr=lr, schedule=COSINE), -5),
    "SGD, Nesterov": Rule(lambda lr, t: Build(methods.sgd, lr=lr, schedule=COSINE), -2),
    "AdaGrad": Rule(lambda lr, t: Build(methods.adagrad, lr=lr, schedule=COSINE), -3),
    "RMSProp": Rule(lambda lr, t: Build(methods.rmsprop, lr=lr, schedule=COSINE), -5),
    "Lion": Rule(lambda lr, t: Build(methods.lion, lr=lr, weight_decay=0.1, schedule=COSINE), -6),
    "Muon": Rule(
        lambda lr, t: Build(
            methods.muon,
            lr=lr,
            adam_lr=lr,
            weight_decay=0.01,
            scale="match_rms_adamw",
            head=t.head,
            schedule=COSINE,
        ),
        -5,
    ),
    "SOAP": Rule(lambda lr, t: Build(methods.soap, lr=lr, weight_decay=0.01, schedule=COSINE), -5),
    "schedule-free AdamW": Rule(lambda lr, t: Build(methods.ScheduleFree, lr=lr, weight_decay=0.01), -4),
}


class Watch(Method):
    """The validation loss every few steps; with a target, the run stops where it is reached."""

    def __init__(self, data: Any, index: torch.Tensor, every: int, target: float | None) -> None:
        self.batches = [data.batch(i) for i in index.split(500)]
        self.every, self.target, self.curve = every, target, []

    def on(self, run: Run, event: Event) -> None:
        """Measure."""
        if isinstance(event, Stepped) and run.step % self.every == 0:
            with run.evaluating() as objective:
                loss = mean_scores(objective, self.batches)["loss"]
            self.curve.append(loss if math.isfinite(loss) else math.inf)
            if self.target is not None and loss <= self.target:
                run.stop = "target"


@dataclass
class Bench:
    """A task with its data in memory, and its budget."""

    task: Task
    data: Any
    steps: int

    @property
    def every(self) -> int:
        """Steps between two looks."""
        return max(1, self.steps // LOOKS)

    def recipe(self, rule: Rule, lr: float, seed: int) -> Recipe:
        """The training of one run."""
        source = Build(Split, split="train", batch_size=self.task.batch, seed=seed)
        return Recipe(
            name="suite",
            seed=seed,
            objective=self.task.objective(self.data),
            methods=(Build(methods.FitInputs, rows=10_000), rule.make(lr, self.task)),
            stages=(Stage(source=source, budget=Budget(steps=self.steps)),),
        )

    def curve(self, rule: Rule, lr: float, seed: int, target: float | None = None) -> list[float]:
        """The validation losses of a run, as far as it went: it ends at a target, and where numbers overflow."""
        val = self.data.splits["val"]
        index = val[torch.linspace(0, len(val) - 1, min(self.task.rows, len(val))).long()]
        recipe, watch = self.recipe(rule, lr, seed), Watch(self.data, index, self.every, target)
        run = recipe.start(self.data, extra=(watch,))
        try:
            recipe.train(run, self.data)
        except NonFinite:
            watch.curve.append(math.inf)
        return watch.curve

    def steps_to(self, target: float, curve: list[float]) -> int | None:
        """Steps until the loss was first measured at or below the target."""
        return next((self.every * (i + 1) for i, loss in enumerate(curve) if loss <= target), None)


def rates(rule: Rule, score: Callable[[float], tuple[float, float]]) -> dict[float, tuple[float, float]]:
    """Scores by rate, of five rates and up to two more while the best is the first or the last."""
    found = {k: score(rate(k)) for k in range(rule.middle - 2, rule.middle + 3)}
    for _ in range(WIDER):
        best = min(found, key=lambda k: found[k])
        beyond = {min(found): best - 1, max(found): best + 1}
        if best not in beyond:
            break
        found[beyond[best]] = score(rate(beyond[best]))
    return {rate(k): scores for k, scores in found.items()}


def rate(half_decades: int) -> float:
    """..., 0.01 for -4, 0.03 for -3, 0.1 for -2, ..."""
    return float(f"{3 if half_decades % 2 else 1}e{half_decades // 2}")


def find_target(bench: Bench) -> dict[str, Any]:
    """What AdamW has reached at `SHARE` of the budget with each of three seeds, at the rate where that is lowest."""
    at = round(SHARE * bench.steps / bench.every) - 1
    found: dict[float, list[float]] = {}

    def score(lr: float) -> tuple[float, float]:
        curves = [bench.curve(RULES["AdamW"], lr, seed) for seed in PILOT]
        found[lr] = [curve[at] if len(curve) > at else math.inf for curve in curves]
        return (max(found[lr]), 0.0)

    scores = rates(RULES["AdamW"], score)
    lr = min(scores, key=lambda lr: scores[lr])
    return {"target": float(f"{max(found[lr]):.4g}"), "pilot_lr": lr, "pilot_losses": found[lr]}


def measure(bench: Bench, rule: Rule, target: float) -> dict[str, Any]:
    """The best rate by the tuning seed, and then whole runs of the other seeds."""
    grid: list[dict[str, Any]] = []

    def score(lr: float) -> tuple[float, float]:
        curve = bench.curve(rule, lr, TUNING, target)
        steps = bench.steps_to(target, curve)
        grid.append({"lr": lr, "steps": steps, "loss": curve[-1] if math.isfinite(curve[-1]) else None})
        return (steps or math.inf, curve[-1])

    found = rates(rule, score)
    lr = min(found, key=lambda lr: found[lr])
    runs = []
    for seed in SEEDS:
        curve = bench.curve(rule, lr, seed)
        whole = len(curve) == bench.steps // bench.every and math.isfinite(curve[-1])
        runs.append({"seed": seed, "steps": bench.steps_to(target, curve), "loss": curve[-1] if whole else None})
    return {"lr": lr, "grid": sorted(grid, key=lambda g: g["lr"]), "runs": runs}


def step_times(bench: Bench, found: dict[str, Any], rounds: int, steps: int = 20) -> dict[str, Any]:
    """Milliseconds of processor time a step, by rounds in which the rules take turns; and the ratio to AdamW's."""
    batches = [
        b for b, _ in zip(Split(bench.data, "train", bench.task.batch).batches(None), range(steps), strict=False)
    ]
    runs = {name: bench.recipe(RULES[name], found[name]["lr"], 0).start(bench.data) for name in found}
    for run in runs.values():
        run.total = 10**6
        run.objective.train()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for r in range(rounds + 1):
        order = list(runs)
        for name in order[r % len(order) :] + order[: r % len(order)]:
            start = time.process_time()
            for batch in batches:
                runs[name].advance(batch)
            taken[name].append(1e3 * (time.process_time() - start) / steps)
    base = taken["AdamW"][1:]  # the first round warms up
    return {
        name: {
            "milliseconds": Spread.of(values[1:]).data(),
            "times_adamw": Spread.of([a / b for a, b in zip(values[1:], base, strict=True)]).data(),
        }
        for name, values in taken.items()
    }


def main() -> int:
    """Measure what is missing, task by task and rule by rule; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the MLP alone, a tenth of the steps")
    parser.add_argument("--only", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES))
    parser.add_argument("--retime", action="store_true", help="measure milliseconds a step again")
    parser.add_argument("--table", action="store_true", help="print the table of --out and measure nothing")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    out = given.out or (None if given.quick else RESULTS)
    whole: dict[str, Any] = json.loads(out.read_text()) if out and out.is_file() else {"tasks": {}}
    if given.table:
        sys.stdout.write(tables(whole))
        return 0
    torch.set_num_threads(1)
    for key in ["mnist"] if given.quick else given.only:
        task = TASKS[key]
        bench = Bench(task, task.data(), task.steps // (8 if given.quick else 1))
        mine = whole["tasks"].setdefault(key, {"title": task.title, "steps": bench.steps, "rules": {}})
        if mine["steps"] != bench.steps:
            raise SystemExit(f"{out} holds {key} at another budget; give another --out")
        if "target" not in mine:
            mine |= find_target(bench)
            _say(f"{task.title}: the target is a validation loss of {mine['target']}")
        for name in ["AdamW", *(r for r in given.rules if r != "AdamW")]:
            if name not in mine["rules"]:
                begun = time.perf_counter()
                mine["rules"][name] = measure(bench, RULES[name], mine["target"])
                steps = [r["steps"] for r in mine["rules"][name]["runs"]]
                took = time.perf_counter() - begun
                _say(f"  {name:<22} lr {mine['rules'][name]['lr']:<8g} steps {steps}   {took:.0f} s")
                _write(out, whole)
        if given.retime or any("milliseconds" not in r for r in mine["rules"].values()):
            times = step_times(bench, mine["rules"], 2 if given.quick else 7)
            for name, found in times.items():
                mine["rules"][name] |= found
            _write(out, whole)
    _say(tables(whole))
    return 0


def _write(out: Path | None, whole: dict[str, Any]) -> None:
    if out:
        whole |= {"machine": machine(), "versions": versions(("torch", "numpy"))}
        out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
