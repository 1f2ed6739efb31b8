"""`sonde runs`, `data`, `nets`, `methods`, `recipes`: what there is."""

from __future__ import annotations

import json as json_
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sonde.cli.text import definitions, duration, emit_json, measured, say, table
from sonde.cli.words import Misused
from sonde.core.errors import SondeError
from sonde.names import catalogue
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
