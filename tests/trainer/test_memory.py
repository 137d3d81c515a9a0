"""Freed memory stays, counted in page faults of a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CHILD = """
import resource, sys
from trainer.run import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    return [b"x" * (40 << 20) for _ in range(3)]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
step()
before = faults()
for _ in range(3):
    step()
sys.stdout.write(str(faults() - before))
"""


def faults(mode: str) -> int:
    """Page faults of three steps that each take 120 MiB and free them."""
    run = subprocess.run(
        [sys.executable, "-c", CHILD, mode], capture_output=True, text=True, check=True
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_a_step_gets_the_memory_of_the_last_one() -> None:
    assert faults("keep") * 10 < faults("give back")
