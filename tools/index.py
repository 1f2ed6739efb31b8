"""Write docs/INDEX.md: every term of the entry, with the file that holds it, the recipe that shows it and its test.

docs/entry.toml lists the terms. A docstring (of a module, class or function) says which of them it holds:

    Entry: label smoothing; early stopping.

A term that no module names is planned. Recipes are the modules of `sonde.recipes`; a test is found by its path
(src/sonde/nets/mlp.py is guarded by tests/nets/test_mlp.py), or else by the module's dotted name in its text.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "sonde"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
PAGE = ROOT / "docs" / "INDEX.md"
INTRODUCTION = """\
# Index: from the entry to the code

Every term of the encyclopedia entry on deep learning that Sonde sets out to cover, in the entry's order: the file that
holds it, the recipe that shows it at work, the test that guards it. *Planned* means that there is nothing yet.
Written by `make index` from the docstrings; do not edit it by hand.
"""
HEAD = """\
| term | file | recipe | test | status |
|---|---|---|---|---|"""


@dataclass(frozen=True)
class Chapter:
    """One chapter of the entry and its terms, in order."""

    title: str
    terms: tuple[str, ...]


@dataclass(frozen=True)
class Module:
    """One file of the package and the terms that its docstrings name; `path` is relative to the repository."""

    path: str
    terms: tuple[str, ...]

    @property
    def is_recipe(self) -> bool:
        """Whether it shows a term at work rather than holding it."""
        return self.path.startswith("src/sonde/recipes/")


def chapters() -> tuple[Chapter, ...]:
    """The entry's chapters, from docs/entry.toml."""
    data = tomllib.loads((ROOT / "docs" / "entry.toml").read_text(encoding="utf-8"))
    return tuple(Chapter(chapter["title"], tuple(chapter["terms"])) for chapter in data["chapter"])


def terms_in(docstring: str) -> tuple[str, ...]:
    """The terms of the docstring's `Entry:` paragraph, which ends at a blank line.

    >>> terms_in("Softened targets.\\n\\nEntry: label smoothing; early\\nstopping.\\n\\nMore.")
    ('label smoothing', 'early stopping')
    """
    found = re.search(r"^Entry:(.+?)(?:\n\s*\n|\Z)", docstring, re.MULTILINE | re.DOTALL)
    if not found:
        return ()
    text = " ".join(found[1].split()).removesuffix(".")
    return tuple(term.strip() for term in text.split(";") if term.strip())


def built() -> tuple[Module, ...]:
    """The modules that name terms, by path."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        nodes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, DOCUMENTED)]
        terms = tuple(term for node in nodes for term in terms_in(ast.get_docstring(node) or ""))
        if terms:
            found.append(Module(path.relative_to(ROOT).as_posix(), terms))
    return tuple(found)


@cache
def guards() -> dict[str, str]:
    """Path -> text of every test file."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}


def guard_of(module: Module) -> str | None:
    """The test that guards a module, or None."""
    path = Path(module.path).relative_to("src/sonde")
    mirrored = (Path("tests") / path.parent / f"test_{path.stem}.py").as_posix()
    if mirrored in guards():
        return mirrored
    name = ".".join(("sonde", *path.with_suffix("").parts))
    named = [test for test, text in guards().items() if re.search(rf"\b{re.escape(name)}\b", text)]
    return named[0] if named else None


def page() -> str:
    """The text of docs/INDEX.md."""
    modules = built()
    rows, done, total = [INTRODUCTION], 0, 0
    for number, chapter in enumerate(chapters(), 1):
        rows += [
            f"\n## {number} {chapter.title}\n",
            "| term | file | recipe | test | status |",
            "|---|---|---|---|---|",
        ]
        for term in chapter.terms:
            holders = [module for module in modules if term in module.terms]
            files = [module for module in holders if not module.is_recipe]
            tests = sorted({test for module in holders if (test := guard_of(module))})
            total, done = total + 1, done + bool(holders)
            cells = [
                ", ".join(f"`{module.path.removeprefix('src/sonde/')}`" for module in files),
                ", ".join(f"`{Path(module.path).stem}`" for module in holders if module.is_recipe),
                ", ".join(f"`{test.removeprefix('tests/')}`" for test in tests),
                "built" if holders else "planned",
            ]
            rows.append(f"| {term} | {' | '.join(cells)} |")
    rows.append(f"\n{done} of {total} terms are built. Files are under `src/sonde/`, tests under `tests/`.\n")
    return "\n".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
