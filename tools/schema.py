"""Write docs/audit.schema.json: the JSON schema of a run's audit.json, made from the dataclasses it is written from.

A number may be {"float": "nan"}, "inf" or "-inf", for which JSON has no word.
"""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sonde.report.audit import FORMAT, AuditFacts

PAGE = Path(__file__).resolve().parent.parent / "docs" / "audit.schema.json"
SPECIAL = {
    "type": "object",
    "properties": {"float": {"enum": ["nan", "inf", "-inf"]}},
    "required": ["float"],
    "additionalProperties": False,
}
NUMBER = {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/special"}]}
PLAIN: dict[Any, dict[str, Any]] = {str: {"type": "string"}, bool: {"type": "boolean"}, int: {"type": "integer"}}


def schema() -> dict[str, Any]:
    """The schema as plain data."""
    definitions: dict[str, Any] = {"special": {"description": "A number that JSON cannot write.", **SPECIAL}}
    whole = _object(AuditFacts, definitions)
    whole["properties"]["format"] = {"const": FORMAT}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An audit of one model by Sonde: audit.json of a run",
        **whole,
        "$defs": dict(sorted(definitions.items())),
    }


def _object(kind: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {
        "type": "object",
        "description": " ".join((inspect.getdoc(kind) or "").split()),
        "properties": {f.name: _of(hints[f.name], definitions) for f in fields(kind)},
        "required": [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING],
        "additionalProperties": False,
    }


def _of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value with a type of those that `sonde.report.plain` reads."""
    origin, args = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        name = hint.__name__  # type: ignore[union-attr]
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _object(hint, definitions)  # type: ignore[arg-type]
        return {"$ref": f"#/$defs/{name}"}
    if hint is Any:
        return {}
    if hint is float:
        return NUMBER
    if hint in PLAIN:
        return PLAIN[hint]
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(a, definitions) if a is not type(None) else {"type": "null"} for a in args]}
    if origin is tuple and args[-1] is Ellipsis:
        return {"type": "array", "items": _of(args[0], definitions)}
    if origin is tuple:
        items = [_of(a, definitions) for a in args]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(args)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _of(args[1], definitions)}
    raise TypeError(f"there is no rule for {hint}")


def text() -> str:
    """What docs/audit.schema.json holds."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
