"""A clip of one bright square, a detector that finds it, and a classifier that reads its shade."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.emotions import EMOTIONS
from models.faces import Faces
from models.scores import EmotionScores, normalised_entropy
from models.weights import ModelCard
from pipeline.media.video import VideoWriter
from pipeline.stages.classify import Classify
from pipeline.stages.detect import Detect

FPS, SECONDS, WIDTH, HEIGHT, SIDE = 20, 4, 320, 240, 60
GONE_FROM_S = 3.0


class SquareDetector:
    """Finds the bright square; no face where the picture is dark."""

    name = "square"

    def detect(self, image: NDArray[np.uint8]) -> Faces:
        rows, columns = np.nonzero(image[:, :, 0] > 90)
        if len(rows) < 100:
            return Faces.none()
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return Faces(
            np.array([box], np.float32),
            np.array([0.9], np.float32),
            np.zeros((1, 5, 2), np.float32),
        )


class ShadeClassifier:
    """Happiness for a bright crop, sadness for a dim one, both with 0.9."""

    card = ModelCard(
        "shade", "shade", {}, EMOTIONS, 48, 1, (0.5,), (0.25,), "square-1.0", "made", "none"
    )
    mode = "shade"

    def predict(
        self, crops: NDArray[np.uint8], ids: NDArray[np.int64] | None = None
    ) -> EmotionScores:
        bright = crops.mean(axis=(1, 2, 3)) > 170
        scores = np.full((len(crops), 8), 0.1 / 7, np.float32)
        scores[np.arange(len(crops)), np.where(bright, 1, 3)] = 0.9
        return EmotionScores(scores, normalised_entropy(scores))


@pytest.fixture(scope="session")
def square_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s at 20 fps: a square that moves right, dim for 1.5 s, bright for 1.5 s, then gone."""
    path = tmp_path_factory.mktemp("clips") / "square.mp4"
    with VideoWriter(path, WIDTH, HEIGHT, FPS) as writer:
        for index in range(FPS * SECONDS):
            picture = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
            if index < GONE_FROM_S * FPS:
                shade = 130 if index < 1.5 * FPS else 230
                left = 20 + 3 * index
                picture[90 : 90 + SIDE, left : left + SIDE] = shade
            writer.write(picture)
    return path


@pytest.fixture
def detect() -> Detect:
    return Detect(SquareDetector(), min_face_px=16)


@pytest.fixture
def classify() -> Classify:
    return Classify(ShadeClassifier())
