"""Schemas read back from JSON: what was written comes back, and what was tampered with is refused in words."""

from __future__ import annotations

import copy
import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde import data
from sonde.core.errors import SondeError
from sonde.data import ImageSchema, TableSchema, schema_from_data
from sonde.data.groups import Groups
from sonde.data.targets import Target

FRAME = pl.DataFrame(
    {
        "city": ["Oslo", "Rome", None, "Oslo"] * 10,
        "age": list(range(40)),
        "when": ["2020-01-02", "2021-03-04"] * 20,
        "y": ["a", "b"] * 20,
    }
)
TABLE = data.open(FRAME, "y", sensitive="city,age").schema.to_data()
IMAGE = ImageSchema(3, (4, 6), Target("classification", ("c",), ("x", "y")), (Groups("g", ("p", "q")),)).to_data()


@pytest.mark.parametrize("schema", [TABLE, IMAGE])
def test_schemas_survive_json(schema: dict) -> None:
    read = schema_from_data(json.loads(json.dumps(schema)))
    assert read.to_data() == schema and read.kind == schema["kind"]


def set_at(schema: dict, path: str, value: Any) -> dict:
    changed: Any = copy.deepcopy(schema)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    at = changed
    for part in parents:
        at = at[part]
    at[last] = value
    return changed


@pytest.mark.parametrize(
    ("schema", "path", "value"),
    [
        (TABLE, "kind", "image"),
        (TABLE, "extra", 1),
        (TABLE, "columns", []),
        (TABLE, "columns", {}),
        (TABLE, "columns.0", 3),
        (TABLE, "columns.0.kind", "pickle"),
        (TABLE, "columns.0.name", "x" * 10_001),
        (TABLE, "columns.0.name", None),
        (TABLE, "columns.0.name", "age"),
        (TABLE, "columns.0.categories", ["a", "a"]),
        (TABLE, "columns.0.categories", [1]),
        (TABLE, "columns.0.categories", [str(i) for i in range(10_001)]),
        (TABLE, "columns.1.categories", ["a"]),
        (TABLE, "columns.1.format", "%Y"),
        (TABLE, "columns.2.parts", []),
        (TABLE, "columns.2.parts", ["second"]),
        (TABLE, "target.task", "regression"),
        (TABLE, "target.task", ["classification"]),
        (TABLE, "target.classes", ["one"]),
        (TABLE, "target.columns", []),
        (TABLE, "target.separator", ";"),
        (TABLE, "fields.0.names", []),
        (TABLE, "fields.1.edges", [1, 0, 2]),
        (TABLE, "fields.1.edges", [1, float("nan"), 2]),
        (TABLE, "fields.1.edges", [1, 2]),
        (TABLE, "fields.1.column", "city"),
        (TABLE, "missing", "x"),
        (IMAGE, "channels", 2),
        (IMAGE, "channels", True),
        (IMAGE, "channels", "3"),
        (IMAGE, "size", [4]),
        (IMAGE, "size", [4, 10**9]),
        (IMAGE, "size", [4.0, 4]),
        (IMAGE, "size", [True, 4]),
        (IMAGE, "fit", "stretch"),
        (IMAGE, "target", None),
        (IMAGE, "fields", [[]]),
    ],
)
def test_changed_schemas_are_refused(schema: dict, path: str, value: Any) -> None:
    with pytest.raises(SondeError, match="stored .* is not usable"):
        schema_from_data(set_at(schema, path, value))


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(junk, st.sampled_from([TABLE, IMAGE]), st.data())
def test_any_json_is_a_schema_or_a_sonde_error(value: Any, schema: dict, pick: st.DataObject) -> None:
    with pytest.raises(SondeError):
        schema_from_data(value)
    changed = set_at(schema, pick.draw(st.sampled_from(sorted(schema))), value)
    try:
        read = schema_from_data(changed)
    except SondeError:
        return
    assert isinstance(read, TableSchema | ImageSchema) and schema_from_data(read.to_data()) == read
