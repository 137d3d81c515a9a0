"""What TensorBoard reads back is what a run has reported."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from trainer.tensorboard import TensorBoard, draw_hardest
from trainer.validation import HardFace


def read_values(folder: Path) -> Iterator[tuple[str, int, Any]]:
    """Every tag, step and value, from the records of the one file: length, checksum, content,
    checksum."""
    (file,) = folder.iterdir()
    content, place = file.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = Event.FromString(content[place + 12 : place + 12 + length])
        for value in event.summary.value:
            of = value.image.encoded_image_string or value.simple_value
            yield value.tag, event.step, of
        place += 16 + length


def face(level: int, shape: tuple[int, ...] = (48, 48)) -> HardFace:
    return HardFace(np.full(shape, level, np.uint8), "fear", "surprise", 4.5)


def test_reports_become_curves_and_an_image(tmp_path: Path) -> None:
    with closing(TensorBoard(tmp_path)) as board:
        board.write({"dtype": "float32", "threads": 1})
        for epoch, accuracy in ((1, 0.25), (2, 0.5)):
            board.write(
                {
                    **{"stage": "fit", "epoch": epoch, "epochs": 2, "loss": 2.0 / epoch},
                    **{"accuracy": accuracy, "recall": {"fear": 0.125 * epoch}},
                    **({"hardest": [face(9), face(200)]} if epoch == 2 else {}),
                }
            )
    found = {(tag, step): value for tag, step, value in read_values(tmp_path)}
    image = found.pop(("fit/hardest", 2))
    assert found == {
        ("fit/loss", 1): 2.0, ("fit/loss", 2): 1.0,
        ("fit/accuracy", 1): 0.25, ("fit/accuracy", 2): 0.5,
        ("fit/recall/fear", 1): 0.125, ("fit/recall/fear", 2): 0.25,
    }  # fmt: skip
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    assert pixels[40, 40].tolist() == [9, 9, 9]
    assert pixels[40, 96 + 40].tolist() == [200, 200, 200]


@pytest.mark.parametrize("count", [1, 8, 9])
def test_the_hardest_faces_are_in_rows_over_their_labels(count: int) -> None:
    shapes = [(48, 48), (112, 112, 3)]
    image = draw_hardest([face(50, shapes[number % 2]) for number in range(count)])
    rows = -(-count // 8)
    assert image.shape == (rows * 124, 8 * 96, 3)
    assert (image[:96, :96] == 50).all()
    text = image[96:124, :96]
    assert text.min() < 100 < text.max() == 255
