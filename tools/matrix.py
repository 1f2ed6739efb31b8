"""Write docs/matrix.md: which methods go together, as a live run of every pair found it."""

from __future__ import annotations

from pathlib import Path

from sonde.cli.grid import grid
from sonde.matrix import Cell, cells, trials

PAGE = Path(__file__).resolve().parent.parent / "docs" / "matrix.md"
INTRODUCTION = """\
# The matrix: which methods go together

Every pair of training methods, tried on four small learning problems. A pair either trains, or is refused with a
reason and a remedy before any parameter has moved; there is no third outcome. Each cell is a run of two stages of
three steps with the methods' defaults (or, where an objective asks for another setting, with that), in either order:
it trains if one of the orders does, and an order that would be wrong is refused.

Find the row of one method and the column, by number, of the other: `·` trains, a letter stands for the refusal of
that letter below the triangle. The diagonal is the method alone. A method that is refused alone is refused with any
other too, unless the other brings what it needs; that is usually the objective's doing: label smoothing without
labels, mixing of answers where there are none. `GrowColumns` needs a net that grows, which none of these problems
has.

`sonde methods --matrix --objective gan` tries it on your machine, with what is installed there. The tests are harder
on each pair that trains: its loss falls, a run that is interrupted resumes to the same bits, and with one method at
zero strength it takes the steps of the other alone.

Written by `make matrix`; do not edit it by hand.
"""


def page() -> str:
    """The text of docs/matrix.md; it takes a minute."""
    found: dict[str, list[Cell]] = {name: [] for name in trials()}
    for cell in cells():
        found[cell.objective].append(cell)
    parts = [INTRODUCTION]
    for name, mine in found.items():
        summary, _, *lines = grid(mine)
        parts.append(
            f"## {TITLES[name]}\n\n{summary.partition(': ')[2].capitalize()}.\n\n```text\n"
            + "\n".join(lines)
            + "\n```\n"
        )
    return "\n".join(parts)


TITLES = {
    "classification": "Classification",
    "regression": "Regression",
    "gan": "Generator against discriminator",
    "contrastive": "Contrastive learning",
}

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
