"""What a private step of gradient descent costs beside a plain one, in Sonde and in Opacus, in one run.

    python benchmarks/private.py            writes benchmarks/results/private.json
    python benchmarks/private.py --quick    one thread, 3 rounds; writes nothing unless --out names a file

Prints, for each contender, the time of a step divided by that of Sonde's plain step timed right beside it, and the
memory of a step. Before anything is timed each contender must have shown that it takes the same steps as one that takes
the rows one at a time; one that does not ends the benchmark. See `README.md` for how it is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _private_contenders import BASE, CONTENDERS, TASKS, Task
from _timing import HERE, Spread, Worker, machine, versions

PACKAGES = ("sonde", "torch", "numpy", "opacus")
CLIP = {"mlp": 6.8, "cnn": 4.0}  # about half of the rows' gradients are longer at first
TOLERANCE = 1e-8  # of a float64 weight after three steps: Opacus divides by the norm plus 1e-6
MEMORY = 1.2  # limit on the peak memory of a private step, in plain ones


class Different(Exception):
    """A contender did not take the steps it should."""


def same_work(name: str, facts: dict[str, Any]) -> None:
    """Raise `Different` unless weights, clipping and noise are what they should be."""
    if not facts["weight_difference"] <= TOLERANCE:
        raise Different(f"{name}'s weights are {facts['weight_difference']:.2g} off those of rows taken one at a time")
    if CONTENDERS[name].private:
        if not 0.2 <= facts["cut_down"] <= 0.8:
            raise Different(f"the clip cuts {facts['cut_down']:.0%} of the rows, which checks little")
        if not abs(facts["noise_deviation"] - 1) <= 0.05:  # of 26,010 parameters and more: 11 deviations
            raise Different(f"{name}'s noise is {facts['noise_deviation']:.3f} of what it should be")


def measure(task: Task, names: list[str], threads: int, rounds: int, home: str) -> dict[str, Any]:
    """Every contender on one task: its facts, and its times beside those of the plain step."""
    with ExitStack() as stack:
        common = {"task": task.name, "clip": CLIP[task.name]}
        start = {name: {**common, "contender": name} for name in names}
        workers: dict[str, Worker] = {}
        facts: dict[str, dict[str, Any]] = {}
        for name in names:  # one after the other, so that each has the machine's memory to itself
            workers[name] = stack.enter_context(Worker(start[name], threads, home, "_private_worker.py"))
            facts[name] = workers[name].answer()
            same_work(name, facts[name])
        times: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        ratios: dict[str, list[float]] = {name: [] for name in names}
        others = [name for name in names if name != BASE]
        for r in range(rounds):
            others = others[1:] + others[:1]
            for name in others:
                pair = (BASE, name) if r % 2 == 0 else (name, BASE)  # neither always goes first
                took = {each: workers[each].ask() for each in pair}
                for each in pair:
                    times[each].append(took[each])
                ratios[name].append(took[name]["seconds"] / took[BASE]["seconds"])
    result: dict[str, Any] = {}
    for name in names:
        f = facts[name]
        result[name] = {
            "milliseconds_per_step": Spread.of([1e3 * t["seconds"] / task.steps for t in times[name]]).data(),
            "cpu_milliseconds_per_step": Spread.of([1e3 * t["cpu_seconds"] / task.steps for t in times[name]]).data(),
            "resident_megabytes": round(f["resident_bytes"] / 1e6, 2),
            "tensor_megabytes": round((f["tensor_bytes"] + f["parameter_bytes"]) / 1e6, 2),
            "weight_difference": f["weight_difference"],
            "noise_deviation": f["noise_deviation"],
            "rows_cut_down": f["cut_down"],
        }
        if name != BASE:
            result[name]["ratio_to_plain"] = Spread.of(ratios[name]).data()
    return result


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What a private step of Sonde may cost, and whether it does."""
    found = []
    for threads, by_task in results.items():
        for key, measured in by_task.items():
            if "sonde" not in measured:
                continue
            ours, base, title = measured["sonde"], measured[BASE], f"{TASKS[key].title}, {threads} threads"
            values = [
                ("time", ours["ratio_to_plain"]["median"], TASKS[key].limit),
                ("memory of tensors", ours["tensor_megabytes"] / base["tensor_megabytes"], MEMORY),
                ("resident memory", ours["resident_megabytes"] / max(1e-9, base["resident_megabytes"]), MEMORY),
            ]
            for what, value, limit in values:
                target = f"{title}: {what} of a private step / plain"
                found.append({"target": target, "value": round(value, 3), "limit": limit, "met": value <= limit})
    return found


def table(task: Task, threads: int, measured: dict[str, Any]) -> str:
    """One line a contender."""
    lines = [
        f"\n{task.title}, batch {task.batch_size}, threads: {threads}",
        f"  {'':<20}{'ms/step':>9}  {'/ plain (min-max)':<22}  {'tensors MB':>10}  {'resident MB':>11}",
    ]
    for name, m in measured.items():
        ratio = m.get("ratio_to_plain")
        beside = "1" if ratio is None else f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
        lines.append(
            f"  {CONTENDERS[name].title:<20}{m['milliseconds_per_step']['median']:>9.2f}  {beside:<22}"
            f"  {m['tensor_megabytes']:>10.1f}  {m['resident_megabytes']:>11.1f}"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write; 1 if a contender did different work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one thread, 3 rounds")
    parser.add_argument("--threads", type=int, nargs="+", help="threads of torch, each measured (default 1 2)")
    parser.add_argument("--rounds", type=int, help="repetitions (default 7; 3 with --quick)")
    parser.add_argument("--only", nargs="+", choices=sorted(CONTENDERS), help="contenders beside the plain step")
    parser.add_argument("--tasks", nargs="+", choices=sorted(TASKS), default=list(TASKS), help="networks")
    parser.add_argument("--out", type=Path, help="where to write JSON")
    args = parser.parse_args()
    rounds = args.rounds or (3 if args.quick else 7)
    out = args.out or (None if args.quick else HERE / "results" / "private.json")

    chosen = [n for n in CONTENDERS if n == BASE or args.only is None or n in args.only]
    names = [n for n in chosen if CONTENDERS[n].installed]
    absent = [CONTENDERS[n].title for n in chosen if n not in names]
    if absent:
        print(f"not installed, left out: {', '.join(absent)}", file=sys.stderr)

    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        for threads in args.threads or ([1] if args.quick else [1, 2]):
            results[str(threads)] = {}
            for key in args.tasks:
                try:
                    measured = measure(TASKS[key], names, threads, rounds, home)
                except Different as error:
                    print(f"not the same work: {error}", file=sys.stderr)
                    return 1
                results[str(threads)][key] = measured
                print(table(TASKS[key], threads, measured), flush=True)
    reached = targets(results)
    print("\ntargets")
    for t in reached:
        print(f"  {'met   ' if t['met'] else 'MISSED'}  {t['target']}: {t['value']:.2f} (limit {t['limit']:.2f})")

    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "machine": machine(),
            "versions": versions(PACKAGES),
            "rounds": rounds,
            "absent": absent,
            "threads": results,
            "targets": reached,
        }
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"\nwrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
