"""`sonde doctor`: what this machine has, and what stands in the way."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

from sonde.cli.text import definitions, emit_json

PACKAGES = (
    "torch",
    "numpy",
    "safetensors",
    "polars",
    "scikit-learn",
    "pillow",
    "matplotlib",
    "jinja2",
    "typer",
    "rich",
)
LITTLE_DISK = 2.0  # GB: a few checkpoints of a small model


def doctor(json: bool) -> None:
    """Versions, devices, threads, speed of matrix multiplication, data mirror, disk."""
    facts = gather()
    if json:
        emit_json(facts)
        return
    rows = [[k, v] for k, v in facts.items() if k != "warnings"]
    definitions([(k, v, "") for k, v in rows])
    for warning in facts["warnings"]:
        print(f"! {warning}")


def gather() -> dict[str, Any]:
    """The facts, by name; `warnings` says what to mend."""
    import torch

    import sonde

    warnings = []
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            warnings.append(f"{name} is not installed: install sonde again")
    devices = ["cpu", *(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    mirror = os.environ.get("SONDE_DATA")
    if mirror and not Path(mirror).is_dir():
        warnings.append("SONDE_DATA names a folder that is not there: correct it, or unset it")
    free = shutil.disk_usage(".").free / 1e9
    if free < LITTLE_DISK:
        warnings.append(f"only {free:.1f} GB of disk left here: checkpoints may not fit")
    compiler = next((c for c in ("g++", "clang++", "cl") if shutil.which(c)), None)
    return {
        "sonde": sonde.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "packages": ", ".join(versions),
        "devices": ", ".join(devices),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
        "float32 multiply": f"{speed(torch.float32):.0f} GFLOP/s",
        "bfloat16 multiply": f"{speed(torch.bfloat16):.0f} GFLOP/s",
        "torch.compile on the CPU": f"yes, with {compiler}" if compiler else "no C++ compiler found",
        "data mirror": "SONDE_DATA is set" if mirror and Path(mirror).is_dir() else "none (SONDE_DATA is not set)",
        "free disk here": f"{free:.0f} GB",
        "warnings": warnings,
    }


def speed(dtype: Any, side: int = 1024) -> float:
    """GFLOP/s of a square matrix product on the CPU: the median of five."""
    import torch

    a = torch.randn(side, side).to(dtype)
    times = []
    for _ in range(6):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return float(2 * side**3 / sorted(times[1:])[2] / 1e9)
