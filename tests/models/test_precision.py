"""A number format is asked of a child, which may die or hang."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from models import precision
from models.precision import bfloat16_is_supported, select_dtype


@pytest.mark.parametrize(
    ("probe", "dtype"),
    [
        ("print('bfloat16')", torch.bfloat16),
        ("print('float32')", torch.float32),
        (
            "import os, signal; print('bfloat16', flush=True); os.kill(os.getpid(), signal.SIGILL)",
            None,
        ),
        ("raise ImportError('no torch here')", None),
        ("", None),
    ],
    ids=["faster", "slower", "dies", "fails", "silent"],
)
def test_what_the_child_says(
    monkeypatch: pytest.MonkeyPatch, probe: str, dtype: torch.dtype | None
) -> None:
    monkeypatch.setattr(precision, "_PROBE", probe)
    assert select_dtype(1) == (dtype or torch.float32)
    assert bfloat16_is_supported() == (dtype is not None)


def test_the_child_gets_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_PROBE", "import sys; print('bfloat' + sys.argv[1])")
    assert select_dtype(16) == torch.bfloat16
    assert select_dtype(2) == torch.float32


def test_a_child_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_PROBE", "import time; time.sleep(600)")
    monkeypatch.setattr(precision, "PATIENCE_S", 0.5)
    started_s = time.monotonic()
    assert select_dtype(1) == torch.float32
    assert time.monotonic() - started_s < 60


@pytest.mark.slow
def test_the_real_probe_decides_or_dies() -> None:
    probe = [sys.executable, "-c", precision._PROBE, "1"]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=280)
    killed = done.returncode < 0
    assert killed or done.stdout.strip() in ("float32", "bfloat16")
