"""Clips that the tests encode themselves: each picture carries its number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Encode = Callable[..., Path]
BITS, CELL = 8, 16


def numbered(number: int, height: int = 96) -> Picture:
    """A grey picture, 128 pixels wide, whose upper row of squares spells `number` in binary."""
    picture = np.full((height, BITS * CELL, 3), 90, np.uint8)
    for bit in range(BITS):
        white = number >> bit & 1
        picture[:CELL, bit * CELL : (bit + 1) * CELL] = 235 if white else 20
    return picture


def number_of(picture: Picture) -> int:
    """The number that a decoded picture carries."""
    row = picture[CELL // 4 : 3 * CELL // 4].mean(axis=(0, 2)).reshape(BITS, CELL)
    return sum(1 << bit for bit, light in enumerate(row.mean(axis=1)) if light > 127)


@pytest.fixture(name="numbered")
def _numbered() -> Callable[..., Picture]:
    return numbered


@pytest.fixture(name="number_of")
def _number_of() -> Callable[[Picture], int]:
    return number_of


@pytest.fixture
def encode(tmp_path: Path) -> Encode:
    """Write pictures with FFmpeg as cameras do: B-frames, 25 a second, any container."""

    def write(
        name: str,
        pictures: Sequence[Picture] | int = 30,
        *,
        codec: str = "libx264",
        first: int = 0,
        b_frames: int | None = None,
        rotation: float = 0.0,
        mirrored: bool = False,
        **options: str,
    ) -> Path:
        shown = [numbered(i) for i in range(pictures)] if isinstance(pictures, int) else pictures
        path = tmp_path / name
        with av.open(str(path), "w", options=options) as container:
            settings = {"bf": "2", "g": "12"} if codec == "libx264" else {}
            settings |= {} if b_frames is None else {"bf": str(b_frames)}
            stream = container.add_stream(codec, rate=25, options=settings)
            assert isinstance(stream, VideoStream)
            stream.height, stream.width, _ = shown[0].shape
            stream.pix_fmt = "yuv420p"
            if rotation or mirrored:
                stream.set_display_rotation(rotation, hflip=mirrored)
            for index, picture in enumerate(shown):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = first + index, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write
