"""The pictures are drawn, whole, and where the command says."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.cli.app import run

KEPT = Path(__file__).parents[3] / "docs/predictions"


def test_the_command_draws_and_says_what(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is kept of the shipped weights, and a few faces laid out by them."""
    tiles = np.random.default_rng(0).integers(0, 256, (16, 48, 48), np.uint8)
    faces = tmp_path / "f.npz"
    np.savez(faces, image=tiles, label=np.arange(16) % 8)
    out = tmp_path / "new" / "drawn"
    command = ["figures", "--folder", str(KEPT), "--out", str(out), "--json"]
    command += ["--weights", "resnet18-w32", "--data", f"npz:{faces}", "--conditions", "clean"]
    command += ["--samples", "6"]
    assert run(command) == 0
    said = json.loads(capfd.readouterr().out)
    files = [Path(name) for name in said["figures"]]
    assert set(files) == set(out.iterdir())
    assert {"features", "samples", "severity-flip-clean-trained"} <= {file.stem for file in files}
    for file in files:
        picture = cv2.imread(str(file))
        assert picture is not None
        assert min(picture.shape[:2]) > (80 if file.stem == "samples" else 300)
        assert picture.std() > 5


def test_conditions_that_are_not(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["figures", "--folder", str(KEPT), "--out", str(tmp_path)]
    assert run([*command, "--weights", "resnet18-w32", "--conditions", "rain"]) == 2
    assert "--conditions: give cells such as clean,udc_p/5" in capfd.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(["figures", "--folder", str(KEPT), "--out", str(tmp_path / "file" / "x")]) == 1
    assert "cannot write (Not a directory)" in capfd.readouterr().err
