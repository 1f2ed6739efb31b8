"""Law: who may import whom, what is loaded when, and how long that takes."""

from __future__ import annotations

import ast
import os
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
MODULES = sorted((SOURCE / "sonde").rglob("*.py"))

# What each part of the package may import of the package. Parts that are not listed (recipes, train.py, bundle.py,
# estimators.py ...) are where things are put together: they may import all parts but the interfaces.
INTERFACES = {"cli", "web"}
LEARNING = {"core", "nets", "optim", "losses", "data", "per_record", "privacy", "attacks", "corruptions"}
ALLOWED = {
    "core": {"core"},
    "bundle": {"core", "data", "fairness", "bundle"},  # so low that a method may read a trained model: a teacher
    "nets": {"core", "nets"},
    "optim": {"core", "optim"},
    "losses": {"core", "losses"},
    "attacks": {"core", "attacks"},
    "corruptions": {"core", "corruptions"},
    "per_record": {"core", "per_record"},
    "privacy": {"core", "privacy"},
    "fairness": {"core", "fairness"},
    "calibration": {"core", "calibration"},
    "data": {"core", "data"},
    "objectives": LEARNING | {"objectives"},
    "methods": LEARNING | {"methods", "bundle"},
    "audits": LEARNING | {"audits", "fairness", "calibration", "drawing"},
    "drawing": {"drawing"},
    "report": {"core", "data", "report", "drawing"},
}

UI = {"typer", "rich", "click", "fastapi", "uvicorn", "starlette"}
LIGHT = {"torch", "numpy"}  # what any part but the core may import at the top of a file: the rest only where it is used
ESTIMATORS = LIGHT | {"sklearn"}  # they subclass scikit-learn's, and are loaded when asked for
DECLARED = LIGHT | {"safetensors", "typer", "rich", "polars", "PIL", "sklearn", "matplotlib", "jinja2"}
DECLARED |= {"scipy", "threadpoolctl", "markupsafe"}  # scikit-learn's and jinja2's own, and part of their interface
EXTRAS = {
    "torchmetrics", "soundfile", "tokenizers", "transformers", "huggingface_hub", "fastapi", "uvicorn", "onnx",
    "onnxruntime", "onnxscript", "gymnasium", "flwr", "optuna", "tensorboard", "mlflow", "codecarbon", "dp_accounting",
    "rdkit", "pandas", "pyarrow",
}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One imported module, where it stands, and whether importing the file runs it."""

    name: str
    line: int
    runs: bool


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file. One in a function runs later; one under TYPE_CHECKING never does."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = path.relative_to(SOURCE).with_suffix("").parts
    package = module if path.name == "__init__.py" else module[:-1]
    if path.name == "__init__.py":
        package = package[:-1]

    def visit(node: ast.AST, runs: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, runs)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            name = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:  # `from sonde import data` imports sonde.data
                yield Import(f"{name}.{alias.name}" if name == "sonde" else name, node.lineno, runs)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from visit(child, False)
            for child in node.orelse:
                yield from visit(child, runs)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, runs and not inside)

    yield from visit(tree, True)


def part(path: Path) -> str:
    """`core` for src/sonde/core/run.py, `train` for src/sonde/train.py, `` for src/sonde/__init__.py."""
    first = path.relative_to(SOURCE / "sonde").parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def each(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", MODULES, ids=each)
def test_a_part_imports_only_the_parts_below_it(path: Path) -> None:
    own = part(path)
    wrong = []
    for found in imports(path):
        top, _, rest = found.name.partition(".")
        if top != "sonde":
            continue
        other = rest.split(".")[0]
        if own in ALLOWED:
            fine = other in ALLOWED[own]
        else:
            fine = own in INTERFACES | {"__main__"} or other not in INTERFACES
        if not fine and not (own == "" and not found.runs):  # the top of the package names everything, lazily
            wrong.append(f"{each(path)}:{found.line}: {own or 'sonde'} may not import {found.name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", MODULES, ids=each)
def test_third_party_packages_are_declared_and_loaded_only_where_used(path: Path) -> None:
    own = part(path)
    wrong = []
    for found in imports(path):
        top = found.name.partition(".")[0]
        if top == "sonde" or top in sys.stdlib_module_names:
            continue
        if top not in DECLARED | EXTRAS:
            wrong.append(f"{each(path)}:{found.line}: {top} is not among the dependencies of pyproject.toml")
        elif top in UI and own not in INTERFACES:
            wrong.append(f"{each(path)}:{found.line}: only {sorted(INTERFACES)} import {top}")
        elif found.runs:
            light = {"": set(), "core": {"torch"}, "estimators": ESTIMATORS, "cli": {"typer", "rich"}, "web": UI}
            if top not in light.get(own, LIGHT):
                wrong.append(f"{each(path)}:{found.line}: import {top} inside the function that uses it")
    assert not wrong, "\n".join(wrong)


def python(code: str) -> str:
    """The standard output of `code` in a new interpreter with the package as it is installed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_no_torch() -> None:
    heavy = "{'torch', 'numpy', 'polars', 'sklearn', 'matplotlib', 'PIL', 'scipy', 'rich', 'typer', 'pandas'}"
    assert python(f"import sys, sonde; print(sorted({heavy} & set(sys.modules)))").strip() == "[]"


def test_importing_the_core_loads_no_third_party_package_but_torch() -> None:
    code = """
import sys, torch
def tops(): return {name.partition(".")[0] for name in sys.modules}
before = tops()
import sonde.core
print(sorted(tops() - before - set(sys.stdlib_module_names) - {"sonde"}))
"""
    assert python(code).strip() == "[]"


def command() -> str:
    """The installed console script."""
    return str(Path(sysconfig.get_path("scripts")) / "sonde")


def seconds(*arguments: str) -> float:
    """Median over seven runs of a command's own processor time, in seconds.

    On an idle machine that is its wall time (starting up uses one thread); on a busy one it leaves out the waiting.
    """
    resource = pytest.importorskip("resource", reason="processor time of a child process is read with a POSIX call")
    taken = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(arguments, check=True, capture_output=True, timeout=60, env={**os.environ, "COLUMNS": "100"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(taken)


def test_importing_the_package_is_quick() -> None:
    bare = seconds(sys.executable, "-c", "pass")
    assert seconds(sys.executable, "-c", "import sonde") - bare < 0.2


def test_help_answers_quickly() -> None:
    assert seconds(command(), "--help") < 0.3


def test_help_loads_no_torch() -> None:
    code = """
import sys
sys.argv = ["sonde", "--help"]
from sonde.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print("torch" in sys.modules, "polars" in sys.modules)
"""
    assert python(code).splitlines()[-1] == "False False"
