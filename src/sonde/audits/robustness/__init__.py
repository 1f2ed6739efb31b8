"""What is left of a model's quality when its inputs are changed on purpose."""

from .pgd import pgd

__all__ = ["pgd"]
