"""One measured number, with what is needed to read it and to reproduce it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured number.

    name: `quality/accuracy`. value: the number, in `unit` (`1` for a share).
    n: how many records it was measured on. interval: 95 % confidence interval, and in `settings` how it was made.
    better: which way is better. source: the paper or text that defines it. split: the rows it was measured on.
    """

    name: str
    value: float
    unit: str
    n: int
    better: Literal["lower", "higher", "neither"]
    source: str
    interval: tuple[float, float] | None = None
    split: str = "test"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)
