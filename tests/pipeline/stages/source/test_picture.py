from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from av.video.frame import VideoFrame

from pipeline.stages.source.file import VideoSource


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def pictures() -> int:
    """That are held at this moment."""
    # Not isinstance: some objects answer that with a warning.
    return sum(type(held) is VideoFrame for held in gc.get_objects())


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("rotation", [0.0, 90.0])
def test_pictures_are_let_go_at_once(encode: Callable[..., Path], rotation: float) -> None:
    """Each is megabytes, and must not wait for the garbage collector."""
    with VideoSource(encode("c.mp4", 60, rotation=rotation), "door", "0123456789ab") as source:
        most = max(pictures() for frame in source if frame.header.index % 20 == 19)
    assert 1 <= most < 20
