"""Law: nothing is pickled, evaluated or printed behind the user's back; files stay short; promises carry dates."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import index

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "sonde").rglob("*.py"))
WRITTEN = sorted(path for folder in ("src", "tests", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
LONGEST = 450  # lines; a longer file holds two ideas

PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
# Reading or writing these formats runs code from the file, or can; the values are what stands in for them here.
UNSAFE = {
    "torch.save": "sonde.core's safetensors writer",
    "torch.load": "sonde.core's safetensors reader",
    "numpy.save": "sonde.core's safetensors writer",
    "yaml.load": "json",
    "polars.deserialize": "read_parquet",
    "pandas.read_pickle": "polars.read_parquet",
    "os.system": "subprocess.run with a list",
}


def each(path: Path) -> str:
    return str(path.relative_to(ROOT))


def dotted(node: ast.AST) -> str:
    """`torch.load` for that attribute, `eval` for that name, "" for anything computed; np and pd spelled out."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    short = {"np": "numpy", "pd": "pandas", "pl": "polars"}
    return ".".join([short.get(node.id, node.id), *reversed(parts)])


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def literal(call: ast.Call, keyword: str) -> object:
    """The constant given for `keyword`, or None."""
    return next((k.value.value for k in call.keywords if k.arg == keyword and isinstance(k.value, ast.Constant)), None)


@pytest.mark.parametrize("path", SOURCES, ids=each)
def test_nothing_is_pickled(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert not {name.partition(".")[0] for name in names} & PICKLING


@pytest.mark.parametrize("path", SOURCES, ids=each)
def test_no_file_or_text_can_run_code(path: Path) -> None:
    wrong = []
    for name, call in calls(path):
        where = f"{each(path)}:{call.lineno}"
        if name in RUNS_TEXT:
            wrong.append(f"{where}: {name}() runs text as code")
        elif name == "torch.load" and "convert" in path.stem:
            if literal(call, "weights_only") is not True:  # the one-way converter, in a process of its own
                wrong.append(f"{where}: torch.load without weights_only=True")
        elif name in UNSAFE:
            wrong.append(f"{where}: use {UNSAFE[name]} in place of {name}")
        elif name == "numpy.load" and literal(call, "allow_pickle") is not False:
            wrong.append(f"{where}: say allow_pickle=False")
        elif literal(call, "shell") is True:
            wrong.append(f"{where}: shell=True runs text as a command")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", SOURCES, ids=each)
def test_only_the_interfaces_print(path: Path) -> None:
    part = path.relative_to(ROOT / "src" / "sonde").parts[0].removesuffix(".py")
    if part in {"cli", "web"}:
        return
    assert not [f"{each(path)}:{call.lineno}" for name, call in calls(path) if name == "print"]


@pytest.mark.parametrize("path", WRITTEN, ids=each)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST, f"{each(path)} holds more than one idea"


@pytest.mark.parametrize("path", WRITTEN, ids=each)
def test_what_is_put_off_says_until_when(path: Path) -> None:
    words = "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"])
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if re.search(rf"\b({words})\b", line):
            assert re.search(r"20\d\d-\d\d-\d\d", line), f"{each(path)}:{number}: give it a date (YYYY-MM-DD)"


def test_every_dependency_is_pinned() -> None:
    """Of the core, the tests and the site; what those need in turn is pinned by the same run of `make constraints`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["dev"], *extras["docs"]]
    names = {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in asked}
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    assert names <= pinned, f"run `make constraints`: {sorted(names - pinned)}"


def test_every_entry_term_named_by_a_module_exists() -> None:
    known = {term for chapter in index.chapters() for term in chapter.terms}
    unknown = [f"{found.path}: {term!r}" for found in index.built() for term in found.terms if term not in known]
    assert not unknown, "not in docs/entry.toml: " + "; ".join(unknown)


def test_the_index_is_up_to_date() -> None:
    assert index.PAGE.read_text(encoding="utf-8") == index.page(), "run `make index`"
