"""What every test starts from: one thread, a fixed seed, no display, and the data mirror only where there is one."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported: one thread a process, so that sums are added in one order and no process waits for a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

SPREAD = "test_matrix"  # a file of many long tests without a fixture between them: any process takes any of them


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay in one process, with what they share; what needs the data mirror is skipped without one."""
    for item in items:
        if item.path.stem != SPREAD:
            item.add_marker(pytest.mark.xdist_group(item.path.as_posix()))
    root = os.environ.get("SONDE_DATA")
    if root and Path(root).is_dir():
        return
    reason = "no data mirror: set SONDE_DATA to a folder laid out as NAME/official-file-name"
    for item in items:
        if item.get_closest_marker("mirror"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same state of the global generators, whatever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    """A generator of the test's own, seeded."""
    return torch.Generator().manual_seed(0)
