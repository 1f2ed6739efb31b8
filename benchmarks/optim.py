"""What a step of Lion, Muon, SOAP and schedule-free AdamW costs, here and in `pytorch_optimizer`, in one run.

    python benchmarks/optim.py            writes benchmarks/results/optim.json
    python benchmarks/optim.py --quick    3 rounds; writes nothing unless --out names a file

The parameters are those of a Transformer of 6 layers and width 384. Before anything is timed, both must have taken the
same ten steps; a rule whose steps differ ends the benchmark. See `README.md` for how it is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _timing import HERE, Spread, environment, machine, versions

PACKAGES = ("sonde", "torch", "numpy", "pytorch-optimizer")
WIDTH, LAYERS, VOCABULARY, CONTEXT = 384, 6, 65, 256


@dataclass(frozen=True)
class Rule:
    """One update rule in both libraries, made from matrices, other tables and vectors."""

    ours: Callable[[list[Any], list[Any], list[Any]], Any]
    theirs: Callable[[list[Any], list[Any], list[Any]], Any]
    target: float | None  # how many times as fast it should be
    steps: int  # of a timed round: of SOAP a whole period of its eigenbasis
    tolerance: float  # of a weight after ten steps in float32, in units of the rate


def rules() -> dict[str, Rule]:
    """The rules by name; rates and decays alike."""
    import pytorch_optimizer as po

    from sonde.optim.lion import Lion
    from sonde.optim.muon import Muon
    from sonde.optim.schedule_free import ScheduleFreeAdamW
    from sonde.optim.soap import SOAP

    kw = {"lr": 1e-3, "weight_decay": 0.1}

    def split(key: str, matrices: list[Any], tables: list[Any], vectors: list[Any]) -> list[dict[str, Any]]:
        return [{"params": matrices, key: True, **kw}, {"params": tables + vectors, key: False, **kw}]

    return {
        "Lion": Rule(lambda m, t, v: Lion(m + t + v, **kw), lambda m, t, v: po.Lion(m + t + v, **kw), 1.5, 4, 1e-3),
        "Muon": Rule(lambda *p: Muon(split("matrices", *p)), lambda *p: po.Muon(split("use_muon", *p)), 1.5, 2, 1.0),
        "SOAP": Rule(lambda m, t, v: SOAP(m + t + v, **kw), lambda m, t, v: po.SOAP(m + t + v, **kw), 1.5, 10, 30.0),
        "schedule-free AdamW": Rule(
            lambda m, t, v: ScheduleFreeAdamW(m + t + v, **kw),
            lambda m, t, v: po.ScheduleFreeAdamW(m + t + v, **kw),
            None,
            4,
            1e-2,
        ),
    }


class Contender:
    """An optimiser with its parameters, which is given the same gradients as the other."""

    def __init__(self, make: Callable[[list[Any], list[Any], list[Any]], Any]) -> None:
        import torch

        g = torch.Generator().manual_seed(0)

        def fresh(*shapes: tuple[int, ...]) -> list[Any]:
            return [torch.nn.Parameter(0.02 * torch.randn(s, generator=g)) for s in shapes]

        d = WIDTH
        matrices = fresh(*LAYERS * [(3 * d, d), (d, d), (4 * d, d), (d, 4 * d)])
        tables = fresh((VOCABULARY, d), (CONTEXT, d))
        vectors = fresh(*LAYERS * [(d,), (d,), (3 * d,), (d,), (4 * d,), (d,)], (d,), (d,))
        self.params = matrices + tables + vectors
        self.optimiser = make(matrices, tables, vectors)

    def step(self, seed: int) -> tuple[float, float]:
        """Seconds of wall clock and of processor that one step took; the gradients' making is not counted."""
        import torch

        g = torch.Generator().manual_seed(seed)
        for p in self.params:
            p.grad = torch.randn(p.shape, generator=g)
        start, cpu = time.perf_counter(), time.process_time()
        self.optimiser.step()
        return time.perf_counter() - start, time.process_time() - cpu


def distance(rule: Rule, steps: int = 10) -> float:
    """The furthest that a weight ends up apart, in units of the rate."""
    ours, theirs = Contender(rule.ours), Contender(rule.theirs)
    for seed in range(steps):
        ours.step(seed)
        theirs.step(seed)
    return max(float((a - b).detach().abs().max()) for a, b in zip(ours.params, theirs.params, strict=True)) / 1e-3


def measure(rule: Rule, rounds: int) -> dict[str, Any]:
    """Milliseconds of a step in both, and the median of the ratios of rounds taken side by side."""
    pair = {"ours": Contender(rule.ours), "theirs": Contender(rule.theirs)}
    for c in pair.values():
        for seed in range(2):
            c.step(seed)
    wall: dict[str, list[float]] = {"ours": [], "theirs": []}
    cpu: dict[str, list[float]] = {"ours": [], "theirs": []}
    for r in range(rounds):
        sums = {name: [0.0, 0.0] for name in pair}
        for s in range(rule.steps):
            for name in ("ours", "theirs") if (r + s) % 2 == 0 else ("theirs", "ours"):  # neither always goes first
                for i, seconds in enumerate(pair[name].step(r * rule.steps + s)):
                    sums[name][i] += seconds / rule.steps
        for name, (w, c) in sums.items():
            wall[name].append(w)
            cpu[name].append(c)
    ratio = [t / o for o, t in zip(wall["ours"], wall["theirs"], strict=True)]
    cpu_ratio = [t / o for o, t in zip(cpu["ours"], cpu["theirs"], strict=True)]
    return {
        "milliseconds": Spread.of([1e3 * v for v in wall["ours"]]).data(),
        "milliseconds_theirs": Spread.of([1e3 * v for v in wall["theirs"]]).data(),
        "times_as_fast": Spread.of(ratio).data(),
        "times_as_fast_by_processor_time": Spread.of(cpu_ratio).data(),
    }


def work(names: list[str], rounds: int) -> dict[str, Any]:
    """Check and time the rules, in a process that was started for it."""
    found: dict[str, Any] = {}
    for name in names:
        rule = rules()[name]
        apart = distance(rule)
        if not apart <= rule.tolerance:
            raise SystemExit(f"{name}: weights end {apart:.2g} rates apart, more than {rule.tolerance}")
        found[name] = {"distance_in_rates": apart, **measure(rule, rounds), "target": rule.target}
        m = found[name]
        say = [m["milliseconds"]["median"], m["milliseconds_theirs"]["median"]]
        print(
            f"  {name:<22}{say[0]:>8.1f}{say[1]:>10.1f}"
            f"   {m['times_as_fast']['median']:.2f} ({m['times_as_fast']['low']:.2f}-{m['times_as_fast']['high']:.2f})"
            f"   {m['times_as_fast_by_processor_time']['median']:.2f}",
            flush=True,
        )
    return found


def main() -> int:
    """Measure, print, write; 1 if a contender did different work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    parser.add_argument("--only", nargs="+", default=["Lion", "Muon", "SOAP", "schedule-free AdamW"])
    parser.add_argument("--rounds", type=int, default=0, help="pairs of rounds; 15 by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    rounds = given.rounds or (3 if given.quick else 15)
    out = given.out or (None if given.quick or given.child else HERE / "results" / "optim.json")
    if not given.child:  # the environment must stand before the first import of torch
        with tempfile.TemporaryDirectory() as home:
            command = [sys.executable, __file__, "--child", "--rounds", str(rounds), "--only", *given.only]
            return subprocess.run(
                [*command, *(["--out", str(out)] if out else [])], env=environment(1, home)
            ).returncode
    import torch

    torch.set_num_threads(1)
    count = sum(p.numel() for p in Contender(lambda *p: None).params)
    print(f"{count:,} parameters, one thread, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(f"  {'':<22}{'ms':>8}{'theirs':>10}   times as fast     by processor time")
    found = work(given.only, rounds)
    if out:
        result = {"parameters": count, "rules": found, "machine": machine(), "versions": versions(PACKAGES)}
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
