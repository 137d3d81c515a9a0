"""Frames that are too large, and frames whose pixels are not square."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray

from models.frame_size import DEFAULT_LIMIT, FrameLimit
from pipeline.errors import InputError
from pipeline.frames import Frame
from pipeline.settings import SourceSettings
from pipeline.stages.source.decoding import MAX_STRETCH, FrameDecoder
from pipeline.stages.source.file import VideoSource
from tests.pipeline.stages.source.cameras import QUICK, http_camera, mjpeg, replies, watch

Picture = NDArray[np.uint8]
Encode = Callable[..., Path]
SMALL = FrameLimit(side_px=120, megapixels=1)
"""Less than the 128 x 96 of the clips here."""
FEW = FrameLimit(side_px=200, megapixels=0.012)


def frames_of(path: Path, limit: FrameLimit = DEFAULT_LIMIT) -> list[Frame]:
    with VideoSource(path, "door", "0123456789ab", limit=limit) as source:
        return list(source)


def sizes_of(path: Path, limit: FrameLimit = DEFAULT_LIMIT) -> list[tuple[int, int]]:
    return [(frame.header.width, frame.header.height) for frame in frames_of(path, limit)]


def big_png(path: Path, side: int) -> Path:
    """A picture of a few kilobytes and very many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + crc

    header = side.to_bytes(4, "big") * 2 + bytes((8, 0, 0, 0, 0))
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + side)) for _ in range(side)) + packer.flush()
    content = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


PEAK = """
import resource, sys
from pipeline.errors import InputError
from pipeline.stages.source.file import VideoSource
def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak_mb()
try:
    list(VideoSource(sys.argv[1], "door", "0123456789ab"))
except InputError as error:
    print(error)
print(round(peak_mb() - before))
"""


def test_a_huge_picture_takes_no_memory(tmp_path: Path) -> None:
    picture = big_png(tmp_path / "huge.png", 16_000)
    command = [sys.executable, "-c", PEAK, str(picture)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    said, grown_mb = run.stdout.splitlines()
    assert said.startswith("a frame larger than 8192 a side or 50 megapixels: ")
    assert int(grown_mb) < 100  # decoded it has 256, and 768 as RGB


@pytest.mark.parametrize("limit", [SMALL, FEW])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("c.mp4", "libx264"),
        ("c.mkv", "libx264"),
        ("c.ts", "libx264"),
        ("c.mpg", "mpeg2video"),
        ("c.avi", "mpeg4"),
        ("c.webm", "libvpx-vp9"),
        ("c.gif", "gif"),
    ],
)
def test_too_large_by_the_header(encode: Encode, name: str, codec: str, limit: FrameLimit) -> None:
    if codec == "gif":
        cv2.imwrite(str(path := encode("c.mp4").with_name(name)), np.zeros((96, 128, 3), np.uint8))
    else:
        path = encode(name, codec=codec)
    with pytest.raises(InputError, match="a frame .*larger than .* source.max_side_px") as caught:
        frames_of(path, limit)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["c.png", "c.jpg", "c.webp", "c.tiff"])
@pytest.mark.parametrize("limit", [SMALL, FEW])
def test_pictures_too_large(tmp_path: Path, name: str, limit: FrameLimit) -> None:
    cv2.imwrite(str(tmp_path / name), np.zeros((96, 128, 3), np.uint8))
    with pytest.raises(InputError, match="larger than"):
        frames_of(tmp_path / name, limit)
    assert sizes_of(tmp_path / name, FrameLimit(128, 128 * 96 / 1e6)) == [(128, 96)]


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("limit", [FrameLimit(200, 1), FrameLimit(8192, 0.02)])
@pytest.mark.parametrize("ending", ["ts", "mjpeg"])
def test_too_large_in_mid_stream(
    encode: Encode, tmp_path: Path, ending: str, limit: FrameLimit
) -> None:
    images = [np.zeros((96 * scale, 128 * scale, 3), np.uint8) for scale in (1, 2)]
    parts = [tmp_path / f"{number}.{ending}" for number in range(2)]
    for part, image in zip(parts, images, strict=True):
        if ending == "mjpeg":
            part.write_bytes(cv2.imencode(".jpg", image)[1].tobytes() * 20)
        else:
            encode(part.name, [image] * 20)
    seen = []
    with (
        VideoSource(joined(tmp_path / f"c.{ending}", *parts), "a", "e0", limit=limit) as it,
        pytest.raises(InputError, match="larger than"),
    ):
        seen.extend(frame.header.width for frame in it)
    assert len(seen) >= 18
    assert set(seen) == {128}


def test_a_camera_that_sends_too_large_frames() -> None:
    tight = SourceSettings(**QUICK.model_dump() | {"max_side_px": 100})
    with (
        http_camera(partial(mjpeg, pictures=50, fps=10)) as url,
        watch(f"{url}/video", settings=tight) as viewer,
    ):
        viewer.finds("refused", "larger than 100 a side")
    assert viewer.frames == []


def face() -> Picture:
    """A disc, which pixels that are not square make an ellipse."""
    picture = np.full((96, 128, 3), 40, np.uint8)
    return cv2.circle(picture, (64, 48), 40, (230, 200, 180), cv2.FILLED)


def stretched(path: Path, ratio: Fraction, rotation: int = 0, count: int = 20) -> Path:
    """The disc as a camera stores it whose pixels have this ratio of width to height."""
    width, height = 128, 96
    size = (round(width / ratio), height) if ratio > 1 else (width, round(height * ratio))
    picture = np.asarray(cv2.resize(face(), size, interpolation=cv2.INTER_AREA), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "2", "crf": "10"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = ratio
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def roundness(image: Picture) -> float:
    """Width of the disc over its height."""
    rows, columns = np.nonzero(image[..., 0] > 130)
    return float(np.ptp(columns) + 1) / float(np.ptp(rows) + 1)


@pytest.mark.parametrize("name", ["c.mp4", "c.mkv", "c.ts", "c.h264"])
@pytest.mark.parametrize("ratio", [Fraction(2), Fraction(4, 3), Fraction(1, 2)])
def test_pixels_become_square(tmp_path: Path, name: str, ratio: Fraction) -> None:
    frames = frames_of(stretched(tmp_path / name, ratio))
    assert len(frames) == 20
    assert {frame.image.shape for frame in frames} == {(96, 128, 3)}
    assert roundness(frames[10].image) == pytest.approx(1, abs=0.05)
    assert np.abs(frames[10].image.astype(int) - face()).mean() < 4


def test_the_ratio_is_that_of_the_stored_frame(tmp_path: Path) -> None:
    upright = frames_of(stretched(tmp_path / "c.mp4", Fraction(2), rotation=90))[5].image
    assert upright.shape == (128, 96, 3)
    assert roundness(upright) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("ratio", [Fraction(100), Fraction(1, 1000), Fraction(101, 100)])
def test_absurd_ratios_are_ignored(encode: Encode, tmp_path: Path, ratio: Fraction) -> None:
    assert not 1 / MAX_STRETCH <= ratio <= MAX_STRETCH or abs(ratio - 1) < 0.02
    path = tmp_path / "c.ts"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = ratio
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(face(), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert sizes_of(path) == [(128, 96)] * 3


@pytest.mark.parametrize(
    ("limit", "size"), [(FrameLimit(100, 1), (100, 75)), (FrameLimit(1000, 0.011), (121, 90))]
)
def test_square_pixels_keep_the_limit(
    tmp_path: Path, limit: FrameLimit, size: tuple[int, int]
) -> None:
    """64 x 96 pixels, twice as wide as high: there is no room for 128 x 96."""
    assert set(sizes_of(stretched(tmp_path / "c.mp4", Fraction(2)), limit)) == {size}


def test_the_ratio_changes_in_mid_stream(tmp_path: Path) -> None:
    first = stretched(tmp_path / "a.ts", Fraction(1))
    second = stretched(tmp_path / "b.ts", Fraction(2))
    for parts in ((first, second), (second, first)):
        sizes = sizes_of(joined(tmp_path / "c.ts", *parts))
        assert sizes == [(128, 96)] * 40


def test_live(tmp_path: Path) -> None:
    clip = stretched(tmp_path / "c.ts", Fraction(2), count=100).read_bytes()

    def answer(request: BaseHTTPRequestHandler) -> None:
        replies(200)(request)
        request.wfile.write(clip)

    with http_camera(answer) as url, watch(url) as viewer:
        viewer.sees(2)
    assert {(frame.width, frame.height) for frame in viewer.frames} == {(128, 96)}


@pytest.mark.needs("data")
def test_the_case_says_what_its_square_twin_says(data: Path) -> None:
    images = [frames_of(data / "cases" / name)[30].image for name in ("sar2.mp4", "sar2square.mp4")]
    assert images[0].shape == images[1].shape == (360, 640, 3)
    assert np.abs(images[0].astype(int) - images[1]).mean() < 2


def test_what_is_attached_to_a_packet_comes_out_with_its_square_frame(tmp_path: Path) -> None:
    with av.open(str(stretched(tmp_path / "c.ts", Fraction(2)))) as container:
        stream = container.streams.video[0]
        decoder = FrameDecoder(stream, DEFAULT_LIMIT)
        stream.codec_context.copy_opaque = True
        frames = []
        for packet in container.demux(stream):
            if packet.size:
                packet.opaque = packet.pts
                frames += decoder.decode(packet)
        frames += decoder.decode(None)
    assert len(frames) == 20
    assert [frame.opaque for frame in frames] == [frame.pts for frame in frames]
    assert {(frame.width, frame.height) for frame in frames} == {(128, 96)}
