"""The training loop against other libraries: same network, rows, order, optimiser and threads, in one run.

    python benchmarks/loop.py            about five minutes; writes benchmarks/results/loop.json
    python benchmarks/loop.py --quick    under a minute; writes nothing unless --out names a file

Prints, for each contender, the time of an epoch divided by that of a bare PyTorch loop timed right beside it, the peak
memory and the time of its imports. Before anything is timed each contender must have shown that it does the same work;
one that does not ends the benchmark. See `README.md` for how it is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from _contenders import BASE, CONTENDERS
from _tasks import Task, tasks
from _timing import HERE, Spread, Worker, import_seconds, machine, versions

PACKAGES = ("sonde", "torch", "numpy", "lightning", "transformers", "accelerate", "keras", "skorch")
LOADER = "bare-loader"
TOLERANCE = 1e-6  # of a float64 weight after an epoch


class Different(Exception):
    """A contender did not do the same work as the bare loop."""


def order_of(task: Task) -> list[int]:
    """The rows in the order in which Sonde's `Rows` gives them, which every other contender is then told to follow."""
    from sonde.data.rows import Rows

    x, y = task.data()
    batches = islice(Rows(x, y, batch_size=task.batch_size, seed=0).batches(None), task.steps)
    return [i for batch in batches for i in batch.records.tolist()]


def same_work(task: Task, name: str, facts: dict[str, Any], weights: Path, base: Path) -> float:
    """The largest difference of a float64 weight from the bare loop's; raises `Different` if the work differs."""
    from safetensors.torch import load_file

    before, after = facts["loss"]
    if facts["steps"] != task.steps:
        raise Different(f"{name} took {facts['steps']} optimiser steps, not {task.steps}")
    if not (math.isfinite(after) and after < before):
        raise Different(f"{name}'s loss went from {before} to {after}")
    mine, bare = load_file(weights), load_file(base)
    largest = max((mine[k] - bare[k]).abs().max().item() for k in bare)
    if not largest <= TOLERANCE:
        raise Different(f"{name}'s final weights differ from the bare loop's by up to {largest:.2g}")
    return largest


def measure(task: Task, names: list[str], threads: int, rounds: int, quick: bool, home: str) -> dict[str, Any]:
    """Every contender on one task: its facts, and its times beside those of the bare loop."""
    with ExitStack() as stack:
        kept = {name: Path(home) / f"{task.name}-{name}.safetensors" for name in names}
        common = {"task": task.name, "quick": quick, "order": order_of(task)}
        workers = {
            name: stack.enter_context(Worker({**common, "contender": name, "weights": str(kept[name])}, threads, home))
            for name in names
        }
        facts = {name: worker.answer() for name, worker in workers.items()}  # nothing is timed before all are idle
        for name in names:
            facts[name]["weight_difference"] = same_work(task, name, facts[name], kept[name], kept[BASE])
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
                if not abs(took[name]["loss"] - took[BASE]["loss"]) <= 0.01 * took[BASE]["loss"]:
                    raise Different(f"{name}'s loss in float32 is {took[name]['loss']}, not {took[BASE]['loss']}")
    result: dict[str, Any] = {}
    for name in names:
        result[name] = {
            "microseconds_per_step": Spread.of([1e6 * t["seconds"] / task.steps for t in times[name]]).data(),
            "cpu_microseconds_per_step": Spread.of([1e6 * t["cpu_seconds"] / task.steps for t in times[name]]).data(),
            "memory_megabytes": round(facts[name]["memory_bytes"] / 1e6, 1),
            "steps": facts[name]["steps"],
            "loss_before_after": facts[name]["loss"],
            "largest_weight_difference": facts[name]["weight_difference"],
        }
        if name != BASE:
            result[name]["ratio_to_bare"] = Spread.of(ratios[name]).data()
        if name not in (BASE, LOADER) and LOADER in names:
            to_loader = [a / b for a, b in zip(ratios[name], ratios[LOADER], strict=True)]
            result[name]["ratio_to_bare_loader"] = Spread.of(to_loader).data()
    return result


def measure_imports(names: list[str], rounds: int, home: str) -> dict[str, Any]:
    """Import times, interleaved; everything has just been imported by the workers, so no disk is waited for."""
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(import_seconds(CONTENDERS[name].imports, home))
    return {
        name: {
            "total_seconds": Spread.of([t for t, _, _ in took]).data(),
            "after_torch_seconds": Spread.of([a for _, a, _ in took]).data(),
            "modules": took[0][2],
        }
        for name, took in found.items()
    }


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What Sonde's loop has to reach, and whether it does, wherever the contenders it needs were measured."""
    found = []

    def add(what: str, value: float, limit: float, met: bool) -> None:
        found.append({"target": what, "value": round(value, 3), "limit": limit, "met": met})

    for threads, by_task in results.items():
        mlp, lenet = by_task.get("mlp", {}), by_task.get("lenet", {})
        if "sonde" in mlp:
            ratio = mlp["sonde"]["ratio_to_bare"]["median"]
            add(f"MLP, {threads} threads: Sonde / bare loop", ratio, 1.10, ratio <= 1.10)
            for peer in [p for p in ("lightning", "lightning-usual", "trainer") if p in mlp]:
                faster = mlp[peer]["ratio_to_bare"]["median"] / ratio
                add(f"MLP, {threads} threads: {CONTENDERS[peer].title} / Sonde", faster, 2.0, faster >= 2.0)
        if "ratio_to_bare_loader" in lenet.get("sonde", {}):
            ratio = lenet["sonde"]["ratio_to_bare_loader"]["median"]
            add(f"LeNet-5, {threads} threads: Sonde / bare DataLoader loop", ratio, 1.0, ratio <= 1.0)
    return found


def table(task: Task, threads: int, measured: dict[str, Any]) -> str:
    """One line a contender."""
    lines = [
        f"\n{task.title}, batch {task.batch_size}, {task.rows} rows, {task.steps} steps, threads: {threads}",
        f"  {'':<24}{'us/step':>9}  {'/ bare (min-max)':<20}  {'/ DataLoader':>12}  {'peak MB':>8}  {'weights':>8}",
    ]
    for name, m in measured.items():
        ratio = m.get("ratio_to_bare")
        beside = "1" if ratio is None else f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
        to_loader = f"{m['ratio_to_bare_loader']['median']:.2f}" if "ratio_to_bare_loader" in m else ""
        lines.append(
            f"  {CONTENDERS[name].title:<24}{m['microseconds_per_step']['median']:>9.0f}  {beside:<20}  {to_loader:>12}"
            f"  {m['memory_megabytes']:>8.0f}  {m['largest_weight_difference']:>8.1g}"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write; 1 if a contender did different work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the rows, 3 rounds")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of torch, each measured")
    parser.add_argument("--rounds", type=int, help="repetitions (default 5; 3 with --quick)")
    parser.add_argument("--only", nargs="+", choices=sorted(CONTENDERS), help="contenders beside the bare loop")
    parser.add_argument("--out", type=Path, help="where to write JSON")
    args = parser.parse_args()
    rounds = args.rounds or (3 if args.quick else 5)
    out = args.out or (None if args.quick else HERE / "results" / "loop.json")

    chosen = [n for n in CONTENDERS if n == BASE or args.only is None or n in args.only]
    names = [n for n in chosen if CONTENDERS[n].installed]
    absent = [CONTENDERS[n].title for n in chosen if n not in names]
    if absent:
        print(f"not installed, left out: {', '.join(absent)}", file=sys.stderr)

    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        for threads in args.threads:
            results[str(threads)] = {}
            for key, task in tasks(args.quick).items():
                try:
                    measured = measure(task, names, threads, rounds, args.quick, home)
                except Different as error:
                    print(f"not the same work: {error}", file=sys.stderr)
                    return 1
                results[str(threads)][key] = measured
                print(table(task, threads, measured), flush=True)
        imports = measure_imports(names, 1 if args.quick else 5, home)

    print(f"\nimports, s\n  {'':<24}{'total':>9}  {'after torch':>11}  {'modules':>8}")
    for name, m in imports.items():
        after, total = m["after_torch_seconds"]["median"], m["total_seconds"]["median"]
        print(f"  {CONTENDERS[name].title:<24}{total:>9.2f}  {after:>11.2f}  {m['modules']:>8}")
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
            "quick": args.quick,
            "absent": absent,
            "threads": results,
            "imports": imports,
            "targets": reached,
        }
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"\nwrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
