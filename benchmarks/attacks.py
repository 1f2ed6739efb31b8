"""Attacks beside torchattacks, foolbox and ART at the same budget, and how long the standard suite takes.

    python benchmarks/attacks.py             both parts; results/attacks.json grows with every attack
    python benchmarks/attacks.py --quick     few rows and steps, one round; writes nothing unless --out names a file
    python benchmarks/attacks.py --only FAB-T Square --nets robust
    python benchmarks/attacks.py --part suite

What the file already holds at these settings is not measured again, so an interrupted run goes on; --again measures it
anew. Peers that cannot be imported are left out with a line. See `README.md` for how it is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _attack_contenders import Attack, Size, Task, importable, tasks
from _attack_tables import tables
from _timing import HERE, Spread, machine, versions

PACKAGES = ("sonde", "torch", "numpy", "torchattacks", "foolbox", "adversarial-robustness-toolbox")
RADII = {"plain": 0.1, "robust": 0.3}
EPOCHS = {"plain": 1, "robust": 10}
RATES = {"plain": 2e-3, "robust": 5e-3}
TARGET = 1.3  # times as fast
LIMITS = {"plain": 300, "robust": 900}  # seconds for the suite
SUITE_ROWS, BLOCK, THREADS = 1000, 250, 1
ROUNDS = 5
SHORT, SHORT_ROUNDS = 1.0, 25  # seconds: an attack that takes less in all rounds together is measured in more
FAR = 6.0  # L2: an empty picture is about 9 from a digit; what is further than this is no small change


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", choices=["attacks", "suite"])
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--nets", nargs="+", choices=list(RADII), default=list(RADII))
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0, help="of the suite")
    parser.add_argument("--images", type=int, default=Size.rows, help="rows of the attacks that are measured on 200")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", action="store_true", help="print the tables of docs/attacks.md; measure nothing")
    asked = parser.parse_args()
    if asked.table:
        print(tables(json.loads((HERE / "results" / "attacks.json").read_text())))
        return 0
    import torch

    size = Size(40, 10, 5, 20, 100, 50, 2, 4) if asked.quick else Size(rows=asked.images)
    rounds = asked.rounds or (1 if asked.quick else ROUNDS)
    out = asked.out or (None if asked.quick else HERE / "results" / "attacks.json")
    kept = json.loads(out.read_text()) if out and out.exists() else {}
    kept |= {"versions": versions(PACKAGES), "machine": machine()}
    have, lines = importable()
    print(*lines, sep="\n" if lines else "", flush=True)
    torch.set_num_threads(1)
    for name in asked.nets:
        net, x, y = trained(name)
        if asked.part != "suite":
            for attack, task in tasks(RADII[name], size, have).items():
                if not asked.only or attack in asked.only:
                    entries = kept.setdefault("attacks", {}).setdefault(name, {}).setdefault(attack, {})
                    pairs(f"{name:7s}{attack:15s}", net, x, y, task, RADII[name], size, rounds, entries, asked.again)
                    save(out, kept)
        if asked.part != "attacks" and not asked.only:
            rows = asked.rows or (100 if asked.quick else SUITE_ROWS)
            entry = kept.setdefault("suite", {}).setdefault(name, {})
            if asked.again or entry.get("of") != rows:
                entry.clear()
                entry["of"] = rows
            whole(name, net, x, y, rows, entry, lambda: save(out, kept))
    return 0


def save(out: Path | None, kept: dict[str, Any]) -> None:
    """The results so far, whole at every moment."""
    if out is not None:
        part = out.with_suffix(".part")
        part.write_text(json.dumps(kept, indent=1) + "\n")
        os.replace(part, out)


def trained(name: str) -> tuple[Any, Any, Any]:
    """A small convolutional net, plainly trained or with FGSM at radius 0.3, and MNIST's test rows in a fixed order."""
    import torch
    from safetensors.torch import load_file, save_file

    from sonde import methods, nets, objectives, optim
    from sonde.core import Budget, Build, Recipe, Stage
    from sonde.data import load
    from sonde.data.rows import Split

    rule = [Build(methods.adam, lr=RATES[name], schedule=Build(optim.schedules.OneCycle))]
    rule = rule if name == "plain" else [Build(methods.FGSM, radius=0.3), *rule]
    source = Build(Split, split="train", batch_size=128)
    recipe = Recipe(
        name="attacked",
        seed=0,
        data=Build(load, name="mnist", val=0.0),
        objective=Build(objectives.Classify, net=Build(nets.ConvNet, widths=(16, 32), hidden=100)),
        methods=tuple(rule),
        stages=(Stage(source=source, budget=Budget(epochs=EPOCHS[name])),),
    )
    data = recipe.data()  # type: ignore[misc]
    rows = data.batch(data.splits["test"][torch.randperm(10_000, generator=torch.Generator().manual_seed(0))])
    cache = Path(tempfile.gettempdir()) / f"sonde-attacked-{name}-{EPOCHS[name]}.safetensors"
    if cache.exists():
        net = nets.ConvNet(channels=1, height=28, width=28, outputs=10, widths=(16, 32), hidden=100)
        net.load_state_dict(load_file(cache))
    else:
        print(f"training the {name} net", flush=True)
        net = recipe.train(data=data).objective.net  # type: ignore[union-attr]
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, cache)
    return net.eval().requires_grad_(False), rows.x, rows.y


def pairs(
    title: str, net: Any, x: Any, y: Any, task: Task, radius: float, size: Size, rounds: int,
    entries: dict[str, Any], again: bool,
) -> None:  # fmt: skip
    """Each pair in turn, in every round each right beside the other, in alternating order."""
    n = getattr(size, task.rows)
    settings = {**asdict(size), "radius": radius, "rounds": rounds}
    for peer, pair in task.pairs.items():
        if not again and entries.get(peer, {}).get("settings") == settings:
            continue
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
        for who in ("ours", "theirs"):
            timed(getattr(pair, who), net, x[:2], y[:2], 0)  # what is loaded or compiled once
        i = 0
        while i < rounds or (i < SHORT_ROUNDS and sum(times["ours"]) < SHORT):
            for who in ("ours", "theirs") if i % 2 == 0 else ("theirs", "ours"):
                v, seconds = timed(getattr(pair, who), net, x[:n], y[:n], i)
                times[who].append(seconds)
                found[who].append(outcome(net, v, x[:n], y[:n], task.norm, radius))
            i += 1
        ratio = Spread.of([t / o for o, t in zip(times["ours"], times["theirs"], strict=True)])
        entries[peer] = {
            "settings": settings, "rows": n, **{who: averaged(each) for who, each in found.items()},
            "seconds": Spread.of(times["ours"]).data(), "seconds_theirs": Spread.of(times["theirs"]).data(),
            "times_as_fast": ratio.data(), "target": TARGET,
        }  # fmt: skip
        beside = f"{told(averaged(found['ours']))} beside {told(averaged(found['theirs']))}"
        print(f"{title} {peer:13s} {ratio.median:6.2f} times as fast; {beside}", flush=True)


def timed(attack: Attack, net: Any, x: Any, y: Any, seed: int) -> tuple[Any, float]:
    """What an attack finds and its processor time, in seconds."""
    import torch

    torch.manual_seed(seed)
    started = time.process_time()
    v = attack(net, x.clone(), y.clone())
    return v.detach(), time.process_time() - started


def outcome(net: Any, v: Any, x: Any, y: Any, norm: str, radius: float) -> dict[str, float]:
    """The share of rightly answered rows that fall, within the ball where there is one, and the median L2 change."""
    import torch

    with torch.no_grad():
        right, fallen = net(x).argmax(1) == y, net(v).argmax(1) != y
    offset = (v - x).flatten(1)
    inside = offset.abs().amax(1) <= radius + 1e-5 if norm == "linf" else offset.norm(dim=1) <= FAR
    inside &= (v.flatten(1).amin(1) >= -1e-5) & (v.flatten(1).amax(1) <= 1 + 1e-5)
    won = right & fallen & inside
    found = {"success": float(won.sum() / right.sum())}
    if norm == "l2":
        far = torch.where(fallen, offset.norm(dim=1), torch.inf)[right]
        found["median_l2"] = float(far.median())
    return {k: float(f"{value:.5g}") for k, value in found.items()}


def averaged(each: list[dict[str, float]]) -> dict[str, float | None]:
    """The mean of every number over the rounds, each of which draws anew; None for a median beyond all that fell."""
    means = {k: statistics.fmean(one[k] for one in each) for k in each[0]}
    return {k: float(f"{v:.5g}") if math.isfinite(v) else None for k, v in means.items()}


def told(found: dict[str, Any]) -> str:
    """An outcome in a line."""
    far = f", median L2 {found['median_l2']:.3f}" if found.get("median_l2") is not None else ""
    return f"{100 * found['success']:.1f} %{far}"


def whole(name: str, net: Any, x: Any, y: Any, rows: int, entry: dict[str, Any], keep: Any) -> None:
    """The standard suite at full length, a block at a time; a block that was measured stays."""
    import torch

    from sonde.attacks import standing, suite

    torch.set_num_threads(THREADS)
    attacks = suite(net, RADII[name])
    blocks = entry.setdefault("blocks", [])
    for begin in range(len(blocks) * BLOCK, rows, BLOCK):
        part = slice(begin, min(begin + BLOCK, rows))
        torch.manual_seed(begin)
        started, used = time.monotonic(), time.process_time()
        last, kept = started, []
        for attack, stands, _ in standing(net, x[part], y[part], attacks, RADII[name]):
            now = time.monotonic()
            kept.append([attack, int(stands.sum()), round(now - last, 2)])
            last = now
        wall, processor = time.monotonic() - started, time.process_time() - used
        blocks.append({"rows": len(y[part]), "wall": round(wall, 2), "processor": round(processor, 2), "after": kept})
        keep()
        print(f"{name:7s}suite, rows {begin} to {part.stop}: {wall:.0f} s; {kept}", flush=True)
    total = sum(b["rows"] for b in blocks)
    entry.update(
        radius=RADII[name],
        threads=THREADS,
        seconds=round(sum(b["wall"] for b in blocks), 1),
        processor_seconds=round(sum(b["processor"] for b in blocks), 1),
        limit=LIMITS[name],
        clean=sum(b["after"][0][1] for b in blocks) / total,
        robust_accuracy=sum(b["after"][-1][1] for b in blocks) / total,
        median_block=statistics.median(b["wall"] for b in blocks),
    )
    keep()
    torch.set_num_threads(1)
    print(f"{name:7s}suite: {entry['seconds']} s of {LIMITS[name]}, {entry['robust_accuracy']:.4f} right", flush=True)


if __name__ == "__main__":
    sys.exit(main())
