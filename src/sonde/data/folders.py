"""Folders of images: a folder per class, perhaps under train, val and test; or a table of labels beside the files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sonde.core.errors import SondeError
from sonde.data.files import inside as within
from sonde.data.files import unreadable
from sonde.data.problems import Problem, listed
from sonde.data.splits import SYNONYMS

MAX_FILES = 10_000_000
MAX_DEPTH = 16
IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # what systems leave behind, besides names with a leading dot


@dataclass
class Listing:
    """Files with the class each folder gives them. paths: relative to the root, with '/'; given: splits or None."""

    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    given: np.ndarray | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def ignored(name: str) -> bool:
    """Whether a name is one that systems leave behind."""
    return name.startswith(".") or name.lower() in IGNORED


def walk(root: Path, inside: str = "") -> tuple[list[str], list[Problem]]:
    """Files under `root`/`inside`, sorted, relative to `root`; links to folders or out of `root` are problems."""
    files: list[str] = []
    problems: list[Problem] = []

    def visit(folder: str, depth: int) -> None:
        try:
            with os.scandir(root / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise unreadable(root / folder, error) from error
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if ignored(entry.name):
                continue
            if entry.is_symlink():
                if not within(entry.path, root):
                    problems.append(Problem(name, "is a link that leaves the data folder"))
                    continue
                if os.path.isdir(entry.path):
                    problems.append(Problem(name, "is a link to a folder, which is not followed"))
                    continue
            if entry.is_dir():
                if depth >= MAX_DEPTH:
                    problems.append(Problem(name, f"is nested more than {MAX_DEPTH} folders deep"))
                else:
                    visit(name, depth + 1)
            elif entry.is_file():
                files.append(name)
            else:
                problems.append(Problem(name, "is not a regular file"))
        if len(files) > MAX_FILES:
            raise SondeError(f"{root} holds more than {MAX_FILES:,} files", "open a part of it")

    visit(inside, 0)
    return files, problems


def subfolders(root: Path) -> list[str]:
    """Names of the folders directly in `root`, sorted, without those that systems leave behind."""
    try:
        with os.scandir(root) as found:
            return sorted(e.name for e in found if not ignored(e.name) and e.is_dir(follow_symlinks=False))
    except OSError as error:
        raise unreadable(root, error) from error


def class_folders(root: Path) -> Listing:
    """The files of a folder per class; train, val and test folders above them are honoured.

    Raises:
        SondeError: no class folders; a class without files; a class in test that is not in train.
    """
    top = subfolders(root)
    parts = {name: SYNONYMS[name.lower()] for name in top if name.lower() in SYNONYMS}
    split = "train" in {name.lower() for name in parts} | {"train" for n in parts if SYNONYMS[n.lower()] == 0}
    listing = Listing()
    if split and subfolders(root / next(name for name, part in parts.items() if part == 0)):
        given: list[int] = []
        for name, part in parts.items():
            before = len(listing.paths)
            inner = subfolders(root / name)
            loose, _ = walk(root, name) if not inner else ([], [])
            if not inner:
                listing.notes.append(f"{name}/ has no class folders: its {len(loose)} files are left out")
            for label in inner:
                _add(listing, root, f"{name}/{label}", label)
            given += [part] * (len(listing.paths) - before)
        listing.given = np.array(given)
        others = [name for name in top if name not in parts]
        if others:
            listing.notes.append(f"left out the folders {listed(others)} beside {listed(list(parts))}")
        listing.notes.append(f"split as the folders {listed(list(parts))} say")
    else:
        for label in top:
            _add(listing, root, label, label)
    listing.classes = tuple(sorted(set(listing.labels), key=_natural))
    if not listing.paths and not listing.problems:
        loose = [name for name in walk(root)[0]]
        if loose:
            raise SondeError(
                f"{root} holds {len(loose)} files but no folder per class, so nothing says what they show",
                "sort them into one folder a class, or give a table of labels with labels='labels.csv'",
            )
        raise SondeError(f"{root} holds no files", "give a folder with one folder of images a class")
    return listing


def _add(listing: Listing, root: Path, folder: str, label: str) -> None:
    files, problems = walk(root, folder)
    if not files and not problems:
        listing.problems.append(Problem(f"{folder}/", "holds no files, so the class has no image"))
    listing.paths += files
    listing.labels += [label] * len(files)
    listing.problems += problems


def _natural(name: str) -> tuple[int, float, str]:
    """Sorts numbers as numbers, before words."""
    return (0, float(name), name) if name.isascii() and name.isdigit() and len(name) < 300 else (1, 0.0, name)


def file_column(heads: Mapping[str, Sequence[str]], files: Sequence[str]) -> str:
    """Which column names the files, given the first values of each: the one most of which are found; "" if none."""
    index = index_files(files)
    best, most = "", 0.5
    for name, values in heads.items():
        share = sum(lookup(index, value) is not None for value in values) / max(1, len(values))
        if share > most:
            best, most = name, share
    return best


def index_files(files: Sequence[str]) -> dict[str, str]:
    """Files by path, by name and by name without ending; an ambiguous name finds none."""
    index: dict[str, str | None] = {}
    for path in files:
        base = path.rpartition("/")[2]
        stem = base.rpartition(".")[0]
        for key in {base, stem, path.rpartition(".")[0]} - {""}:
            index[key] = path if index.get(key, path) == path else None
    index |= dict(zip(files, files, strict=True))
    return {key: path for key, path in index.items() if path is not None}


def lookup(index: dict[str, str], value: str) -> str | None:
    """The file that a cell means, or None."""
    return index.get(value.replace("\\", "/").removeprefix("./"))
