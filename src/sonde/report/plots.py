"""Moved to `sonde.drawing`."""

from sonde.drawing import COLOURS, FAMILY, GRID, INK, MUTED, SMALL, TEXT, WHITE, canvas, legend, style

__all__ = ["COLOURS", "FAMILY", "GRID", "INK", "MUTED", "SMALL", "TEXT", "WHITE", "canvas", "legend", "style"]
