"""Pictures with labels from folders, from a table, or from arrays: each becomes one image data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sonde.core.errors import SondeError
from sonde.data.arrays import as_pixels
from sonde.data.dataset import Dataset, RowNames
from sonde.data.files import under
from sonde.data.folders import class_folders, file_column, index_files, lookup, walk
from sonde.data.frames import Frame, plain_text, split_names
from sonde.data.groups import Groups, infer_groups
from sonde.data.images import (
    ImageSchema,
    check_fit,
    check_memory,
    choose_size,
    headers,
    image_dataset,
    read_files,
    resampled,
)  # fmt: skip
from sonde.data.problems import Problem, bad_data, listed, quoted
from sonde.data.rowchecks import check_classes
from sonde.data.splits import SYNONYMS
from sonde.data.tables import table_dataset
from sonde.data.targets import Target, infer_target

if TYPE_CHECKING:
    from sonde.data.opening import Options


@dataclass
class Pictures:
    """Files on their way to a data set: row i is the file `paths[i]`, with target y[i] and group codes in `fields`."""

    paths: list[str]
    y: np.ndarray
    target: Target
    given: np.ndarray | None
    problems: list[Problem]
    notes: list[str]
    groups: tuple[Groups, ...] = ()
    fields: dict[str, np.ndarray] = field(default_factory=dict)


def picture_folder(root: Path, o: Options, name: str) -> Dataset:
    """A folder per class, perhaps under train, val and test."""
    if o.task not in (None, "classification"):
        raise SondeError(f"folders give classes, not a {o.task}", "give a table of labels with labels='labels.csv'")
    if o.sensitive:
        raise SondeError("folders of images have no sensitive columns", "give a table of labels that has them")
    listing = class_folders(root)
    target = Target("classification", ("class",), listing.classes)
    code = {label: i for i, label in enumerate(listing.classes)}
    y = np.array([code[label] for label in listing.labels], np.int64)
    notes = [f"images in a folder per class: {len(listing.classes)} classes: {listed(listing.classes)}", *listing.notes]
    pictures = Pictures(listing.paths, y, target, listing.given, listing.problems, notes)
    return _files(root, pictures, o, name, str(root))


def labelled_folder(root: Path, labels: str, read: Callable[[Path], Frame]) -> tuple[Frame, str]:
    """The table of labels of a folder and its column of file names; "" when it is merely beside the files.

    Raises:
        SondeError: no column names files, although `labels` was asked for by a path of its own.
    """
    path = Path(labels) if Path(labels).is_file() else root / labels
    frame = read(path)
    column = names_files(root, frame, True)
    if not column and path != root / labels:
        remedy = "give a column of file names, relative to the folder"
        raise SondeError(f"no column of {path.name} names files in {root}", remedy)
    return frame, column


def names_files(root: Path, frame: Frame, search: bool) -> str:
    """The column whose values are files under `root`, or "".

    Without `search`, the folder (which may be anyone's home) is only walked when a column looks like names of images.
    """
    heads = {s.name: plain_text(s.drop_nulls().head(100)).to_list() for s in frame.data if not s.dtype.is_nested()}
    if not search:
        heads = {name: values for name, values in heads.items() if any(map(_looks_like_image, values))}
    return file_column(heads, walk(root)[0]) if heads else ""


def _looks_like_image(value: str) -> bool:
    endings = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
    return value.lower().endswith(endings)


def labelled_dataset(
    root: Path, frame: Frame, column: str, given: np.ndarray | None, o: Options, name: str, path: str
) -> Dataset:
    """Pictures named by a column of a table, with targets and sensitive attributes from its other columns."""
    others = [c for c in frame.data.columns if c not in (column, o.split)]
    target = o.target
    if target is None:
        if len(others) != 1:
            raise SondeError(f"{name}: which column is to be predicted?", f"pass target=, one of {listed(others, 40)}")
        target = others[0]
    targets = split_names(target, others, "target")
    goal, note = infer_target(frame.data, targets, o.task, o.label_separator)
    y, wrong = goal.encode(frame.data)
    groups, notes = [], [f"images named by column {quoted(column)}", note]
    for sensitive in split_names(o.sensitive, others, "sensitive"):
        group, note = infer_groups(frame.data, sensitive)
        groups.append(group)
        notes.append(note)
    fields = {group.column: group.encode(frame.data)[0] for group in groups}
    files, _ = walk(root)
    index = index_files(files)
    problems = [*frame.problems, *(Problem(frame.where(row), reason) for row, reason in wrong)]
    paths: list[str] = []
    bad = {row for row, _ in wrong}
    for row, value in enumerate(plain_text(frame.data[column]).to_list()):
        found = lookup(index, value) if value else None
        if found is None:
            bad.add(row)
            problems.append(Problem(frame.where(row), _why_missing(root, value)))
        paths.append(found or "")
    keep = np.array([row not in bad for row in range(len(paths))], bool)
    unnamed = len(set(files) - set(paths)) - 1
    if unnamed > 0:
        notes.append(f"{unnamed} files that the table does not name are left out")
    rows = np.flatnonzero(keep)
    given = given[keep] if given is not None else None
    fields = {key: codes[keep] for key, codes in fields.items()}
    chosen = [paths[row] for row in rows.tolist()]
    pictures = Pictures(chosen, y[keep], goal, given, problems, notes, tuple(groups), fields)
    return _files(root, pictures, o, name, path)


def _why_missing(root: Path, value: str | None) -> str:
    if not value:
        return "names no file"
    try:
        found = under(root, value)
    except ValueError as error:
        return f"{quoted(value)} {error}"
    return f"{quoted(value)} {'is not a file that can be used' if found.exists() else 'is not in the folder'}"


def _files(root: Path, p: Pictures, o: Options, name: str, source: str) -> Dataset:
    """Headers, then pixels, of every file; then all problems at once, or the data set of the files that are good."""
    names, y, given, notes, problems = p.paths, p.y, p.given, list(p.notes), list(p.problems)
    full = [root / path for path in names]
    heads, found = headers(full, names)
    problems += found
    keep = np.array([head is not None for head in heads], bool)
    known = [head for head in heads if head is not None]
    if not known:
        if problems:
            raise bad_data(name, problems)
        raise SondeError(f"{name} holds no images", "give a folder of images")
    gray = sum(head.gray for head in known)
    channels = 1 if gray * 2 > len(known) else 3
    size, note = choose_size(o.size, {(head.height, head.width) for head in known})
    notes.append(note)
    kind = "gray" if channels == 1 else "RGB"
    notes.append(f"colour: {kind}" + (f" ({gray} of {len(known)} are gray)" if 0 < gray < len(known) else ""))
    schema = ImageSchema(channels, size, p.target, p.groups, check_fit(o.fit))
    check_memory(len(known), channels, size, o.limit, name)
    rows = np.flatnonzero(keep)
    chosen = rows.tolist()
    x, found = read_files([full[i] for i in chosen], [names[i] for i in chosen], schema)
    problems += found
    broken = {problem.where for problem in found}
    keep[rows] = np.array([names[i] not in broken for i in chosen], dtype=bool)
    lonely = check_classes(p.target, y, keep, names, given)
    problems += lonely
    if problems and o.on_bad == "fail":
        raise bad_data(name, problems)
    if problems:
        notes.append(f"left out {len(problems)} bad files or rows, e.g. {problems[0]}")
        if not keep.any():
            raise bad_data(name, problems, "mend them: nothing is left without them")
    x = x[keep[rows]] if not keep[rows].all() else x
    y, given = y[keep], given[keep] if given is not None else None
    kept = [names[int(i)] for i in np.flatnonzero(keep)]
    schema, y = _without_empty_classes(schema, y)
    check_classes(schema.target, y, np.ones(len(y), bool), kept, given, strict=True)
    return image_dataset(
        x, y, schema, name=name, names=kept, notes=notes, given=given,
        fields={k: v[keep] for k, v in p.fields.items()}, source=o.source(source), **o.splitting(),
    )  # fmt: skip


def _without_empty_classes(schema: ImageSchema, y: np.ndarray) -> tuple[ImageSchema, np.ndarray]:
    """Classes that only bad files had are gone, and the others are numbered anew."""
    if schema.task != "classification":
        return schema, y
    present = np.unique(y)
    if len(present) == len(schema.classes):
        return schema, y
    target = replace(schema.target, classes=tuple(schema.classes[i] for i in present))
    return replace(schema, target=target), np.searchsorted(present, y)


def array_dataset(
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]], o: Options, name: str, path: str | None
) -> Dataset:
    """Arrays x and y by split: pictures when x has 3 or 4 axes, a table of numbers when it has 2."""
    import polars as pl

    from sonde.data.frames import cleaned

    if o.sensitive and next(iter(parts.values()))[0].ndim != 2:
        raise SondeError("arrays of pictures have no sensitive columns", "give a table of labels that has them")
    shapes = {part[0].shape[1:] for part in parts.values()}
    if len(shapes) > 1:
        raise SondeError(f"{name}: the parts have different shapes {sorted(shapes)}", "give every part the same shape")
    x = np.concatenate([part[0] for part in parts.values()]) if len(parts) > 1 else next(iter(parts.values()))[0]
    given = np.concatenate([np.full(len(part[0]), SYNONYMS[split.lower()]) for split, part in parts.items()])
    official = given if len(parts) > 1 else None
    notes = (
        [f"official split: {', '.join(f'{s} {len(part[0])}' for s, part in parts.items())}"] if len(parts) > 1 else []
    )
    ys = [part[1].reshape(len(part[1]), -1) for part in parts.values()]
    if len({y.shape[1] for y in ys}) > 1:
        raise SondeError(f"{name}: the parts of y have different shapes", "give every part the same shape")
    y = np.concatenate([np.char.decode(part, "utf-8") if part.dtype.kind == "S" else part for part in ys])
    heads = ["y"] if y.shape[1] == 1 else [f"y{i}" for i in range(y.shape[1])]
    labels = cleaned(pl.DataFrame([pl.Series(head, y[:, i].copy()) for i, head in enumerate(heads)]))
    if x.ndim == 2:
        if x.dtype.kind not in "buif":
            raise SondeError(f"{name}: x is of type {x.dtype}", "give numbers")
        if x.shape[1] > 10_000:
            raise SondeError(f"{name}: x has {x.shape[1]:,} columns; at most 10,000 are read", "keep those that matter")
        columns = [pl.Series(f"x{i}", x[:, i].astype(np.float64)) for i in range(x.shape[1])]
        kinds = {f"x{i}": "numeric" for i in range(x.shape[1])} | dict(o.kinds)
        kinds = {k: v for k, v in kinds.items() if k in o.kinds or len(np.unique(x[:, int(k[1:])])) > 1}
        frame = Frame(cleaned(pl.DataFrame([*columns, *labels])), np.arange(len(x)))
        return table_dataset(
            frame, heads, name=name, sensitive=o.sensitive, kinds=kinds, task=o.task, on_bad=o.on_bad, given=official,
            source=o.source(path), **o.splitting(),
        )  # fmt: skip
    pixels = as_pixels(x, f"{name}: x")
    native = (pixels.shape[2], pixels.shape[3])
    size, note = choose_size(o.size, {native})
    channels = pixels.shape[1]
    check_memory(len(pixels), channels, size, o.limit, name, pixels.itemsize)
    pixels = resampled(pixels, channels, size, check_fit(o.fit))
    goal, why = infer_target(labels, heads, o.task, o.label_separator)
    codes, wrong = goal.encode(labels)
    rows: Sequence[str] = RowNames(range(len(codes)), "image ")
    keep = np.ones(len(codes), bool)
    keep[[row for row, _ in wrong]] = False
    problems = [Problem(rows[row], reason) for row, reason in wrong] + check_classes(goal, codes, keep, rows, official)
    if problems and (o.on_bad == "fail" or not keep.any()):
        raise bad_data(name, problems)
    notes += [why, note]
    schema = ImageSchema(channels, size, goal, (), check_fit(o.fit))
    if problems:
        notes.append(f"left out {len(problems)} bad rows, e.g. {problems[0]}")
        pixels, codes = pixels[keep], codes[keep]
        rows = RowNames(np.flatnonzero(keep).tolist(), "image ")
        official = official[keep] if official is not None else None
        schema, codes = _without_empty_classes(schema, codes)
        check_classes(schema.target, codes, np.ones(len(codes), bool), rows, official, strict=True)
    return image_dataset(
        pixels,
        codes,
        schema,
        name=name,
        names=rows,
        notes=notes,
        given=official,
        source=o.source(path),
        **o.splitting(),
    )
