"""A run as TensorBoard shows it: loss, learning rate, accuracy, recall of each class, and, where a
run reports them, the hardest faces. The only file that imports tensorboardX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tensorboardX import SummaryWriter

from trainer.validation import HardFace

WITHOUT_A_CURVE = {"stage", "epoch", "epochs"}
FACE_PX, TEXT_PX, COLUMNS = 96, 14, 8


class TensorBoard:
    """Writes reports of the loop into a folder for `tensorboard --logdir`; each stage has curves of
    its own, over its epochs."""

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(str(folder))

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

    def write(self, line: Mapping[str, Any]) -> None:
        """One report; one that is of no epoch, as that of the number format, is left out."""
        if "epoch" not in line:
            return
        stage, epoch = line["stage"], line["epoch"]
        for name, value in line.items():
            if isinstance(value, Real) and name not in WITHOUT_A_CURVE:
                self._writer.add_scalar(f"{stage}/{name}", float(value), epoch)
        for label, share in line.get("recall", {}).items():
            self._writer.add_scalar(f"{stage}/recall/{label}", share, epoch)
        if line.get("hardest"):
            image = draw_hardest(line["hardest"])
            self._writer.add_image(f"{stage}/hardest", image, epoch, dataformats="HWC")
        self._writer.flush()


def draw_hardest(faces: Sequence[HardFace]) -> NDArray[np.uint8]:
    """Faces in rows of COLUMNS, each over its label and its predicted class: (h, w, 3) RGB."""
    cells = [_draw_face(face) for face in faces]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % COLUMNS)
    rows = [np.hstack(cells[start : start + COLUMNS]) for start in range(0, len(cells), COLUMNS)]
    return np.vstack(rows)


def _draw_face(face: HardFace) -> NDArray[np.uint8]:
    tile = cv2.resize(face.tile, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA)
    if tile.ndim == 2:
        tile = cv2.cvtColor(tile, cv2.COLOR_GRAY2RGB)
    cell = np.full((FACE_PX + 2 * TEXT_PX, FACE_PX, 3), 255, np.uint8)
    cell[:FACE_PX] = tile
    for row, text in enumerate((face.label, f"{face.predicted}?"), start=1):
        place = (2, FACE_PX + row * TEXT_PX - 3)
        cv2.putText(cell, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return cell
