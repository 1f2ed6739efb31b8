"""`sonde convert`: the only door for pickled weights, and they never enter this process.

A child process with no inherited environment worth stealing opens the file with torch's restricted unpickler
(`weights_only`), writes safetensors and ends. What is read afterwards is safetensors alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sonde.cli.text import emit_json
from sonde.core.errors import Refused, SondeError

SECONDS = 600
CHILD = """
import sys, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import torch
from safetensors.torch import save_file
tree = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
flat = {}
def walk(path, value):
    if isinstance(value, torch.Tensor):
        flat[path or "tensor"] = value.detach().clone().contiguous()
    elif isinstance(value, dict):
        for key, child in value.items():
            walk(f"{path}.{key}" if path else str(key), child)
walk("", tree)
if not flat:
    sys.exit("no tensors")
save_file(flat, sys.argv[2])
print(len(flat))
"""


def convert(file: Path, out: Path | None, json: bool) -> None:
    """Convert `file` to safetensors at `out`."""
    if not file.is_file():
        raise SondeError(f"there is no file {file}", "give a .pt, .pth, .ckpt or .bin file")
    target = out or file.with_suffix(".safetensors")
    if target.exists():
        raise SondeError(f"{target} is there already", "give another --out; nothing is overwritten")
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
            reason = (child.stderr.strip().splitlines() or ["it ended without a word"])[-1]
            if "weights_only" in child.stderr.lower() or "unsupported global" in child.stderr.lower():
                raise Refused(
                    f"{file.name} holds more than weights, which would run as code",
                    "save its state_dict alone where it was made, and convert that",
                )
            raise SondeError(f"{file.name} cannot be converted: {reason[:200]}", "give a file that torch.save wrote")
        os.replace(fresh, target)
    except subprocess.TimeoutExpired:
        raise SondeError(f"{file.name} took more than {SECONDS} s", "convert it on a machine with more memory") from None
    finally:
        fresh.unlink(missing_ok=True)
    count = int(child.stdout.strip())
    if json:
        emit_json({"file": str(target), "tensors": count})
    else:
        print(f"{count} tensors in {target}")
