"""What a process of our own is set to, and how one of several ends."""

import os
import subprocess
import sys

import pytest
import torch

from sonde.cli.process import keep_freed_memory, sleep_while_waiting


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has these settings")
def test_glibc_takes_every_setting():
    assert keep_freed_memory()


def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    sleep_while_waiting()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    sleep_while_waiting()
    assert os.environ["OMP_WAIT_POLICY"] == "active"


GROUP = """
import sys, torch.distributed as dist
from sonde.cli.process import end_group
if "group" in sys.argv:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
print("told", end="")
end_group(3)
print(" and went on", end="")
"""


@pytest.mark.skipif(not torch.distributed.is_available() or os.name == "nt", reason="needs torch.distributed with gloo")
@pytest.mark.parametrize(("word", "code", "out"), [("group", 3, "told"), ("alone", 0, "told and went on")])
def test_one_of_several_processes_ends_at_once_with_what_it_said(word: str, code: int, out: str) -> None:
    ended = subprocess.run([sys.executable, "-c", GROUP, word], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (code, out), ended.stderr
