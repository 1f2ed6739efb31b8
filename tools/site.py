"""Hooks of the site's build: the reference page lists every part of the package that there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parent.parent / "src" / "sonde"
PARTS = ("core", "data", "nets", "optim", "objectives", "methods", "audits", "report")


def on_page_markdown(markdown: str, *, page: Any, **context: Any) -> str:
    """Append to reference.md one mkdocstrings directive for each part."""
    if page.file.src_uri != "reference.md":
        return markdown
    found = [part for part in PARTS if (SOURCE / part / "__init__.py").exists()]
    return "\n\n".join([markdown, *(f"::: sonde.{part}" for part in found)])
