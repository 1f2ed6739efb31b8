"""`sonde predict` and `sonde evaluate`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonde.bundle import Bundle
from sonde.cli.text import emit_json, interval, measured, say, table
from sonde.cli.words import Misused
from sonde.core import Recipe, SondeError
from sonde.core.state import disk_error
from sonde.results import SHARES, label_of, measure, predictions
from sonde.runs import RunFolder

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def predict(run: str, inputs: str, out: Path | None, output_dir: Path, json: bool) -> None:
    """Answer for the rows or images at `inputs`."""
    if out is not None and out.exists():
        raise SondeError(f"{out} is there already", "give another --out; nothing is overwritten")
    bundle = _bundle(RunFolder.find(run, output_dir))
    path = Path(inputs).expanduser()
    if not path.exists():
        raise SondeError(f"there is nothing at {inputs}", "give a file or folder like the one it was trained on")
    raw, names = bundle.schema.encode_named(path)
    columns, rows = answers(bundle, names, bundle.raw(raw))
    if bundle.thresholds is not None:
        decisions = bundle.decide(path)
        rows = [[row[0], answer, *row[2:]] for row, answer in zip(rows, decisions.answers, strict=True)]
        say(f"· by thresholds for each {bundle.group}: {decisions}")
    if json:
        emit_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    if out is None:
        _write(sys.stdout, columns, rows)
        return
    try:
        with open(out, "x", encoding="utf-8", newline="") as file:
            _write(file, columns, rows)
    except OSError as error:
        raise disk_error(error, f"writing {out}") from None
    say(f"{len(rows):,} answers in {out}")


def answers(bundle: Bundle, names: Sequence[str], values: Any) -> tuple[list[str], list[list[Any]]]:
    """The header and a row for each input: its name, the answer in words, and every probability or value."""
    if not bundle.classes:
        return ["name", *bundle.schema.outputs], [[n, *v] for n, v in zip(names, values.tolist(), strict=True)]
    columns = ["name", "answer", *(f"p({c})" for c in bundle.classes)]
    decoded = bundle.schema.decode(values)
    rows = [[n, _answer(a), *v] for n, a, v in zip(names, decoded, values.tolist(), strict=True)]
    return columns, rows


def _write(file: Any, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    writer.writerows([_cell(v) for v in row] for row in rows)


def _answer(answer: Any) -> str:
    return ", ".join(map(str, answer)) if isinstance(answer, tuple | list) else str(answer)


def _cell(value: Any) -> Any:
    """A number to the precision it has; a text that a spreadsheet would run as a formula, quoted into plain text."""
    if isinstance(value, float):
        return f"{value:.7g}"
    return "'" + value if isinstance(value, str) and value.startswith(FORMULA) else value


def _bundle(folder: RunFolder) -> Bundle:
    if not folder.model.is_dir():
        raise SondeError(f"run {folder.name} has no model yet", f"finish it: sonde resume {folder.path}")
    return Bundle.load(folder.model)


def evaluate(run: str, data: str | None, split: str, on_bad: str, output_dir: Path, json: bool) -> None:
    """Measure a run's model on a split of its own data, or on all rows of other data."""
    if split not in ("train", "val", "test"):
        raise Misused(f"there is no split {split!r}", "choose train, val or test")
    folder = RunFolder.find(run, output_dir)
    bundle = _bundle(folder)
    if data is None:
        recipe = Recipe.from_data(folder.read("recipe.json"))
        if recipe.data is None:
            raise SondeError(
                f"run {folder.name} was trained on data in memory", "give the data: sonde evaluate RUN DATA"
            )
        dataset = recipe.data()
        if not len(dataset.splits[split]):
            raise SondeError(f"the data of run {folder.name} has no {split} rows", "choose another --split")
    else:
        from sonde.data import open_like

        dataset, split = open_like(bundle.schema, Path(data).expanduser(), on_bad=on_bad), "test"
        for note in dataset.notes:
            say(f"· {note}")
    if bundle.thresholds is not None:
        raise SondeError(
            f"{folder.name} decides by {bundle.group!r}, and evaluate measures answers without groups",
            "measure its decisions in Python: sonde.fair_decisions.measured",
        )
    guess, truth = predictions(bundle, dataset, split)
    found = measure(bundle, guess, truth, split)
    if json:
        emit_json([m.to_data() for m in found])
        return
    rows = []
    for m in found:
        percent = m.name.rpartition("/")[2] in SHARES
        rows.append([label_of(m), measured(m.value, None, percent), interval(m.interval, percent), f"{m.n:,}"])
    where = f"{split} rows" if data is None else f"{dataset.name}"
    table([f"{folder.name} on {where}", "value", "95 % interval", "rows"], rows, numeric=(1, 2, 3))
