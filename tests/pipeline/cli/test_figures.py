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


@pytest.mark.slow
def test_what_a_run_of_drfer_paints_and_retrieves(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A toy, trained on labels of which a fifth are wrong."""
    weights, run_dir, out = (str(tmp_path / name) for name in ("w.safetensors", "run", "drawn"))
    noisy = ["--data", "toy", "--labels", "symmetric:0.2"]
    begun = ["train", "drfer", "--preset", "smoke", *noisy, "--seed", "0", "--threads", "1"]
    assert run([*begun, "--run-dir", run_dir, "--out", weights]) == 0
    draw = ["figures", "--weights", weights, *noisy, "--out", out, "--samples", "4", "--json"]
    capfd.readouterr()
    assert run([*draw, "--run-dir", run_dir]) == 0
    files = {Path(name).stem: name for name in json.loads(capfd.readouterr().out)["figures"]}
    assert files.keys() == {"drfer-painted", "drfer-retrieval"}
    for file in files.values():
        picture = cv2.imread(file)
        assert picture is not None
        assert min(picture.shape[:2]) > 300
    assert run([*draw, "--run-dir", str(tmp_path / "nowhere")]) == 3
    assert "no checkpoint: " in capfd.readouterr().err
    assert run(["figures", "--weights", "resnet18-w32", "--run-dir", run_dir]) == 2
    assert "weights of resnet18: --run-dir: give --weights of one DR-FER" in capfd.readouterr().err
