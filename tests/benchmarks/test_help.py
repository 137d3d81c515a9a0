"""Every benchmark says what it does without data, and without the imports that it measures with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "benchmarks").glob("*.py")
    if "argparse" in path.read_text(encoding="utf-8")
)
HELP = """
import runpy, sys
sys.argv[1:] = ["--help"]
try:
    runpy.run_module("benchmarks.NAME", run_name="__main__")
finally:
    sys.stderr.write(" ".join(sys.modules))
"""
HEAVY = {"av", "cv2", "insightface", "onnxruntime", "ray", "scipy", "skimage", "torch"}


def started(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str) -> None:
    done = started("-c", HELP.replace("NAME", name))
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
    assert HEAVY & set(done.stderr.split()) == set()


@pytest.mark.parametrize("name", ["conditioner", "moving_face"])
def test_without_data_they_say_what_is_missing(name: str) -> None:
    done = started("-m", f"benchmarks.{name}")
    assert done.returncode == 1
    assert done.stderr == ("no test data: UNDERCAM_DATA: set it to the folder of clips and faces\n")
