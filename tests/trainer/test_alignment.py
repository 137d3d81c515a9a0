"""Turned faces stand upright once aligned, in training and in evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.data import astronaut

from models.alignment import TEMPLATE, align_tiles
from models.crops import ALIGNED, GEOMETRY, Crops, crops_from_tiles
from models.emotions import EMOTIONS
from models.faces import Float32
from models.loading import load_classifier
from models.scores import EmotionScores
from models.weights import ModelCard, read_card
from trainer import alignment, run
from trainer.alignment import align_annotated, align_faces, find_points
from trainer.batches import AugmentedBatches
from trainer.compare.evaluate import predict
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.inputs import build_inputs, build_udc_inputs
from trainer.loop import TrainingResult, train
from trainer.objectives import landmarks
from trainer.presets import find_preset
from trainer.recipes import RandomPanel, Recipe, Stage
from trainer.run import toy_faces, train_weights

TURN = 15.0


def tile_of(degrees: float, noise: float = 0.0) -> NDArray[np.uint8]:
    """The woman's face of the photograph, turned, 48 pixels."""
    turn = cv2.getRotationMatrix2D((222.0, 132.0), degrees, 1.0)
    image = cv2.warpAffine(astronaut(), turn, (512, 512))[60:205, 150:295]
    tile = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA).astype(float)
    tile += np.random.default_rng(0).normal(0, noise, tile.shape) if noise else 0
    return np.clip(tile, 0, 255).astype(np.uint8)


def eye_line(points: Float32) -> NDArray[np.float64]:
    """Degrees by which the line of the eyes falls to the right."""
    x, y = (points[:, 1] - points[:, 0]).T
    return np.degrees(np.arctan2(y, x))


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    """One face upright, turned either way and noisy, and nothing."""
    tiles = [tile_of(0), tile_of(TURN), tile_of(-TURN), tile_of(TURN, noise=8)]
    tiles.append(np.full_like(tiles[0], 90))
    return FaceSet.of_labels("photograph", EMOTIONS, np.stack(tiles), np.zeros(5, np.int64))


def test_turned_faces_are_brought_upright(faces: FaceSet) -> None:
    points, scores = find_points(faces.tiles)
    assert (scores > 0).tolist() == [True] * 4 + [False]
    lines = eye_line(points[:4])
    # Between the two turns, not from the upright tile: on that its eyes are found askew.
    assert lines[2] - lines[1] == pytest.approx(2 * TURN, abs=3)
    assert lines[3] == pytest.approx(lines[1], abs=4)
    aligned = align_faces(faces)
    assert (aligned.crop, faces.crop) == (ALIGNED, GEOMETRY)
    again, _ = find_points(aligned.tiles)
    assert np.abs(np.diff(eye_line(again[:3]))).max() < 4
    assert np.array_equal(aligned.tiles[4], faces.tiles[4])
    assert np.array_equal(aligned.labels, faces.labels)


class Recorder:
    """An `EmotionClassifier` that keeps the crops it is given."""

    mode = "recorder"

    def __init__(self, card: ModelCard) -> None:
        self.card, self.crops = card, np.zeros((0, 112, 112, 3), np.uint8)

    def predict(self, crops: Crops, ids: NDArray[np.int64] | None = None) -> EmotionScores:
        self.crops = np.concatenate([self.crops, crops])
        n = len(crops)
        return EmotionScores(np.full((n, 8), 1 / 8, np.float32), np.ones(n, np.float32))


def test_evaluation_shows_weights_the_crops_that_they_were_trained_for(
    faces: FaceSet, tiny_card: ModelCard
) -> None:
    square, aligned = Recorder(tiny_card), Recorder(replace(tiny_card, crop=ALIGNED))
    for classifier in (square, aligned):
        predict(classifier, faces)
    assert np.array_equal(square.crops, crops_from_tiles(faces.tiles))
    assert np.array_equal(aligned.crops, crops_from_tiles(align_faces(faces).tiles))
    again = Recorder(aligned.card)
    predict(again, align_faces(faces))  # once is enough
    assert np.array_equal(again.crops, aligned.crops)
    with pytest.raises(DataError, match="tiles of 'aligned-5-1.0' for weights of 'square-1.0'"):
        predict(square, align_faces(faces))


def test_tiles_of_another_geometry_are_not_trained_on(
    faces: FaceSet, tiny_card: ModelCard, make_recipe: Callable[..., Recipe]
) -> None:
    card, panel = replace(tiny_card, crop=ALIGNED), RandomPanel()
    under_displays = make_recipe(recipe={"panel": panel, "crop": ALIGNED})
    ways: tuple[Callable[[], Any], ...] = (
        lambda: build_inputs(faces, card),
        lambda: build_udc_inputs(faces, card, panel),
        lambda: AugmentedBatches(faces, card, make_recipe(recipe={"crop": ALIGNED})),
        lambda: AugmentedBatches(faces, card, under_displays),
    )
    for way in ways:
        with pytest.raises(DataError, match="tiles of 'square-1.0' for weights of 'aligned-5"):
            way()


def turned_points(n: int) -> Float32:
    z = (TEMPLATE - 0.5) @ np.array([1, 1j]) * np.exp(1j * np.radians(TURN))
    return np.tile((np.stack([z.real, z.imag], 1) + 0.5).astype(np.float32), (n, 1, 1))


def test_a_network_is_trained_on_aligned_faces_and_its_card_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every second toy face the points are known; the others keep their tile."""
    trained_on: list[FaceSet] = []

    def find(faces: FaceSet) -> tuple[Float32, NDArray[np.bool_]]:
        return turned_points(len(faces)), faces.ids % 2 == 0

    def spy(recipe: Recipe, card: ModelCard, *given: Any, **more: Any) -> TrainingResult:
        trained_on.extend(given[:2])
        return train(recipe, card, *given, **more)

    def served(tiles: NDArray[np.uint8]) -> tuple[Float32, Float32]:
        return turned_points(len(tiles)), np.zeros(len(tiles), np.float32)

    monkeypatch.setattr(landmarks, "find_points", find)
    monkeypatch.setattr(alignment, "find_points", served)
    monkeypatch.setattr(run, "train", spy)
    monkeypatch.setattr(run, "select_dtype", lambda threads: torch.float32)
    monkeypatch.setattr(run, "keep_freed_memory", lambda: None)
    smoke = find_preset("resnet18", "smoke")
    recipe = replace(smoke, stages=(Stage("fit", epochs=1, batch=32),), crop=ALIGNED)
    out, faces = tmp_path / "w.safetensors", toy_faces(160)
    card = train_weights("toy", recipe, faces, 0, out, tmp_path / "run", threads=1)
    assert card.crop == read_card(out).crop == ALIGNED
    for part in trained_on:
        given = faces[np.isin(faces.ids, part.ids)]
        known = (part.ids % 2 == 0).astype(np.float32)
        wanted = align_tiles(given.tiles, turned_points(len(part)), known)
        assert part.crop == ALIGNED
        assert np.array_equal(part.tiles, wanted)
        assert not np.array_equal(part.tiles, given.tiles)
    assert load_classifier(str(out)).card.crop == ALIGNED


def test_points_are_written_before_they_are_read(faces: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no landmarks of these faces"):
        align_annotated(faces, tmp_path)


def test_a_pair_of_presets_differs_by_the_crop_alone() -> None:
    for name in ("w24-12", "w36-12"):
        plain, aligned = (find_preset("resnet18", each) for each in (name, f"{name}-aligned"))
        assert plain.crop == GEOMETRY
        assert replace(plain, crop=ALIGNED) == aligned
