"""The C library is asked in words it understands."""

import os
import sys

import pytest

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
