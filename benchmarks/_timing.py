"""Measuring fairly on a machine with other work: interleaved processes, medians of ratios, peak memory, imports."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


# ---------------------------------------------------------------- statistics
@dataclass(frozen=True)
class Spread:
    """A median with the range it was taken from."""

    median: float
    low: float
    high: float
    n: int

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return Spread(statistics.median(values), min(values), max(values), len(values))

    def data(self) -> dict[str, float]:
        """For JSON, to five significant digits."""
        return {k: float(f"{v:.5g}") for k, v in asdict(self).items()}


# ---------------------------------------------------------------- memory
def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {field}")
    return 1024 * int(found[1])


def resident_memory() -> int:
    """Bytes of this process in memory now (Linux)."""
    return _status("VmRSS")


def peak_memory() -> int:
    """The most bytes of this process in memory since `reset_peak_memory` (Linux)."""
    return _status("VmHWM")


def reset_peak_memory() -> None:
    """Forget the peak so far; see proc(5), clear_refs."""
    Path("/proc/self/clear_refs").write_text("5")


# ---------------------------------------------------------------- processes
def environment(threads: int, home: str) -> dict[str, str]:
    """Variables for a child: CPU only, `threads` threads, nothing fetched, nothing written outside `home`.

    glibc is told to keep what is freed (mallopt(3)): by default it hands large blocks back to the system or not as the
    layout of a process's heap happens to fall, and LeNet-5 then waits for some 1000 page faults a step or for none.
    """
    return {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": str(2**25),
        "MALLOC_TRIM_THRESHOLD_": str(2**30),
        "MALLOC_TOP_PAD_": str(2**26),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "torch",
        "KERAS_HOME": home,
        "HF_HOME": home,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONWARNINGS": "ignore",
    }


class Worker:
    """A contender in a process of its own, which checks itself and is then idle until asked; a context manager."""

    def __init__(self, first: dict[str, Any], threads: int, home: str, script: str = "_worker.py") -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment(threads, home),
        )
        self.name = first["contender"]
        self._tell({**first, "threads": threads})

    def _tell(self, question: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it died; `answer` says of what
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()

    def ask(self) -> dict[str, Any]:
        """One timed epoch."""
        self._tell({})
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The line it owes; RuntimeError with the end of its log if it died."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise RuntimeError(f"{self.name} stopped:\n" + "".join(self.log.readlines()[-15:]))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


_IMPORT = """
import json, sys, time
start = time.perf_counter()
import torch
middle = time.perf_counter()
before = len(sys.modules)
{imports}
end = time.perf_counter()
sys.stderr.write("\\n" + json.dumps([end - start, end - middle, len(sys.modules) - before]))
"""


def import_seconds(imports: str, home: str) -> tuple[float, float, int]:
    """In a fresh interpreter: seconds of `import torch` and `imports`, of the latter alone, and modules it added."""
    child = subprocess.run(
        [sys.executable, "-c", _IMPORT.format(imports=imports)],
        env=environment(1, home),
        capture_output=True,
        text=True,
        check=True,
    )
    total, after, modules = json.loads(child.stderr.splitlines()[-1])
    return total, after, modules


# ---------------------------------------------------------------- where it was measured
def machine() -> dict[str, Any]:
    """The processor and the system, without the machine's name."""
    cpu = platform.processor()
    if (info := Path("/proc/cpuinfo")).exists() and (found := re.search(r"model name\s*:\s*(.+)", info.read_text())):
        cpu = found[1]
    return {"cpu": cpu, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
