"""Data: `load(name)` for published sets, `open(path, target=…)` for the user's own; rows in memory, split and checked.

What is exported is imported when it is first used, so that listing the names costs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonde.data.catalogue import Named, names
    from sonde.data.dataset import Dataset
    from sonde.data.images import ImageSchema
    from sonde.data.like import open_like
    from sonde.data.loader import Loader
    from sonde.data.named import load
    from sonde.data.opening import open, reopen, schema_from_data
    from sonde.data.problems import BadData, Problem
    from sonde.data.rows import Rows, Split
    from sonde.data.several import several
    from sonde.data.tables import TableSchema

_HOMES = {
    "BadData": "problems",
    "Dataset": "dataset",
    "ImageSchema": "images",
    "Loader": "loader",
    "Named": "catalogue",
    "Problem": "problems",
    "Rows": "rows",
    "Split": "rows",
    "TableSchema": "tables",
    "load": "named",
    "names": "catalogue",
    "open": "opening",
    "open_like": "like",
    "reopen": "opening",
    "schema_from_data": "opening",
    "several": "several",
}

__all__ = [
    "BadData", "Dataset", "ImageSchema", "Loader", "Named", "Problem", "Rows", "Split", "TableSchema", "load", "names",
    "open", "open_like", "reopen", "schema_from_data", "several",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sonde.data' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"sonde.data.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
