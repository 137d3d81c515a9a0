"""The data sets that EmoDC's paper names, made small in the layout of the originals: each preset
trains on its data set, and the weights predict the other split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.emotions import BASIC_SEVEN, COMPOUND_EMOTIONS, EMOTIONS
from models.loading import load_classifier
from trainer import run
from trainer.compare.evaluate import predict
from trainer.data.readers import open_faces
from trainer.presets import find_preset
from trainer.presets.emodc import DATA_SETS

SFEW_FOLDERS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
RNG = np.random.default_rng(0)


def draw(path: Path) -> None:
    """A small image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), RNG.integers(0, 256, (20, 20, 3), np.uint8))


def draw_rafdb(root: Path, labels: int) -> None:
    lines = [f"{s}_{n:04d}.jpg {n}" for s in ("train", "test") for n in range(1, labels + 1)]
    for line in lines:
        draw(root / "Image" / "aligned" / f"{line.split('.')[0]}_aligned.jpg")
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines), encoding="utf-8")


def draw_sfew(root: Path) -> None:
    for split in ("Train", "Val"):
        for name in SFEW_FOLDERS:
            draw(root / split / name / "movie_0001.png")


def draw_affectnet(root: Path) -> None:
    for split in ("train_set", "val_set"):
        for label in range(8):
            draw(root / split / "images" / f"{label}.jpg")
            (root / split / "annotations").mkdir(exist_ok=True)
            np.save(root / split / "annotations" / f"{label}_exp.npy", np.array(str(label)))


@pytest.mark.parametrize(
    ("preset", "layout", "write", "classes"),
    [
        ("rafdb-ids", "rafdb", lambda root: draw_rafdb(root, 7), BASIC_SEVEN),
        (
            *("rafdb-compound-text", "rafdb-compound", lambda root: draw_rafdb(root, 11)),
            tuple(COMPOUND_EMOTIONS),
        ),
        ("sfew-text", "sfew", draw_sfew, BASIC_SEVEN),
        ("affectnet-7-ids", "affectnet-7", draw_affectnet, BASIC_SEVEN),
        ("affectnet-8-text", "affectnet", draw_affectnet, EMOTIONS),
    ],
)
def test_a_preset_trains_on_its_data_set(
    preset: str,
    layout: str,
    write: Callable[[Path], None],
    classes: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "select_dtype", lambda threads: torch.float32)
    monkeypatch.setattr(run, "keep_freed_memory", lambda: None)
    write(tmp_path / "faces")
    full, address = find_preset("emodc", preset), f"folder:{layout}:{tmp_path / 'faces'}"
    stages = tuple(
        replace(stage, epochs=1, batch=4, resolution=((0.0, 16),)) for stage in full.stages
    )
    network = full.network | {"width": 8, "steps": 1}
    recipe = replace(full, network=network, stages=stages, input_px=16, encoder="")
    faces, dropped = run.load_faces(address, "ms_majority", recipe)
    assert dropped is None
    assert (faces.classes, len(faces)) == (classes, len(classes))
    out = tmp_path / "w.safetensors"
    run.train_weights("made", recipe, faces, 0, out, tmp_path / "run")
    test = open_faces(address, split="test")
    found = predict(load_classifier(str(out)), test).probabilities
    assert found.shape == (len(classes), len(classes))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_every_data_set_has_both_conditions() -> None:
    for name, labels in DATA_SETS.items():
        for condition in ("ids", "text"):
            network = find_preset("emodc", f"{name}-{condition}").network
            assert (network["condition"], tuple(network["labels"])) == (condition, labels)
