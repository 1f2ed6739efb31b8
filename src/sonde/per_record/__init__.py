"""Gradients record by record: their lengths, weighted sums and squares, without one backward pass a record."""

from .by_record import ByRecord
from .oracle import by_vmap, one_at_a_time
from .records import PerRecord
from .tape import Tape, Unknown, capture

__all__ = ["ByRecord", "PerRecord", "Tape", "Unknown", "by_vmap", "capture", "one_at_a_time"]
