"""Law: the published schema of audit.json is that of the dataclasses it is written from."""

from __future__ import annotations

import json

import jsonschema

from tools import schema


def test_the_published_schema_is_up_to_date() -> None:
    assert schema.PAGE.read_text(encoding="utf-8") == schema.text(), "run: make schema"


def test_it_is_a_schema_and_says_what_every_part_is() -> None:
    data = json.loads(schema.text())
    jsonschema.Draft202012Validator.check_schema(data)
    assert data["description"] and all(part["description"] for part in data["$defs"].values())
