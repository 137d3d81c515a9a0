"""End-to-end evaluation: aligned faces are encoded into a video, then detected and classified
again.

Each face is 192 px high, its border replicated and blurred, at a random place of a grey 640 x 480
frame, shown for three frames and followed by a blank one, in H.264 at crf 18. The middle frame is
evaluated: detect, crop, classify, no smoothing. A face without a box of IoU >= 0.3 is not found.

Under-display conditions degrade the whole frame, each frame with noise of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.crops import crop_faces
from models.faces import Float32, iou
from models.scores import EmotionClassifier
from models.udc.suites import CLEAN
from pipeline.media.display_simulation import DisplaySimulation
from pipeline.media.video import VideoWriter
from pipeline.stages.detect import Detect
from pipeline.stages.source.file import VideoSource

WIDTH, HEIGHT, GREY, FPS = 640, 480, 128, 25.0
FACE_PX, MARGIN_PX, BLUR_PX = 192, 48, 12
FRAMES_PER_FACE, MIDDLE = 4, 1
CLIP_FACES = 160
MIN_IOU = 0.3
Image = NDArray[np.uint8]
Progress = Callable[[int, int], None]
Degrade = Callable[[Image, str], Image]
"""Degrades an image, with the noise that belongs to the key."""


def evaluate_end_to_end(
    classifier: EmotionClassifier,
    detect: Detect,
    tiles: NDArray[np.uint8],
    ids: NDArray[np.int64],
    progress: Progress = lambda done, of: None,
    dataset: str = "",
    cell: str = CLEAN,
) -> tuple[Float32, NDArray[np.bool_]]:
    """Encode aligned tiles (n, h, w[, 3]) uint8 into a video and classify the faces found in it.

    `ids` (n,) decide where the faces lie; `cell` is clean or a panel of `models.udc.suites`, whose
    noise is seeded by `dataset` and id. Returns probabilities (n, K), zeros where no face was
    found, and whether it was found (n,). Raises ValueError for a cell without a panel.
    """
    degrade: Degrade = (
        _keep if cell == CLEAN else DisplaySimulation(cell, FACE_PX, f"{dataset}, video")
    )
    scores = np.zeros((len(tiles), len(classifier.card.labels)), np.float32)
    found = np.zeros(len(tiles), bool)
    for start in range(0, len(tiles), CLIP_FACES):
        rows = range(start, min(start + CLIP_FACES, len(tiles)))
        for row, image in zip(
            rows, _encode_and_decode(tiles[rows], ids[rows], degrade), strict=True
        ):
            faces = detect(image)
            matching = np.nonzero(iou(faces.boxes, _box_of(ids[row])[None])[:, 0] >= MIN_IOU)[0]
            if len(matching):
                crop = crop_faces(image, faces[matching[:1]], classifier.card.crop)
                scores[row] = classifier.predict(crop, ids[row : row + 1]).probabilities[0]
                found[row] = True
        progress(rows.stop, len(tiles))
    return scores, found


def _keep(image: Image, key: str) -> Image:
    return image


def _encode_and_decode(
    tiles: NDArray[np.uint8], ids: NDArray[np.int64], degrade: Degrade
) -> Iterator[Image]:
    """The middle frame of each face, read back from a video file."""
    blank = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faces.mp4"
        with VideoWriter(path, WIDTH, HEIGHT, FPS, crf=18) as writer:
            for tile, row in zip(tiles, ids, strict=True):
                images = (render(tile, row),) * (FRAMES_PER_FACE - 1) + (blank,)
                for number, image in enumerate(images):
                    writer.write(degrade(image, f"{row}.{number}"))
        with VideoSource(path, "protocol", "e0") as source:
            for frame in source:
                if frame.header.index % FRAMES_PER_FACE == MIDDLE:
                    yield frame.image


def render(tile: NDArray[np.uint8], row: int | np.int64) -> Image:
    """One face (h, w) grey or (h, w, 3) RGB uint8 on its grey frame, (480, 640, 3) uint8."""
    face = cv2.resize(tile, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    if face.ndim == 2:
        face = cv2.cvtColor(face, cv2.COLOR_GRAY2RGB)
    m = MARGIN_PX
    framed = cv2.GaussianBlur(
        cv2.copyMakeBorder(face, m, m, m, m, cv2.BORDER_REPLICATE), (0, 0), BLUR_PX
    )
    framed[m:-m, m:-m] = face
    frame = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    x0, y0, x1, y1 = _box_of(row).astype(int)
    frame[y0 - m : y1 + m, x0 - m : x1 + m] = framed
    return frame


def _box_of(row: int | np.int64) -> Float32:
    """The box (4,) of a face, drawn by its row: the same row, the same box."""
    rng = np.random.default_rng(int(row))
    x = rng.integers(MARGIN_PX, WIDTH - FACE_PX - MARGIN_PX + 1)
    y = rng.integers(MARGIN_PX, HEIGHT - FACE_PX - MARGIN_PX + 1)
    return np.array([x, y, x + FACE_PX, y + FACE_PX], np.float32)
