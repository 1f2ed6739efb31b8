"""Every python, pycon and console block of README.md and docs/ runs, in the order of its page, in a folder of its own.

A block's test is named after its place (`docs/quickstart.md:12`). The blocks of a page share their folder and, for
Python, their names; running one alone runs those before it first. Lines under `$ command` are its expected output
(`...` stands for anything); without any, only the exit code is checked. An HTML comment above a block may say

    <!-- test: exit 3 -->          the last command of the block must exit with 3
    <!-- test: mirror -->          needs the data mirror
    <!-- test: slow -->            takes long
    <!-- test: skip because ... -->
"""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.docs.files import write_all

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
KINDS = {"python", "pycon", "console"}
FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w+)?.*$")
DIRECTIVE = re.compile(r"<!-- test: (?P<words>.+?) -->")
MINUTES = 5  # for one command


@dataclass(frozen=True)
class Block:
    """One fenced block: where it opens, its language, its text without indentation, and the words of its directive."""

    page: str
    line: int
    kind: str
    text: str
    directive: str

    @property
    def exit(self) -> int:
        """The exit code that the last command must have."""
        found = re.search(r"exit (\d+)", self.directive)
        return int(found[1]) if found else 0


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page that run, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    name, directive, start = page.relative_to(ROOT).as_posix(), "", -1
    kind, indent = "", ""
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if start < 0 and fence:
            start, kind, indent = number, fence["kind"] or "", fence["indent"]
        elif start >= 0 and fence and not fence["kind"]:
            text = "\n".join(inner.removeprefix(indent) for inner in lines[start + 1 : number])
            if kind in KINDS:
                yield Block(name, start + 1, kind, text, directive)
            start, directive = -1, ""
        elif start < 0 and line.strip():
            found = DIRECTIVE.search(line)
            directive = found["words"] if found else ""


ALL = [block for page in PAGES for block in blocks(page)]


@dataclass
class Page:
    """A page being run: its folder, its names, and how far it has come."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})
    done: set[int] = field(default_factory=set)

    def run(self, block: Block) -> None:
        """Run one block, and first those before it on its page that have not run."""
        for earlier in ALL:
            if earlier.page == block.page and earlier.line < block.line and earlier.line not in self.done:
                if not skipped(earlier):
                    self.only(earlier)
        self.only(block)

    def only(self, block: Block) -> None:
        """Run this block. It counts as run even where it fails: the next one has a failure of its own to show."""
        self.done.add(block.line)
        with contextlib.chdir(self.folder):
            if block.kind == "python":
                code = compile("\n" * block.line + block.text, str(ROOT / block.page), "exec")
                exec(code, self.names)
            elif block.kind == "pycon":
                self.converse(block)
            else:
                for number, command, expected in commands(block.text):
                    self.shell(block, number, command, expected)

    def converse(self, block: Block) -> None:
        """Python with its prompts, compared with what it prints."""
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        example = doctest.DocTestParser().get_doctest(block.text, self.names, block.page, block.page, block.line)
        said: list[str] = []
        result = doctest.DocTestRunner(optionflags=flags).run(example, out=said.append, clear_globs=False)
        self.names.update(example.globs)
        assert not result.failed, "".join(said)

    def shell(self, block: Block, number: int, command: str, expected: str) -> None:
        """One `$ command`; the block's exit code is that of its last."""
        last = number == len(commands(block.text)) - 1
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "COLUMNS": "120", "NO_COLOR": "1"}
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60 * MINUTES,
        )
        said = f"$ {command}\n{done.stdout}{done.stderr}"
        assert done.returncode == (block.exit if last else 0), f"exit code {done.returncode}\n{said}"
        if expected:
            got = done.stdout if not done.returncode else done.stdout + done.stderr
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert doctest.OutputChecker().check_output(expected, got, flags), f"expected\n{expected}\n{said}"


def commands(text: str) -> list[tuple[int, str, str]]:
    """The commands of a console block: index, the command with its continued lines, the output written under it."""
    found: list[list[str]] = []
    continued = False
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append([line[2:], ""])
        elif continued:
            found[-1][0] += "\n" + line.removeprefix("> ")
        elif found:
            found[-1][1] += line + "\n"
        continued = line.endswith("\\")
    return [(i, command, expected) for i, (command, expected) in enumerate(found)]


def skipped(block: Block) -> str:
    """Why a block does not run here; empty where it does."""
    if block.directive.startswith("skip"):
        return block.directive.removeprefix("skip").strip()
    if "mirror" in block.directive and not Path(os.environ.get("SONDE_DATA", "/nonexistent")).is_dir():
        return "needs the data mirror that $SONDE_DATA names"
    return ""


@pytest.fixture(scope="session")
def pages() -> dict[str, Page]:
    return {}


def case(block: Block) -> Any:
    marks = [getattr(pytest.mark, word) for word in ("mirror", "slow") if word in block.directive.split()]
    marks.append(pytest.mark.xdist_group(block.page))  # with --dist loadgroup a page stays in one process
    return pytest.param(block, id=f"{block.page}:{block.line}", marks=marks)


@pytest.mark.parametrize("block", [case(block) for block in ALL])
def test_block(block: Block, pages: dict[str, Page], tmp_path_factory: pytest.TempPathFactory) -> None:
    if reason := skipped(block):
        pytest.skip(reason)
    if block.page not in pages:
        folder = tmp_path_factory.mktemp(Path(block.page).stem)
        write_all(folder)
        pages[block.page] = Page(folder)
    pages[block.page].run(block)


def test_console_blocks_hold_commands() -> None:
    """A console block without `$ ` would pass for having run."""
    assert not [f"{b.page}:{b.line}" for b in ALL if b.kind == "console" and not commands(b.text)]
