"""Private training is not tuned for free: what every try reads of the records is spent."""

from __future__ import annotations

from sonde.core import Recipe, Refused

PRIVATE = "sonde.methods.private"


def is_private(recipe: Recipe) -> bool:
    """Whether the recipe promises the privacy of its records."""
    return any(f"{b.make.__module__}.".startswith(f"{PRIVATE}.") for b in recipe.methods)


def check_public(recipe: Recipe, despite: bool, what: str) -> None:
    """Refuse to tune a private recipe, unless somebody said that they know what it costs."""
    if is_private(recipe) and not despite:
        raise Refused(
            f"{what} reads the records of a private recipe over and over, and its choice tells of them: "
            "the epsilon of the run that is kept would not cover that",
            "tune on public data of the same form, or say that you accept it: --despite-privacy",
        )
