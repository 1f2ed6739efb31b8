from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import Sonde, in_process


@pytest.fixture
def sonde(capsys: pytest.CaptureFixture[str]) -> Sonde:
    """A command in this process: sonde("train", "digits") answers with its code, stdout and stderr."""
    return in_process(capsys)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
