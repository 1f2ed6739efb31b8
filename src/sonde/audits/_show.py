"""What a person called something, as it can stand in a figure or a table."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from sonde.core import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def short(name: object, most: int = 24) -> str:
    """One line without marks that steer, `most` characters at most, and no sign that matplotlib takes for a formula.

    >>> short("a very long name of a class, indeed"), short("")
    ('a very long name of a c…', '(empty)')
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in str(name)).split()) or "(empty)"
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text.replace("$", "\uff04")  # a full-width dollar: two plain ones would set a formula between them


def figure(name: str, caption: str, drawing: Drawing) -> Figure:
    """The figure, whose text a reader's own fonts show: what matplotlib's lacks is no reason to warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        return Figure.of(name, caption, drawing)
