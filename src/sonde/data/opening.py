"""`open`: any data the user has, found out, checked whole, typed and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sonde.core.errors import SondeError
from sonde.data.dataset import Dataset
from sonde.data.files import LIMIT, refuse_pickled, unreadable
from sonde.data.frames import TABLES, Frame, find_column, read_frame
from sonde.data.images import ImageSchema
from sonde.data.problems import closest, listed, quoted
from sonde.data.splits import SYNONYMS
from sonde.data.tables import TableSchema, table_dataset

ON_BAD = ("fail", "skip")


@dataclass(frozen=True)
class Options:
    """What `open` was asked for, for the readers of each kind of data; see there for what each means."""

    target: str | tuple[str, ...] | None
    sensitive: str | tuple[str, ...]
    kinds: Mapping[str, str]
    task: str | None
    on_bad: str
    size: int | tuple[int, int] | None
    fit: str
    labels: str
    split: str
    test: float
    val: float
    seed: int
    encoding: str
    separator: str
    header: bool
    missing: tuple[str, ...]
    label_separator: str
    limit: int
    name: str

    def splitting(self) -> dict[str, Any]:
        """The arguments of `splits.make`."""
        return {"test": self.test, "val": self.val, "seed": self.seed}

    def source(self, path: str | None) -> dict[str, Any]:
        """What `reopen` needs; the path as it was given, None for data that only lived in memory."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {"call": "open", "arguments": {"data": path, **plain}}


def open(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    sensitive: str | Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    task: str | None = None,
    on_bad: str = "fail",
    size: int | Sequence[int] | None = None,
    fit: str = "crop",
    labels: str = "",
    split: str = "",
    test: float = 0.2,
    val: float = 0.1,
    seed: int = 0,
    encoding: str = "utf-8",
    separator: str = "",
    header: bool = True,
    missing: Sequence[str] = (),
    label_separator: str = "",
    limit: int = LIMIT,
    name: str = "",
) -> Dataset:
    """The user's own data as a data set: what it is, the kind of every column and the task are inferred and noted.

    data: a folder of images (a folder per class, perhaps under train/val/test; or with a table of labels), a CSV, TSV
        or Parquet file, an .npz file (x and y, or x_train …), an idx file or folder, a pandas or polars frame, a list
        of dicts, or a pair of arrays (x, y).
    target: the column(s) to predict: "income", or "a,b,c" for several. Images in class folders need none.
    sensitive: column(s) kept as `fields`, e.g. "sex,race". They stay inputs unless kinds={"sex": "drop"}.
    kinds: what columns are, where the inference errs: "numeric", "categorical", "boolean", "date",
        "date:%d/%m/%Y" or "drop".
    task: "classification", "multilabel" or "regression", where the inference errs.
    on_bad: "fail" lists every bad file and row; "skip" leaves them out and notes it.
    size: pixels of the images, 64 or (height, width); fit: "crop" or "pad" to that shape.
    labels: the table of labels of a folder of images, where it is not the only table in it.
    split: the column that says train, val or test.
    test: fraction of rows held out; val: fraction of the rest kept for choosing; seed: of the split. Splits that come
        with the data are honoured.
    encoding, separator, header: of a text table; separator "" finds it.
    missing: cells that stand for no value, beside "", NA, NaN, null, None and ?.
    label_separator: what stands between several labels in one cell.
    limit: bytes that the data may take in memory.

    Raises:
        BadData: bad files or rows; `found` lists them all.
        Refused: a kind of file that can run code when it is read.
        SondeError: anything else that is wrong, with what to do.
    """
    if on_bad not in ON_BAD:
        raise SondeError(
            f"on_bad={quoted(on_bad)} is not known{closest(on_bad, ON_BAD)}", f"choose from {listed(ON_BAD)}"
        )
    options = Options(
        target if target is None or isinstance(target, str) else tuple(target),
        sensitive if isinstance(sensitive, str) else tuple(sensitive),
        dict(kinds or {}), task, on_bad,
        size if size is None or isinstance(size, int) else tuple(size),  # type: ignore[arg-type]
        fit, labels, split, test, val, seed, encoding, separator, header, tuple(missing), label_separator, limit, name,
    )  # fmt: skip
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, np.ndarray | Tensor) for part in data):
        x, y = (part.detach().cpu().numpy() if isinstance(part, Tensor) else part for part in data)
        return _arrays({"train": (x, y)}, options, name or "arrays", None)
    if not isinstance(data, str | Path):
        return _table(_frame(data, options), options, name or "frame", None)
    path = Path(data).expanduser()  # a run's recipe says ~ for the home folder
    try:
        return _path(path, options, name or path.name or str(path), str(data))
    except OSError as error:
        raise unreadable(path, error) from error


def _path(path: Path, options: Options, name: str, given: str) -> Dataset:
    if not path.exists():
        raise SondeError(f"{quoted(path)} does not exist", _did_you_mean(path))
    if path.is_dir():
        return _folder(path, options, name)
    refuse_pickled(path)
    plain = path.name.lower().removesuffix(".gz")
    if plain.endswith(".npz"):
        from sonde.data.arrays import npz_parts, read_npz

        return _arrays(npz_parts(read_npz(path, options.limit), path.name), options, name, given)
    if plain.endswith("-ubyte") or plain.endswith((".idx1", ".idx3", ".idx")):
        return _idx({"train": path}, options, name, given)
    frame = _frame(path, options)
    from sonde.data.labelled import names_files

    column = names_files(path.parent, frame, False)
    if column:
        return _labelled(path.parent, frame, column, options, name, given)
    return _table(frame, options, name, given)


def _frame(data: Any, o: Options) -> Frame:
    return read_frame(
        data, encoding=o.encoding, separator=o.separator, header=o.header, missing=o.missing, limit=o.limit
    )


def _did_you_mean(path: Path) -> str:
    from sonde.data.catalogue import SETS

    if len(path.parts) == 1 and path.name.lower() in {entry.name for entry in SETS}:
        return f"it is a named set: use sonde.data.load({path.name.lower()!r})"
    try:
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        near = []
    return f"check the path{closest(path.name, near)}"


def _table(frame: Frame, o: Options, name: str, path: str | None) -> Dataset:
    columns = frame.data.columns
    if o.target is None:
        raise SondeError(f"{name}: which column is to be predicted?", f"pass target=, one of {listed(columns, 40)}")
    given, drop = given_splits(frame, o.split)
    return table_dataset(
        frame,
        o.target,
        name=name,
        sensitive=o.sensitive,
        kinds=o.kinds,
        task=o.task,
        on_bad=o.on_bad,
        missing=o.missing,
        separator=o.label_separator,
        given=given,
        drop=drop,
        source=o.source(path),
        **o.splitting(),
    )


def given_splits(frame: Frame, column: str) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The splits that a column says (N,), and the column to drop; None and () without such a column."""
    if not column:
        return None, ()
    column = find_column(column, frame.data.columns, "split")
    values = frame.data[column].cast(str).str.to_lowercase().to_list()
    for i, value in enumerate(values):
        if value not in SYNONYMS:
            raise SondeError(
                f"{frame.where(i)}: {quoted(value)} in split column {quoted(column)} is no split",
                "write train, val or test",
            )
    return np.array([SYNONYMS[value] for value in values]), (column,)


def _folder(root: Path, o: Options, name: str) -> Dataset:
    from sonde.data.arrays import idx_folder
    from sonde.data.labelled import labelled_folder, picture_folder

    pairs = idx_folder(root)
    if pairs:
        return _idx({split: images for split, (images, _) in pairs.items()}, o, name, str(root))
    tables = sorted(p.name for p in root.iterdir() if p.is_file() and p.suffix.lower() in TABLES and p.suffix != ".txt")
    if o.labels or len(tables) == 1:
        frame, column = labelled_folder(root, o.labels or tables[0], lambda path: _frame(path, o))
        if column:
            return _labelled(root, frame, column, o, name, str(root))
    if o.target is not None:
        what = f"none of its tables ({listed(tables)}) is chosen" if tables else "it holds no table of labels"
        cause = f"{root}: target={quoted(o.target)} needs a table of labels, but {what}"
        raise SondeError(cause, "pass labels='labels.csv'")
    return picture_folder(root, o, name)


def _labelled(root: Path, frame: Frame, column: str, o: Options, name: str, path: str) -> Dataset:
    from sonde.data.labelled import labelled_dataset

    given, _ = given_splits(frame, o.split)
    return labelled_dataset(root, frame, column, given, o, name, path)


def _idx(paths: Mapping[str, Path], o: Options, name: str, path: str) -> Dataset:
    from sonde.data.arrays import idx_pair, read_idx

    parts = {}
    for split, file in paths.items():
        images, labels = idx_pair(file)
        x, y = read_idx(images, o.limit), read_idx(labels, o.limit)
        if x.ndim < 3 or y.ndim != 1 or len(x) != len(y):
            raise SondeError(
                f"{images.name} has shape {x.shape} and {labels.name} {y.shape}", "give one label for every picture"
            )
        parts[split] = (x, y)
    return _arrays(parts, o, name, path)


def _arrays(parts: Mapping[str, tuple[np.ndarray, np.ndarray]], o: Options, name: str, path: str | None) -> Dataset:
    from sonde.data.labelled import array_dataset

    unknown = [split for split in parts if split.lower() not in SYNONYMS]
    if unknown:
        raise SondeError(f"{name}: parts {listed(unknown)} are no splits", "name them train, val and test")
    ordered = sorted(parts.items(), key=lambda part: SYNONYMS[part[0].lower()])  # training rows first
    return array_dataset(dict(ordered), o, name, path)


def reopen(source: Mapping[str, Any], download: bool = False) -> Dataset:
    """Open a data set again from what its `source` says.

    Raises:
        SondeError: the data only lived in memory, or can no longer be opened.
    """
    from sonde.data.named import load

    call, arguments = source.get("call"), dict(source.get("arguments") or {})
    if call == "several":
        from sonde.data.several import several

        return several([reopen(own, download) for own in arguments["datasets"]])
    if call == "load":
        return load(arguments.pop("name"), **arguments, download=download)
    if call != "open" or arguments.get("data") is None:
        raise SondeError("this data came from memory, so it cannot be opened again from a file", "pass the data itself")
    return open(arguments.pop("data"), arguments.pop("target"), **arguments)


def schema_from_data(data: object) -> ImageSchema | TableSchema:
    """The schema that `to_data` wrote, of either kind; nothing in it is trusted.

    Raises:
        SondeError: it is not such a schema.
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    return ImageSchema.from_data(data) if kind == "image" else TableSchema.from_data(data)
