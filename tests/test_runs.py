"""The folder of a run: its name is its own, its files are whole or absent, one process works in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sonde.core import Refused, SondeError
from sonde.runs import RunFolder, shareable


def test_names_are_safe_and_never_taken_twice(tmp_path: Path) -> None:
    names = ["a b/../c", "", "..", "x" * 500, "ünï", "same", "same", "same"]
    folders = [RunFolder.create(tmp_path / "runs", name) for name in names]
    assert len({f.path for f in folders}) == len(names)
    assert all(f.path.parent == tmp_path / "runs" and f.path.is_dir() and len(f.name) < 100 for f in folders)
    assert [f.name for f in folders[-3:]] == ["same", "same-2", "same-3"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SondeError, match="making the run folder"):
        RunFolder.create(tmp_path / "file", "a")


def test_a_run_is_found_by_name_by_path_and_nearly(tmp_path: Path) -> None:
    made = RunFolder.create(tmp_path, "digits")
    made.write("recipe.json", {"name": "digits"})
    assert RunFolder.find("digits", tmp_path).path == made.path == RunFolder.find(made.path, tmp_path / "no").path
    with pytest.raises(SondeError, match="did you mean 'digits'"):
        RunFolder.find("digts", tmp_path)
    with pytest.raises(Refused, match="convert"):
        RunFolder.find("model.pt", tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path, "a")
    folder.write("facts.json", {"a": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SondeError, match="no space left"):
        folder.write("facts.json", {"a": 2})
    assert folder.read("facts.json") == {"a": 1} and [p.name for p in folder.path.iterdir()] == ["facts.json"]


@pytest.mark.parametrize("content", ["", "[1]", "{broken", "\x00", "[" * 100_000])
def test_a_damaged_file_is_said(tmp_path: Path, content: str) -> None:
    folder = RunFolder.create(tmp_path, "a")
    (folder.path / "recipe.json").write_text(content)
    with pytest.raises(SondeError, match="recipe.json of run a"):
        folder.read("recipe.json")


def test_history_leaves_out_a_line_that_a_kill_cut(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "a")
    assert folder.history() == []
    folder.metrics.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert folder.history() == [{"step": 1}, {"step": 2}]


def test_one_process_holds_a_run_and_a_kill_lets_go(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="runs are held with POSIX locks")
    folder = RunFolder.create(tmp_path, "a")
    code = "import sys; from sonde.runs import RunFolder; from pathlib import Path\n"
    code += "with RunFolder(Path(sys.argv[1])).held(): print('held', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        assert process.stdout.readline() == "held\n"
        assert folder.busy
        with pytest.raises(SondeError, match="another process"), folder.held():
            pass
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()
    assert not folder.busy
    with folder.held():
        pass


def test_a_path_is_shown_without_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/someone"))
    assert shareable("/home/someone/a/b") == "~/a/b" and shareable(Path("/home/someone")) == "~"
    assert shareable("/home/someone-else/a") == "/home/someone-else/a" and shareable("a/b") == "a/b"
