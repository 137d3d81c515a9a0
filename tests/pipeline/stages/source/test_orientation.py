from __future__ import annotations

import gc
import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from pipeline.stages.source.file import VideoSource
from pipeline.stages.source.images import ToRgb
from pipeline.stages.source.live import LiveSource
from tests.pipeline.stages.source.cameras import QUICK, http_camera, mjpeg

Picture = NDArray[np.uint8]
ORIENTATION = 0x0112
TURN = Image.Transpose
STORED = {
    1: None,
    2: TURN.FLIP_LEFT_RIGHT,
    3: TURN.ROTATE_180,
    4: TURN.FLIP_TOP_BOTTOM,
    5: TURN.TRANSPOSE,
    6: TURN.ROTATE_90,
    7: TURN.TRANSVERSE,
    8: TURN.ROTATE_270,
}
"""How an upright picture is stored, by the EXIF orientation that makes it upright again."""
KINDS: dict[str, dict[str, Any]] = {
    "jpg": {"quality": 95, "subsampling": 0},
    "png": {},
    "webp": {"lossless": True},
    "tiff": {},
}


def quarters() -> Picture:
    """Red, green, blue and grey quarters: no turn or mirror looks like another."""
    colours = np.array([[[230, 30, 30], [30, 200, 30]], [[30, 30, 230], [128, 128, 128]]], np.uint8)
    return np.kron(colours, np.ones((48, 64, 1), np.uint8))


def stored(orientation: int, kind: str = "jpg") -> bytes:
    """The picture as a camera that was held so writes it."""
    picture, turn = Image.fromarray(quarters()), STORED[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = io.BytesIO()
    turned = picture if turn is None else picture.transpose(turn)
    turned.save(content, {"jpg": "jpeg"}.get(kind, kind), exif=exif, **KINDS[kind])
    return content.getvalue()


def images_of(path: Path) -> list[Picture]:
    with VideoSource(path, "door", "0123456789ab") as source:
        return [frame.image for frame in source]


def check_upright(image: Picture) -> None:
    assert image.shape == (96, 128, 3)
    assert np.abs(image.astype(int) - quarters()).mean() < 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", STORED)
def test_exif_turns_pictures(tmp_path: Path, kind: str, orientation: int) -> None:
    path = tmp_path / f"c.{kind}"
    path.write_bytes(stored(orientation, kind))
    (image,) = images_of(path)
    check_upright(image)


def muxed(path: Path, jpegs: list[bytes]) -> Path:
    """Motion JPEG of these pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = Image.open(io.BytesIO(jpegs[0])).size
        stream.pix_fmt = "yuvj444p"
        for index, jpeg in enumerate(jpegs):
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = index
            packet.is_keyframe = True
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["c.avi", "c.mov", "c.mkv"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_turns_motion_jpeg(tmp_path: Path, name: str, orientation: int) -> None:
    images = images_of(muxed(tmp_path / name, [stored(orientation)] * 5))
    assert len(images) == 5
    for image in images:
        check_upright(image)


def test_every_frame_is_turned_by_itself(tmp_path: Path) -> None:
    """A camera that is turned over while it films, 1 to 4 among them: both "rotated by 0"."""
    images = images_of(muxed(tmp_path / "c.avi", [stored(turned) for turned in (1, 4, 2, 3, 1)]))
    for image in images:
        check_upright(image)


@pytest.mark.parametrize("orientation", [1, 5, 6])
def test_exif_turns_live_pictures(orientation: int) -> None:
    camera = partial(mjpeg, pictures=100, fps=20, jpeg=stored(orientation))
    with (
        http_camera(camera) as url,
        LiveSource(f"{url}/video", "door", "e1", QUICK) as source,
    ):
        check_upright(next(seen for seen in source if hasattr(seen, "image")).image)


def test_unknown_side_data_never_matters(tmp_path: Path) -> None:
    (tmp_path / "c.jpg").write_bytes(stored(7))
    with av.open(str(tmp_path / "c.jpg")) as container:
        frame = next(container.decode(video=0))
    with pytest.raises(ValueError, match="31 is not a valid Type"):
        SideDataContainer(frame)
    check_upright(ToRgb()(frame))


@pytest.mark.needs("data")
@pytest.mark.parametrize("name", ["exif6.jpg", "exif.png"])
def test_the_cases_open(data: Path, name: str) -> None:
    (image,) = images_of(data / "cases" / name)
    assert image.shape == (360, 640, 3)


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
