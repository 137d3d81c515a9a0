"""Modules in the current folder that are called as ours never take their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.live.ray.test_run import config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SHADOW = 'open("{folder}/loaded-{name}", "a").close()\nraise ImportError("not ours")\n'


def shadow(folder: Path) -> None:
    """A Django project, say: modules and packages of our names, which tell when they are loaded."""
    folder.mkdir(exist_ok=True)
    for name in ("models", "pipeline", "ray", "numpy"):
        text = SHADOW.format(folder=folder, name=name)
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    for name in ("dashboard", "trainer"):
        (folder / name).mkdir()
        text = SHADOW.format(folder=folder, name=name)
        (folder / name / "__init__.py").write_text(text, encoding="utf-8")


def loaded(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("loaded-*")]


def test_in_workers_of_our_own_ray(start: Any, clip: Path, tmp_path: Path) -> None:
    shadow(tmp_path / "project")
    live = start(config(clip, "door"), "--until-ended", inside="project")
    assert live.end()["ok"]
    assert loaded(live.folder) == []
    assert live.rows("SELECT count(*) FROM observations")[0][0] > 0


def test_in_workers_of_a_cluster(start: Any, clip: Path, tmp_path: Path, address: str) -> None:
    shadow(tmp_path / "project")
    live = start(config(clip, "door"), "--until-ended", "--address", address, inside="project")
    assert live.end()["ok"]
    assert loaded(live.folder) == []
