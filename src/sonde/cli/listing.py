"""`sonde runs`, `compare`, `data`, `nets`, `methods`, `recipes`: what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonde.cli.text import duration, emit_json, measured, say, table
from sonde.core.errors import SondeError
from sonde.names import catalogue, squash
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
        result = "" if first is None else f"{first['label'] or first['name']} " + measured(
            first["value"], first["interval"], first["percent"]
        )
        took = "" if r["seconds"] is None else duration(r["seconds"])
        rows.append([r["name"], r["outcome"], result, took, (r["created"] or "")[:16].replace("T", " ")])
    table("", ["run", "outcome", "test (95 % interval)", "time", "started (UTC)"], rows, numeric=(3,))


def _summary(folder: RunFolder) -> dict[str, Any]:
    about: Mapping[str, Any] = folder.read("run.json") if folder.has("run.json") else {}
    if not folder.has("report.json"):
        checkpoint = folder.checkpoints / "last" / "manifest.json"
        step = ""
        if checkpoint.exists():
            import json

            step = f" at step {json.loads(checkpoint.read_text())['about'].get('step')}"
        outcome = f"unfinished{step}"
        return _entry(folder, outcome, about.get("created"), None, ())
    facts = folder.read("report.json")
    return _entry(folder, facts["outcome"], facts["created"], facts["seconds"], facts["measures"])


def _entry(folder: RunFolder, outcome: str, created: Any, seconds: Any, measures: Sequence[Any]) -> dict[str, Any]:
    return {
        "name": folder.name,
        "path": str(folder.path),
        "outcome": outcome,
        "created": created,
        "seconds": seconds,
        "measures": list(measures),
    }


def compare(names: Sequence[str], root: Path, json: bool) -> None:
    """Measures side by side, whether their intervals overlap, and the entries in which the recipes differ."""
    if len(names) < 2:
        raise SondeError("compare needs two runs or more", "give their names: sonde compare first second")
    folders = [RunFolder.find(n, root) for n in names]
    facts = [f.read("report.json") for f in folders]
    data = [f["data"]["fingerprint"] for f in facts]
    recipes = [_flat(f.read("recipe.json")) for f in folders]
    paths = sorted({k for r in recipes for k in r})
    different = {p: [r.get(p) for r in recipes] for p in paths if len({str(r.get(p)) for r in recipes}) > 1}
    shared = [m["name"] for m in facts[0]["measures"] if all(m["name"] in {x["name"] for x in f["measures"]} for f in facts)]
    rows: list[list[str]] = []
    for name in shared:
        found = [next(m for m in f["measures"] if m["name"] == name) for f in facts]
        cells = [measured(m["value"], m["interval"], m["percent"]) for m in found]
        rows.append([found[0]["label"] or name, *cells, _verdict(found, [f.name for f in folders])])
    if json:
        emit_json({"runs": names, "same_data": len(set(data)) == 1, "measures": rows, "recipes": different})
        return
    if len(set(data)) > 1:
        say("these runs were measured on different data: their numbers do not compare")
    table("", ["test", *(f.name for f in folders), ""], rows, numeric=range(1, len(folders) + 1))
    if different:
        print()
        shown = [[p, *("—" if v is None else v for v in values)] for p, values in different.items()]
        table("where the recipes differ", ["entry", *(f.name for f in folders)], shown)


def _verdict(found: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    if any(m["interval"] is None for m in found) or found[0]["better"] == "neither":
        return ""
    low = max(m["interval"][0] for m in found)
    high = min(m["interval"][1] for m in found)
    if low <= high:
        return "intervals overlap"
    pick = max if found[0]["better"] == "higher" else min
    best = pick(range(len(found)), key=lambda i: found[i]["value"])
    return f"{names[best]} is better"


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {k2: v2 for k, v in value.items() for k2, v2 in _flat(v, f"{path}.{k}" if path else str(k)).items()}
    if isinstance(value, list) and any(isinstance(v, Mapping | list) for v in value):
        names = [squash(str(v["build"]).partition(":")[2]) if isinstance(v, Mapping) and "build" in v else str(i) for i, v in enumerate(value)]
        return {k2: v2 for n, v in zip(names, value, strict=True) for k2, v2 in _flat(v, f"{path}.{n}").items()}
    return {path: value}


def data(given: Mapping[str, Any]) -> None:
    """The named data sets; or what was inferred from one's own data."""
    from sonde import data as readers

    if given["data"] is None:
        sets = readers.names()
        if given["json"]:
            emit_json([{"name": s.name, "about": s.description, "source": s.source, "licence": s.licence} for s in sets])
        else:
            table("", ["name", "what", "licence"], [[s.name, s.description, s.licence] for s in sets])
        return
    from sonde.cli.training import data_options
    from sonde.training import opened

    dataset = opened(given["data"], **data_options({**given, "test": None, "val": None, "seed": 0}))
    splits = {k: len(v) for k, v in dataset.splits.items()}
    if given["json"]:
        about = {"name": dataset.name, "task": dataset.task, "splits": splits, "classes": dataset.classes}
        emit_json({**about, "notes": dataset.notes, "fingerprint": dataset.fingerprint})
        return
    print(f"{dataset.name}: {dataset.task}, {len(dataset):,} rows ({', '.join(f'{k} {n:,}' for k, n in splits.items())})")
    if dataset.classes:
        print(f"{len(dataset.classes)} classes: {', '.join(dataset.classes[:20])}{' ...' if len(dataset.classes) > 20 else ''}")
    for note in dataset.notes:
        print(f"· {note}")


def entries(part: str, json: bool) -> None:
    """The constructors of a part of the package, with their options and what they do."""
    found = catalogue(part)
    if json:
        emit_json([{"name": e.name, "options": e.signature, "summary": e.summary} for e in found])
        return
    shown = [[e.name, e.summary, e.signature] for e in found if not getattr(e.make, "writes", False)]
    table("", ["name", "what it does", "options"], shown)


def recipes(json: bool) -> None:
    """The package's recipes: what each claims and what was measured."""
    found = catalogue("recipes")
    if json:
        emit_json([{"name": e.name, "summary": e.summary} for e in found])
        return
    table("", ["name", "what it shows"], [[e.name, e.summary] for e in found])
    print("\ntrain one: sonde train --recipe NAME; any run's recipe.json is a recipe too")
