"""The whole pipeline's accuracy: aligned faces shown in a video, found and named again.

Each face stands 192 px large, its border continued and blurred, somewhere on a grey 640 x 480
picture, for three frames and a blank one, in H.264 at crf 18. The middle frame counts: detect,
crop, classify, no smoothing. A face without a box of IoU >= 0.3 is not found.

Under a display the camera sees the whole picture through it, each frame with noise of its own.
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
from pipeline.media.display_simulation import Display
from pipeline.media.video import VideoWriter
from pipeline.stages.detect import Detect
from pipeline.stages.source.file import VideoSource

WIDTH, HEIGHT, GREY, FPS = 640, 480, 128, 25.0
FACE_PX, MARGIN_PX, BLUR_PX = 192, 48, 12
FRAMES_A_FACE, MIDDLE = 4, 1
CLIP_FACES = 160
LEAST_IOU = 0.3
Picture = NDArray[np.uint8]
Progress = Callable[[int, int], None]
Camera = Callable[[Picture, str], Picture]
"""Sees a picture, with the noise that belongs to the key."""


def through_video(
    classifier: EmotionClassifier,
    detect: Detect,
    tiles: NDArray[np.uint8],
    ids: NDArray[np.int64],
    progress: Progress = lambda done, of: None,
    dataset: str = "",
    cell: str = CLEAN,
) -> tuple[Float32, NDArray[np.bool_]]:
    """Show aligned tiles (n, h, w[, 3]) uint8 in a video and classify what is found there.

    `ids` (n,) place the faces; `cell` is clean or a panel of `models.udc.suites`, its noise by
    `dataset` and id. Returns probabilities (n, K), zeros where no face was found, and whether it
    was found (n,). Raises ValueError for a cell without a panel.
    """
    camera: Camera = _open_air if cell == CLEAN else Display(cell, FACE_PX, f"{dataset}, video")
    scores = np.zeros((len(tiles), len(classifier.card.labels)), np.float32)
    found = np.zeros(len(tiles), bool)
    for start in range(0, len(tiles), CLIP_FACES):
        rows = range(start, min(start + CLIP_FACES, len(tiles)))
        for row, picture in zip(rows, _filmed(tiles[rows], ids[rows], camera), strict=True):
            faces = detect(picture)
            right = np.nonzero(iou(faces.boxes, _place(ids[row])[None])[:, 0] >= LEAST_IOU)[0]
            if len(right):
                crop = crop_faces(picture, faces[right[:1]])
                scores[row] = classifier.predict(crop, ids[row : row + 1]).probabilities[0]
                found[row] = True
        progress(rows.stop, len(tiles))
    return scores, found


def _open_air(picture: Picture, key: str) -> Picture:
    return picture


def _filmed(tiles: NDArray[np.uint8], ids: NDArray[np.int64], camera: Camera) -> Iterator[Picture]:
    """The middle frame of each face, after it went through a video file."""
    blank = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faces.mp4"
        with VideoWriter(path, WIDTH, HEIGHT, FPS, crf=18) as writer:
            for tile, row in zip(tiles, ids, strict=True):
                pictures = (render(tile, row),) * (FRAMES_A_FACE - 1) + (blank,)
                for number, picture in enumerate(pictures):
                    writer.write(camera(picture, f"{row}.{number}"))
        with VideoSource(path, "protocol", "e0") as source:
            for frame in source:
                if frame.header.index % FRAMES_A_FACE == MIDDLE:
                    yield frame.image


def render(tile: NDArray[np.uint8], row: int | np.int64) -> Picture:
    """One face (h, w) grey or (h, w, 3) RGB uint8 on its grey picture, (480, 640, 3) uint8."""
    face = cv2.resize(tile, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    if face.ndim == 2:
        face = cv2.cvtColor(face, cv2.COLOR_GRAY2RGB)
    m = MARGIN_PX
    around = cv2.GaussianBlur(
        cv2.copyMakeBorder(face, m, m, m, m, cv2.BORDER_REPLICATE), (0, 0), BLUR_PX
    )
    around[m:-m, m:-m] = face
    picture = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    x0, y0, x1, y1 = _place(row).astype(int)
    picture[y0 - m : y1 + m, x0 - m : x1 + m] = around
    return picture


def _place(row: int | np.int64) -> Float32:
    """The box (4,) of a face, the same for the same row."""
    rng = np.random.default_rng(int(row))
    x = rng.integers(MARGIN_PX, WIDTH - FACE_PX - MARGIN_PX + 1)
    y = rng.integers(MARGIN_PX, HEIGHT - FACE_PX - MARGIN_PX + 1)
    return np.array([x, y, x + FACE_PX, y + FACE_PX], np.float32)
