"""`sonde runs`, `compare`, `data`, `nets`, `methods`, `recipes`: what there is."""

from __future__ import annotations

import json as json_
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sonde.cli.text import definitions, duration, emit_json, interval, measured, say, table
from sonde.cli.words import Misused
from sonde.core.errors import SondeError
from sonde.names import catalogue, squash
from sonde.report.words import shown
from sonde.runs import RunFolder


def runs(root: Path, json: bool) -> None:
    """Every run: how it ended, and its first measure."""
    found = [_summary(r) for r in RunFolder.all(root)]
    if json:
        emit_json(found)
        return
    if not found:
        say(f"no runs in {root}; train one: sonde train digits")
        return
    rows = []
    for r in found:
        first = r["measures"][0] if r["measures"] else None
        result = "" if first is None else f"{first.get('label') or first['name']} {_value(first)}"
        took = "" if r["seconds"] is None else duration(r["seconds"])
        rows.append([r["name"], r["outcome"], result, took, str(r["created"] or "")[:16].replace("T", " ")])
    table(["run", "outcome", "test", "time", "started (UTC)"], rows)


def _summary(folder: RunFolder) -> dict[str, Any]:
    """What one line says of a run; a damaged one is named as that and hides no other."""
    entry: dict[str, Any] = {"name": folder.name, "path": str(folder.path), "outcome": "damaged", "created": None}
    entry |= {"seconds": None, "measures": []}
    try:
        if folder.has("run.json"):
            entry["created"] = folder.read("run.json").get("created")
        if folder.has("report.json"):
            facts = folder.read("report.json")
            entry |= {"outcome": facts["outcome"], "seconds": facts["seconds"], "measures": list(facts["measures"])}
        elif folder.busy:
            entry["outcome"] = "training now"
        else:
            entry["outcome"] = f"unfinished{_step(folder)}"
    except (SondeError, KeyError, TypeError):
        pass
    return entry


def _step(folder: RunFolder) -> str:
    try:
        manifest = (folder.checkpoints / "last" / "manifest.json").read_text(encoding="utf-8")
        return f" at step {int(json_.loads(manifest)['about']['step']):,}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _value(measure: Mapping[str, Any]) -> str:
    return measured(measure["value"], None, bool(measure.get("percent")))


def compare(names: Sequence[str], root: Path, json: bool) -> None:
    """Measures side by side, whether their intervals overlap, and the entries in which the recipes differ."""
    if len(names) < 2:
        raise Misused("compare needs two runs or more", "give their names: sonde compare first second")
    folders = [RunFolder.find(n, root) for n in names]
    facts = [f.read("report.json") for f in folders]
    same_data = len({f["data"]["fingerprint"] for f in facts}) == 1
    recipes = [_flat(f.read("recipe.json")) for f in folders]
    paths = list(dict.fromkeys(k for r in recipes for k in r))
    different = {p: [r.get(p) for r in recipes] for p in paths if len({str(r.get(p)) for r in recipes}) > 1}
    measures = []
    for name in [m["name"] for m in facts[0]["measures"]]:
        found = [m for f in facts for m in f["measures"] if m["name"] == name]
        if len(found) == len(facts):
            measures.append((name, found, _verdict(found, [f.name for f in folders]) if same_data else ""))
    if json:
        emit_json(
            {
                "runs": [f.name for f in folders],
                "same_data": same_data,
                "measures": [{"name": n, "values": found, "verdict": verdict} for n, found, verdict in measures],
                "recipes": different,
            }
        )
        return
    if not same_data:
        say("these runs were measured on different data: their numbers do not compare")
    rows: list[list[str]] = []
    for name, found, verdict in measures:
        for i, (folder, m) in enumerate(zip(folders, found, strict=True)):
            label = "" if i else m.get("label") or name
            percent = bool(m.get("percent"))
            last = i == len(folders) - 1
            rows.append([label, folder.name, _value(m), interval(m["interval"], percent), verdict if last else ""])
    table(["test", "run", "value", "95 % interval", ""], rows, numeric=(2, 3))
    if different:
        print()
        cells = [[p, *("—" if v is None else v for v in values)] for p, values in different.items()]
        table(["where the recipes differ", *(f.name for f in folders)], cells)


def _verdict(found: Sequence[Any], names: Sequence[str]) -> str:
    """Which run is better, where their intervals are apart."""
    if any(m["interval"] is None for m in found) or found[0]["better"] not in ("higher", "lower"):
        return ""
    order = sorted(range(len(found)), key=lambda i: found[i]["value"], reverse=found[0]["better"] == "higher")
    best, rest = found[order[0]], [found[i] for i in order[1:]]
    overlap = any(
        max(best["interval"][0], m["interval"][0]) <= min(best["interval"][1], m["interval"][1]) for m in rest
    )
    return "intervals overlap" if overlap else f"{names[order[0]]} is better"


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {k2: v2 for k, v in value.items() for k2, v2 in _flat(v, f"{path}.{k}" if path else str(k)).items()}
    if isinstance(value, list) and any(isinstance(v, Mapping | list) for v in value):
        return {k: v for i, item in enumerate(value) for k, v in _flat(item, f"{path}.{_item(i, item)}").items()}
    return {path: value}


def _item(position: int, item: Any) -> str:
    """What `--set` calls an item of a list."""
    built = isinstance(item, Mapping) and "build" in item
    return squash(str(item["build"]).partition(":")[2]) if built else str(position)


def data(given: Mapping[str, Any]) -> None:
    """The named data sets; or what was inferred from one's own data."""
    from sonde import data as readers

    if given["data"] is None:
        sets = readers.names()
        if given["json"]:
            emit_json(
                [{"name": s.name, "about": s.description, "source": s.source, "licence": s.licence} for s in sets]
            )
        else:
            definitions([(s.name, s.description, s.licence) for s in sets])
        return
    from sonde.cli.training import data_options
    from sonde.data import BadData
    from sonde.training import opened

    try:
        dataset = opened(given["data"], **data_options(given))
    except BadData as error:
        if not error.found:
            raise
        if given["json"]:
            emit_json({"problems": [{"where": p.where, "reason": p.reason} for p in error.found]})
        else:
            for problem in error.found:  # every one, which the message of an error cannot hold
                print(shown(f"{problem.where}: {problem.reason}", 400))
        count = f"{len(error.found):,} problem{'s' if len(error.found) > 1 else ''}"
        raise SondeError(f"{given['data']} has {count}", error.remedy) from None
    splits = {k: len(v) for k, v in dataset.splits.items()}
    if given["json"]:
        about = {"name": dataset.name, "task": dataset.task, "splits": splits, "classes": dataset.classes}
        emit_json({**about, "notes": dataset.notes, "fingerprint": dataset.fingerprint})
        return
    sizes = ", ".join(f"{k} {n:,}" for k, n in splits.items())
    print(shown(f"{dataset.name}: {dataset.task}, {len(dataset):,} rows ({sizes})", 400))
    if dataset.classes:
        names = [shown(c, 40) for c in dataset.classes[:20]]
        print(f"{len(dataset.classes)} classes: {', '.join(names)}{', ...' if len(dataset.classes) > 20 else ''}")
    for note in dataset.notes:
        print(shown(f"· {note}", 400))


def entries(part: str, json: bool) -> None:
    """The constructors of a part of the package that a command can name, with their options and what they do."""
    found = [e for e in catalogue(part) if e.typed]
    if json:
        emit_json([{"name": e.name, "options": e.signature, "summary": e.summary} for e in found])
        return
    definitions([(e.name, e.summary, e.choices) for e in found])
    example = {"nets": "--net 'mlp(widths=(64, 64))'", "methods": "--with 'mixup(alpha=0.2)'"}[part]
    say(f"\nuse one: sonde train DATA {example}")


def matrix(objectives: Sequence[str], json: bool) -> None:
    """Which methods go together: every pair is tried on tiny problems, while one waits."""
    import torch

    from sonde.cli.grid import TRAINS, grid
    from sonde.matrix import cells, methods, trials
    from sonde.names import did_you_mean

    for name in objectives:
        if name not in trials():
            known = list(trials())
            near = did_you_mean(name, known) or f"choose from {', '.join(known)}"
            raise Misused(f"the matrix has no objective {name!r}", near)
    torch.set_num_threads(1)  # the problems are far too small to share
    chosen = list(dict.fromkeys(objectives)) or list(trials())
    say(f"trying {len(methods())} methods in pairs on {', '.join(chosen)}")
    found = list(cells(chosen, progress=_counted))
    if json:
        emit_json([asdict(c) for c in found])
        return
    width = shutil.get_terminal_size((100, 24)).columns
    drawn = [grid([c for c in found if c.objective == name], max(60, min(width, 120))) for name in chosen]
    text = "\n\n\n".join("\n".join(lines) for lines in drawn)
    print(text.replace(TRAINS, f"\x1b[2m{TRAINS}\x1b[0m") if sys.stdout.isatty() else text)


def _counted(done: int, total: int) -> None:
    """How far it is, on a terminal in one line that is written over."""
    if sys.stderr.isatty() and (done == total or done % 20 == 0):
        sys.stderr.write(f"\r{done:,} of {total:,}" if done < total else "\r\x1b[K")
        sys.stderr.flush()
