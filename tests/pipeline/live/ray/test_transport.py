"""Ray's transport for the classifier client, with a real actor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("cancelled_request.py")


@pytest.mark.slow
def test_a_request_that_was_given_up_is_not_computed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "1\n", done.stderr
