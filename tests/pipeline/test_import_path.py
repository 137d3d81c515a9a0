"""Files of the current folder that bear the names of ours, or of Python's own, are never run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.media.video import VideoWriter

ROOT = Path(__file__).parents[2]
UNDERCAM = Path(sys.executable).with_name("undercam")
MODULES = ("__future__", "av", "json", "models", "numpy", "pydantic", "rich", "typer", "typing")
PACKAGES = ("dashboard", "models", "streamlit", "torch", "trainer")
HOSTILE = "import pathlib; pathlib.Path('{folder}/ran-{name}').touch(); raise SystemExit('{name}')"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A current folder as any Django project is, and worse."""
    current = tmp_path / "site"
    current.mkdir()
    for name in MODULES:
        (current / f"{name}.py").write_text(HOSTILE.format(folder=tmp_path, name=name))
    for name in PACKAGES:
        (current / name).mkdir(exist_ok=True)
        for file in ("__init__.py", "__main__.py"):
            (current / name / file).write_text(HOSTILE.format(folder=tmp_path, name=name))
    return current


def finish(folder: Path, command: list[str], **environment: str) -> str:
    """What a command prints; nothing of the folder may have run."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder.parent)} | environment
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert [path.name for path in folder.parent.glob("ran-*")] == []
    assert done.returncode == 0, done.stderr
    return done.stdout


COMMANDS = {
    "console script": [str(UNDERCAM)],
    "python -m": [sys.executable, "-m", "pipeline"],
}
PATHS = {"no path": {}, "empty entry": {"PYTHONPATH": f"{os.pathsep}{ROOT}"}}


@pytest.mark.parametrize("environment", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_commands_import_nothing_of_the_current_folder(
    folder: Path, command: list[str], environment: dict[str, str]
) -> None:
    if environment:
        # It is Python that looks for this one, before any line of ours.
        (folder / "__future__.py").unlink()
    for arguments in (["--version"], ["train", "--help"], ["cameras", "list"]):
        assert finish(folder, [*command, *arguments], **environment)


@pytest.mark.slow
def test_a_clip_is_analysed_beside_them(folder: Path) -> None:
    with VideoWriter(folder / "clip.mp4", 64, 48, 10) as writer:
        for _ in range(3):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    command = [*COMMANDS["python -m"], "analyze", "clip.mp4", "--json"]
    assert '"frames": 3' in finish(folder, command)


CHILD = """
import subprocess, sys
sys.path.insert(0, {root!r})
from pipeline.import_path import exclude_current_folder
exclude_current_folder()
raise SystemExit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)
"""


@pytest.mark.parametrize(
    "child", [["-m", "dashboard.launch"], ["-c", "import typing, models, numpy, trainer"]]
)
@pytest.mark.parametrize("path", ["", os.pathsep, os.curdir, "{folder}", "{root}"])
def test_nor_does_any_python_that_we_start(folder: Path, child: list[str], path: str) -> None:
    (folder / "__future__.py").unlink()
    script = folder.parent / "script.py"
    script.write_text(CHILD.format(root=str(ROOT)))
    path = path.format(folder=folder, root=ROOT)
    finish(folder, [sys.executable, str(script), *child], PYTHONPATH=path)


def test_a_benchmark_neither(folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.queries", "--help"]
    assert "usage" in finish(folder, command, PYTHONPATH=str(ROOT))


def test_our_own_folder_stays_for_children_too(tmp_path: Path) -> None:
    """As in a checkout that nobody installed: the packages lie in the current folder alone."""
    home = tmp_path / "checkout"
    (home / "pipeline").mkdir(parents=True)
    (home / "pipeline" / "__init__.py").touch()
    source = (ROOT / "pipeline" / "import_path.py").read_text(encoding="utf-8")
    (home / "pipeline" / "import_path.py").write_text(source, encoding="utf-8")
    (home / "beside.py").write_text("print('found')")
    script = (
        "import subprocess, sys; from pipeline.import_path import exclude_current_folder;"
        "exclude_current_folder(); import beside;"
        "subprocess.run([sys.executable, '-m', 'beside'], check=True)"
    )
    assert finish(home, [sys.executable, "-c", script]).count("found") == 2
