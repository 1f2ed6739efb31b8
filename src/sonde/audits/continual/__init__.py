"""Audits of continual learning: what was kept, what was forgotten, what carried over."""

from .transfer import accuracy_matrix, continual

__all__ = ["accuracy_matrix", "continual"]
