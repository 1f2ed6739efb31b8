"""The C library is asked in words it understands."""

import sys

import pytest

from sonde.cli.memory import keep_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has these settings")
def test_glibc_takes_every_setting():
    assert keep_freed_memory()
