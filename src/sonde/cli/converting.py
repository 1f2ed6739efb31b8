"""`sonde convert`: the only door for pickled weights, and they never enter this process.

A child process with no inherited environment worth stealing opens the file with torch's restricted unpickler
(`weights_only`), writes safetensors and ends. What is read afterwards is safetensors alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sonde.cli.text import emit_json, say
from sonde.core.errors import Refused, SondeError
from sonde.core.state import disk_error

SECONDS = 600
CHILD = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no memory image of a file's content on the disk
except ImportError:
    pass
import torch
from safetensors.torch import save_file
tree = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
flat, left = {}, 0
def walk(path, value):
    global left
    if isinstance(value, torch.Tensor):
        name = path or "tensor"
        if name in flat:
            sys.exit("two tensors are called " + name)
        flat[name] = value.detach().clone().contiguous()
    elif isinstance(value, dict):
        for key, child in value.items():
            walk(f"{path}.{key}" if path else str(key), child)
    elif isinstance(value, (list, tuple)):
        for key, child in enumerate(value):
            walk(f"{path}.{key}" if path else str(key), child)
    else:
        left += 1
walk("", tree)
if not flat:
    sys.exit("there are no tensors in it")
save_file(flat, sys.argv[2])
print(len(flat), left)
"""
UNSAFE = ("weights_only", "unsupported global", "unsupported class", "unpicklingerror: weights only")


def convert(file: Path, out: Path | None, json: bool) -> None:
    """Convert `file` to safetensors at `out`."""
    if not file.is_file():
        raise SondeError(f"there is no file {file}", "give a .pt, .pth, .ckpt or .bin file")
    if not file.stat().st_size:
        raise SondeError(f"{file} is empty", "give a file that torch.save wrote")
    target = out or file.with_suffix(".safetensors")
    if target.exists():
        raise SondeError(f"{target} is there already", "give another --out; nothing is overwritten")
    if not target.parent.is_dir():
        raise SondeError(f"there is no folder {target.parent}", "make it, or give another --out")
    fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "SYSTEMROOT", "TMPDIR", "LD_LIBRARY_PATH")}
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", CHILD, str(file.resolve()), str(fresh.resolve())],
            capture_output=True,
            text=True,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
        if child.returncode != 0:
            raise _why(file, child.stderr)
        os.replace(fresh, target)
    except OSError as error:
        raise disk_error(error, f"writing {target}") from None
    except subprocess.TimeoutExpired:
        raise SondeError(
            f"{file.name} took more than {SECONDS} s", "convert it on a machine with more memory"
        ) from None
    finally:
        fresh.unlink(missing_ok=True)
    count, left = map(int, child.stdout.split()[-2:])
    if json:
        emit_json({"file": str(target), "tensors": count, "left_out": left})
        return
    print(f"{count} tensors in {target}")
    if left:
        say(f"{left} values that are no tensors were left out")


def _why(file: Path, said: str) -> SondeError:
    """What the child's last words mean to a person."""
    words = said.lower()
    if any(sign in words for sign in UNSAFE):
        return Refused(
            f"{file.name} holds more than weights, which would run as code",
            "save its state_dict alone where it was made, and convert that",
        )
    reason = " ".join((said.strip().splitlines() or ["it ended without a word"])[-1].split())
    reason = reason.partition(". ")[0]
    return SondeError(f"{file.name} cannot be converted: {reason[:200]}", "give a file that torch.save wrote")
