"""The page on attacks shows what the benchmark measured."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_are_those_of_the_results() -> None:
    tables = runpy.run_path(str(ROOT / "benchmarks" / "_attack_tables.py"))["tables"]
    whole = json.loads((ROOT / "benchmarks" / "results" / "attacks.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
    assert tables(whole) in page, "run `python benchmarks/attacks.py --table` and put its output there"
