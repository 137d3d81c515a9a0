"""What is installed is what is committed: nothing is forgotten in the wheel, nothing strays in."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("models", "trainer", "pipeline", "dashboard")
ABOUT = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")
BUILD = "import setuptools.build_meta as build; build.build_wheel('wheel')"


@pytest.fixture(scope="module")
def committed() -> list[str]:
    command = ["git", "ls-files", "-z", *ROOMS, *ABOUT]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(committed: list[str], tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("source")
    for name in committed:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "wheel").mkdir()
    built = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=folder, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return zipfile.Path(next((folder / "wheel").glob("*.whl")))


def test_the_wheel_carries_every_committed_file_of_the_rooms(
    committed: list[str], wheel: zipfile.Path
) -> None:
    names = [name for name in wheel.root.namelist() if not name.endswith("/")]
    carried = {name for name in names if name.split("/")[0] in ROOMS}
    assert carried == {name for name in committed if name.split("/")[0] in ROOMS}


def test_the_wheel_carries_the_licence_and_the_command(wheel: zipfile.Path) -> None:
    about = next(entry for entry in wheel.iterdir() if entry.name.endswith(".dist-info"))
    assert {entry.name for entry in (about / "licenses").iterdir()} == {"LICENSE", "NOTICE"}
    assert "undercam = pipeline.__main__:main" in (about / "entry_points.txt").read_text()
