"""Sonde: any model, any objective and any set of training methods in one loop, measured before it is trusted.

`train`, `load`, `resume`, `audit` and the estimators are here; the nouns are in `sonde.core`. Importing this module
imports nothing heavy: what is asked for is loaded then.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sonde.api import audit, load, resume, train
    from sonde.bundle import Bundle
    from sonde.core.errors import Refused, SondeError
    from sonde.estimators import SondeClassifier, SondeRegressor
    from sonde.tuning.api import lr_range_test, tune

_HOMES = {
    "audit": "sonde.api",
    "train": "sonde.api",
    "load": "sonde.api",
    "resume": "sonde.api",
    "Bundle": "sonde.bundle",
    "Refused": "sonde.core.errors",
    "SondeError": "sonde.core.errors",
    "SondeClassifier": "sonde.estimators",
    "SondeRegressor": "sonde.estimators",
    "lr_range_test": "sonde.tuning.api",
    "tune": "sonde.tuning.api",
}

__all__ = [
    "Bundle",
    "Refused",
    "SondeClassifier",
    "SondeError",
    "SondeRegressor",
    "__version__",
    "audit",
    "load",
    "lr_range_test",
    "resume",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sonde' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
