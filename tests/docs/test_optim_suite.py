"""The page on optimisers shows what the suite measured."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_are_those_of_the_results() -> None:
    tables = runpy.run_path(str(ROOT / "benchmarks" / "_suite_tables.py"))["tables"]
    whole = json.loads((ROOT / "benchmarks" / "results" / "optim_suite.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "optimisers.md").read_text(encoding="utf-8")
    wanted = tables(whole)
    assert wanted in page, "run `python benchmarks/optim_suite.py --table` and put its output there"
