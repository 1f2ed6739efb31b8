"""`open_like`: new data with known answers, read exactly as a model's schema reads it, to judge the model on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde.core.errors import SondeError
from sonde.data.dataset import Dataset, RowNames
from sonde.data.files import refuse_pickled
from sonde.data.frames import read_frame
from sonde.data.images import ImageSchema
from sonde.data.problems import Problem, bad_data, closest, quoted
from sonde.data.tables import TableSchema


def open_like(schema: ImageSchema | TableSchema, data: Any, *, on_bad: str = "fail", name: str = "") -> Dataset:
    """Rows with answers, read by `schema`; every row is a test row, and classes keep the order the model knows.

    data: for a table anything that `schema.encode` takes, with the target and sensitive columns in it; for images a
        folder per class (its test folder where it is split), an .npz file, or a pair of arrays (x, y).
    on_bad: "fail" lists every bad row or file; "skip" leaves them out and notes it.

    Raises:
        BadData: rows that cannot be read, or whose answer the model has no output for.
        SondeError: a missing column; another kind of data.
    """
    label = name or (Path(data).name if isinstance(data, str | Path) else "data")
    if isinstance(data, str | Path):
        refuse_pickled(Path(data))
        if not Path(data).exists():
            raise SondeError(f"{quoted(data)} does not exist", "check the path")
    read = _table if isinstance(schema, TableSchema) else _images
    x, y, fields, names, where, found = read(schema, data)  # type: ignore[arg-type]
    bad = sorted({row for row, _ in where})
    problems = [*found, *(Problem(names[row], reason) for row, reason in where)]
    if problems and (on_bad == "fail" or len(bad) == len(y)):
        raise bad_data(label, problems)
    notes: tuple[str, ...] = ()
    if problems:
        notes = (f"left out {len(problems)} bad rows or files, e.g. {problems[0]}",)
        keep = np.setdiff1d(np.arange(len(y)), bad)
        index = torch.from_numpy(keep)
        x = {k: v[index] for k, v in x.items()} if isinstance(x, dict) else x[index]
        y, fields = y[keep], {k: v[keep] for k, v in fields.items()}
        names = [names[int(i)] for i in keep]
    if not len(y):
        raise SondeError(f"{label} has no rows", "give rows to judge")
    nothing = torch.zeros(0, dtype=torch.int64)
    splits = {"train": nothing, "val": nothing, "test": torch.arange(len(y))}
    codes = {k: torch.from_numpy(v) for k, v in fields.items()}
    return Dataset(label, schema.task, schema, x, torch.from_numpy(y), splits, codes, names, notes)


def _table(schema: TableSchema, data: Any) -> Any:
    frame = read_frame(data, missing=schema.missing)
    x, where = schema.encode_frame(frame.data)
    y, wrong = schema.target.encode(frame.data)
    fields = {}
    for group in schema.fields:
        fields[group.column], strange = group.encode(frame.data)
        wrong += strange
    return x, y, fields, RowNames(frame.numbers), [*where, *wrong], frame.problems


def _images(schema: ImageSchema, data: Any) -> Any:
    from sonde.data.arrays import npz_parts, read_npz
    from sonde.data.folders import class_folders
    from sonde.data.images import read_files
    from sonde.data.splits import TEST

    if schema.fields:
        raise SondeError(
            "the model's groups come from a table of labels", "give the pictures with that table, by open()"
        )
    if isinstance(data, str | Path) and Path(data).is_dir():
        listing = class_folders(Path(data))
        rows = range(len(listing.paths))
        if listing.given is not None and (listing.given == TEST).any():
            rows = np.flatnonzero(listing.given == TEST).tolist()  # type: ignore[assignment]
        paths, labels = [listing.paths[i] for i in rows], [listing.labels[i] for i in rows]
        code = {name: i for i, name in enumerate(schema.classes)}
        y = np.array([code.get(label, -1) for label in labels], np.int64)
        array, broken = read_files([Path(data) / path for path in paths], paths, schema)
        place = {path: i for i, path in enumerate(paths)}
        where = [(place[problem.where], problem.reason) for problem in broken]
        for row in np.flatnonzero(y < 0).tolist():
            near = closest(labels[row], schema.classes)
            where.append((row, f"{quoted(labels[row])} is not a class that was seen in training{near}"))
        return torch.from_numpy(array), y, {}, paths, where, listing.problems
    if isinstance(data, str | Path):
        if Path(data).suffix.lower() != ".npz":
            raise SondeError(f"{quoted(data)} is neither a folder per class nor an .npz file", "give one of these")
        parts = npz_parts(read_npz(Path(data)), Path(data).name)
        data = parts.get("test", parts["train"])
    if not (isinstance(data, tuple) and len(data) == 2):
        raise SondeError(f"a {type(data).__name__} is no labelled picture data", "give a folder per class, or (x, y)")
    import polars as pl

    x, raw = (part.detach().cpu().numpy() if isinstance(part, Tensor) else np.asarray(part) for part in data)
    columns = raw.reshape(len(raw), -1)
    if columns.shape[1] != len(schema.target.columns) or len(x) != len(raw):
        raise SondeError(f"x has shape {x.shape} and y {raw.shape}", "give one row of y for every picture")
    if columns.dtype.kind == "S":
        columns = np.char.decode(columns, "utf-8")
    frame = pl.DataFrame([pl.Series(c, columns[:, i].copy()) for i, c in enumerate(schema.target.columns)])
    y, where = schema.target.encode(frame)
    return schema.encode(x), y, {}, RowNames(range(len(y)), "image "), where, []
