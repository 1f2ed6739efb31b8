"""`sonde predict` and `sonde evaluate`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonde.bundle import Bundle
from sonde.cli.text import emit_json, measured, say, table
from sonde.core import Recipe, SondeError
from sonde.results import SHARES, measure, predictions
from sonde.runs import RunFolder
from sonde.training import opened

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def predict(run: str, inputs: str, out: Path | None, output_dir: Path, json: bool) -> None:
    """Answer for the rows or images at `inputs`."""
    bundle = Bundle.load(RunFolder.find(run, output_dir).model)
    names, raw = _inputs(bundle, inputs)
    values = bundle.raw(raw)
    columns = [f"p({c})" for c in bundle.classes] or list(bundle.schema.outputs)
    answers = bundle.schema.decode(values) if bundle.classes else [None] * len(values)
    rows = [
        {"name": n, **({"answer": _answer(a)} if bundle.classes else {}), **dict(zip(columns, v, strict=True))}
        for n, a, v in zip(names, answers, values.tolist(), strict=True)
    ]
    if json:
        emit_json(rows)
        return
    if out is not None and out.exists():
        raise SondeError(f"{out} is there already", "give another --out; nothing is overwritten")
    file = sys.stdout if out is None else open(out, "w", encoding="utf-8", newline="")
    try:
        writer = csv.writer(file)
        writer.writerow(map(_cell, rows[0]))
        writer.writerows([_cell(v) for v in row.values()] for row in rows)
    finally:
        if out is not None:
            file.close()
            say(f"{len(rows):,} answers in {out}")


def _inputs(bundle: Bundle, inputs: str) -> tuple[Sequence[str], Any]:
    path = Path(inputs)
    if not path.exists():
        raise SondeError(f"there is nothing at {inputs}", "give a file or folder like the one it was trained on")
    x, names = bundle.schema.encode_named(path)
    return names, x


def _answer(answer: Any) -> str:
    return ", ".join(map(str, answer)) if isinstance(answer, tuple | list) else str(answer)


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula is quoted into plain text."""
    return "'" + value if isinstance(value, str) and value.startswith(FORMULA) else value


def evaluate(run: str, data: str | None, split: str, output_dir: Path, json: bool) -> None:
    """Measure a run's model on a split of its own data, or on all rows of other data."""
    folder = RunFolder.find(run, output_dir)
    bundle = Bundle.load(folder.model)
    if data is None:
        recipe = Recipe.from_data(folder.read("recipe.json"))
        if recipe.data is None:
            raise SondeError(f"run {folder.name} was trained on data in memory", "give the data: sonde evaluate RUN DATA")
        dataset = recipe.data()
        if split not in dataset.splits or not len(dataset.splits[split]):
            raise SondeError(f"there is no split {split!r} with rows", f"choose one of {', '.join(dataset.splits)}")
        guess, truth = predictions(bundle, dataset, split)
    else:
        x, y = _labelled(bundle, data)
        guess, truth, split = bundle.raw(x), y, "given"
    found = measure(bundle.task, guess, truth, bundle.classes, split=split)
    if json:
        emit_json([m.to_data() for m in found])
        return
    rows = [[m.name, measured(m.value, m.interval, m.name.rpartition("/")[2] in SHARES), f"{m.n:,}", m.source] for m in found]
    table(f"{folder.name} on {split}", ["measure", "value (95 % interval)", "n", "source"], rows, numeric=(2,))


def _labelled(bundle: Bundle, data: str) -> tuple[Any, Any]:
    import torch

    if bundle.schema.kind == "table":
        frame = bundle.schema.read(data)
        y, wrong = bundle.schema.target.encode(frame.data)
        if wrong:
            row, reason = wrong[0]
            raise SondeError(f"{frame.where(row)} of {data}: {reason}", "mend it, or leave those rows out")
        truth = torch.as_tensor(y)
        x, _ = bundle.schema.encode_frame(frame.data)
        return x, truth if bundle.task == "classification" else truth.float()
    dataset = opened(data)
    if tuple(dataset.classes) != bundle.classes:
        raise SondeError(f"{data} has other classes than the model", f"it knows {', '.join(bundle.classes[:12])}")
    raw = dataset.batch(torch.arange(len(dataset))).x
    return raw, dataset.y
