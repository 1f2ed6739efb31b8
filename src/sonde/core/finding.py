"""What is found beside single numbers: a figure that a person looks at, and a table."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .measure import Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing of something measured. name: a file name without its ending. caption: what there is to see."""

    name: str
    caption: str
    svg: str

    @staticmethod
    def of(name: str, caption: str, drawing: Drawing) -> Figure:
        """A matplotlib figure as SVG: the same figure gives the same bytes."""
        import matplotlib

        buffer = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
            drawing.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
        return Figure(name, caption, buffer.getvalue())

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers side by side. rows: a cell is a text, a number or None (nothing to say)."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.name}: every row of a table has a cell for each of {self.columns}")

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


Shown: TypeAlias = Measure | Figure | Table
