"""The nouns and the one loop: `Batch`, `Term`/`Loss`, `Objective`, `Method`, `Recipe`, and `Run` under `fit`.

Names load what they need when they are asked for, so that a command line that only reads text waits for no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .audit import Audit, Audited, Clock, run_audits
    from .backprop import Backprop, NonFinite
    from .batch import Batch, Texts, map_tree, some_rows
    from .build import Build
    from .engine import Engine, pick_device, rank_and_world, seed_everything
    from .errors import Notice, Refused, SondeError
    from .finding import Figure, Shown, Table
    from .intact import fingerprint, unchanged
    from .loop import Budget, fit
    from .loss import Loss, Term
    from .measure import Measure
    from .method import (
        At,
        Epoched,
        Event,
        Failed,
        Finished,
        Gradient,
        Grads,
        Measured,
        Method,
        Params,
        Read,
        Settled,
        Source,
        Started,
        Stepped,
        defines,
    )
    from .objective import Objective
    from .recipe import Recipe, Stage
    from .run import Run
    from .state import Corrupt, digest, read_state, write_state
    from .subject import Subject

_HOMES = {
    ".audit": (
        "Audit",
        "Audited",
        "Clock",
        "run_audits",
    ),
    ".backprop": (
        "Backprop",
        "NonFinite",
    ),
    ".batch": (
        "Batch",
        "Texts",
        "map_tree",
        "some_rows",
    ),
    ".build": ("Build",),
    ".engine": (
        "Engine",
        "pick_device",
        "rank_and_world",
        "seed_everything",
    ),
    ".errors": (
        "Notice",
        "Refused",
        "SondeError",
    ),
    ".finding": (
        "Figure",
        "Shown",
        "Table",
    ),
    ".loop": (
        "Budget",
        "fit",
    ),
    ".loss": (
        "Loss",
        "Term",
    ),
    ".measure": ("Measure",),
    ".method": (
        "At",
        "Epoched",
        "Event",
        "Failed",
        "Finished",
        "Gradient",
        "Grads",
        "Measured",
        "Method",
        "Params",
        "Read",
        "Settled",
        "Source",
        "Started",
        "Stepped",
        "defines",
    ),
    ".objective": ("Objective",),
    ".recipe": (
        "Recipe",
        "Stage",
    ),
    ".run": ("Run",),
    ".state": (
        "Corrupt",
        "digest",
        "read_state",
        "write_state",
    ),
    ".subject": ("Subject",),
    ".intact": (
        "fingerprint",
        "unchanged",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "At",
    "Audit",
    "Audited",
    "Backprop",
    "Batch",
    "Budget",
    "Build",
    "Clock",
    "Corrupt",
    "Engine",
    "Epoched",
    "Event",
    "Failed",
    "Figure",
    "Finished",
    "Gradient",
    "Grads",
    "Loss",
    "Measure",
    "Measured",
    "Method",
    "NonFinite",
    "Notice",
    "Objective",
    "Params",
    "Read",
    "Recipe",
    "Refused",
    "Run",
    "Settled",
    "Shown",
    "SondeError",
    "Source",
    "Stage",
    "Started",
    "Stepped",
    "Subject",
    "Table",
    "Term",
    "Texts",
    "defines",
    "digest",
    "fingerprint",
    "fit",
    "map_tree",
    "pick_device",
    "rank_and_world",
    "read_state",
    "run_audits",
    "seed_everything",
    "some_rows",
    "unchanged",
    "write_state",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        from importlib import import_module

        value = getattr(import_module(_HOME_OF[name], __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
