"""The tables of the optimisers' suite, in Markdown, from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

NEVER = "not reached"


def tables(whole: Mapping[str, Any]) -> str:
    """All tasks side by side, then a table a task: the rate, steps to the target, time, and the loss at the end."""
    return "\n".join([_summary(list(whole["tasks"].values())), *map(_table, whole["tasks"].values())])


def _summary(tasks: list[Mapping[str, Any]]) -> str:
    """Of AdamW's steps, and of AdamW's time: the medians over seeds."""
    lines = [f"| rule | {' | '.join(t['title'].partition(',')[0] for t in tasks)} |", "|---" * (len(tasks) + 1) + "|"]
    for name in max((t["rules"] for t in tasks), key=len):
        cells = []
        for task in tasks:
            if name not in task["rules"]:
                cells.append("not measured")
                continue
            mine = task["rules"][name]
            share = ratios(mine, task["rules"]["AdamW"])
            if len(share) == len(mine["runs"]):
                steps = statistics.median(share)
                cells.append(f"{steps:.2f} steps, {steps * mine['times_adamw']['median']:.2f} time")
            else:
                arrived = sum(r["steps"] is not None for r in mine["runs"])
                cells.append(f"{arrived} of {len(mine['runs'])} seeds" if arrived else NEVER)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def ratios(mine: Mapping[str, Any], base: Mapping[str, Any]) -> list[float]:
    """Steps in units of AdamW's, seed by seed, of the seeds with which both arrived."""
    pairs = zip(mine["runs"], base["runs"], strict=True)
    return [a["steps"] / b["steps"] for a, b in pairs if a["steps"] and b["steps"]]


def _table(task: Mapping[str, Any]) -> str:
    base = task["rules"]["AdamW"]
    lines = [
        f"**{task['title']}**: {task['steps']} steps, target a validation loss of {task['target']}.",
        "",
        "| rule | rate | steps | of AdamW's steps | ms a step | of AdamW's time | loss at the end |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, mine in task["rules"].items():
        steps = [r["steps"] for r in mine["runs"]]
        losses = [r["loss"] for r in mine["runs"]]
        arrived = [s for s in steps if s]
        share, slower = ratios(mine, base), mine["times_adamw"]["median"]
        if len(share) == len(steps):
            said, ratio, seconds = _range(steps), _range(share, 2), _range([slower * s for s in share], 2)
        else:
            said = f"{_range(arrived)}, {len(arrived)} of {len(steps)} seeds" if arrived else NEVER
            ratio = seconds = "-"
        ended = "-" if None in losses else _range(losses, 3)
        cells = [name, f"{mine['lr']:g}", said, ratio, f"{mine['milliseconds']['median']:.1f}", seconds, ended]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _range(values: Iterable[float], digits: int = 0) -> str:
    """The median, and in brackets the least and the most."""
    found = list(values)
    low, middle, high = (f"{v:.{digits}f}" for v in (min(found), statistics.median(found), max(found)))
    return middle if low == high else f"{middle} ({low} to {high})"
