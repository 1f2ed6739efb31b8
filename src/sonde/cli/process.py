"""What a process of our own is set to. None of it changes a number.

Freed memory stays with the process. By default glibc hands large freed blocks back to the system, so every training
step faults its activations in again, page by page: over 2000 faults a step for the default net on MNIST at batch 64.
Kept, they cost none, and a step takes about a tenth less processor time. Other C libraries are left as they are.

Threads that wait sleep. By default OpenMP's threads spin at a barrier; when another program wants a core, the thread
that is waited for is the one that is not running, and a step of the same net took 712 to 1589 ms in place of 178.
"""

from __future__ import annotations

import ctypes
import os
import sys

# mallopt(3): the parameters' numbers, and sizes in bytes
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
SETTINGS = {
    M_MMAP_THRESHOLD: 2**25,  # the largest glibc takes: smaller blocks come from the heap, which is reused
    M_TRIM_THRESHOLD: 2**30,  # shrink the heap only when this much at its end is free
    M_TOP_PAD: 2**26,  # and grow it in steps of this
}


def keep_freed_memory() -> bool:
    """Ask the C library to keep what the process frees; False where it cannot be asked."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    return all([mallopt(name, value) == 1 for name, value in SETTINGS.items()])


def sleep_while_waiting() -> None:
    """Let OpenMP's threads sleep at barriers, unless the user has chosen. Call it before torch is loaded."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def end_group(code: int) -> None:
    """End one of several processes with `code`, at once; a process on its own goes on.

    A thread of gloo's that frees its last tensor while the interpreter is being taken down aborts the process, and
    torchrun would call a finished run failed.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return
    distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
