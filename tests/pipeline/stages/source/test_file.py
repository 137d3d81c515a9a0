from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.frames import Frame
from pipeline.media.video import VideoWriter
from pipeline.stages.source import file as source_module
from pipeline.stages.source.file import VideoSource

Picture = NDArray[np.uint8]
Encode = Callable[..., Path]
NumberOf = Callable[[Picture], int]


def frames_of(url: str | Path, **options: Any) -> list[Frame]:
    with VideoSource(url, "door", "0123456789ab", **options) as source:
        frames = list(source)
    check_order(frames)
    return frames


def check_order(frames: list[Frame]) -> None:
    """What every source promises, whatever it reads."""
    headers = [frame.header for frame in frames]
    assert [header.index for header in headers] == list(range(len(headers)))
    assert headers[0].pts_s == 0
    assert all(b.pts_s > a.pts_s for a, b in pairwise(headers))
    assert not any(frame.image.flags.writeable for frame in frames)
    assert all(frame.image.flags.c_contiguous for frame in frames)


@pytest.mark.parametrize("name", ["c.mp4", "c.mov", "c.mkv", "c.avi", "c.ts", "c.flv", "c.h264"])
def test_every_picture_in_order(encode: Encode, number_of: NumberOf, name: str) -> None:
    # avi knows no order but that of decoding: no B-frames in it
    path = encode(name, 45, codec="mpeg4" if name == "c.avi" else "libx264")
    with VideoSource(path, "door", "0123456789ab") as source:
        assert source.fps == pytest.approx(25)
        if name != "c.h264":
            assert source.duration_s == pytest.approx(1.8, abs=0.1)
            assert source.frame_count == pytest.approx(45, abs=2)
        frames = list(source)
        assert source.damage == ""
    check_order(frames)
    assert [number_of(frame.image) for frame in frames] == list(range(45))
    times = [frame.header.pts_s for frame in frames]
    assert times == pytest.approx([i / 25 for i in range(45)], abs=0.0011)  # flv, mkv: whole ms


def test_header(encode: Encode) -> None:
    header = frames_of(encode("c.mp4"), origin_ms=5_000)[3].header
    assert (header.camera, header.run, header.clock) == ("door", "0123456789ab", "media")
    assert (header.captured_ms, header.received_ms) == (5_120, 5_120)
    assert (header.width, header.height) == (128, 96)


def test_first_stamp_need_not_be_zero(encode: Encode) -> None:
    frames = frames_of(encode("c.ts", first=1000))
    assert [frame.header.pts_s for frame in frames[:3]] == pytest.approx([0.0, 0.04, 0.08])


def test_variable_rate(tmp_path: Path, numbered: Callable[[int], Picture]) -> None:
    times = [0.0, 0.033, 0.4, 0.41, 1.9, 2.0]
    with VideoWriter(tmp_path / "c.mp4", 128, 96, 25) as video:
        for index, pts_s in enumerate(times):
            video.write(numbered(index), pts_s)
    frames = frames_of(tmp_path / "c.mp4")
    assert [frame.header.pts_s for frame in frames] == pytest.approx(times, abs=1e-4)
    assert [frame.header.captured_ms for frame in frames] == [0, 33, 400, 410, 1900, 2000]


def quarters() -> Picture:
    """Red, green, blue and grey quarters: no turn or mirror looks like another."""
    colours = np.array([[[230, 30, 30], [30, 200, 30]], [[30, 30, 230], [128, 128, 128]]], np.uint8)
    return np.kron(colours, np.ones((48, 64, 1), np.uint8))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_turned_as_the_camera_was_held(encode: Encode, degrees: int) -> None:
    image = frames_of(encode("c.mp4", [quarters()] * 3, rotation=degrees))[1].image
    upright = np.rot90(quarters(), degrees // 90)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 4


@pytest.mark.needs("ffmpeg")
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_mirrored_as_ffmpeg_does(encode: Encode, degrees: int) -> None:
    path = encode("c.mp4", [quarters()] * 3, rotation=degrees, mirrored=True)
    image = frames_of(path)[0].image
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo"]
    raw = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    expected = np.frombuffer(raw.stdout, np.uint8).reshape(image.shape)
    assert np.abs(image.astype(int) - expected).mean() < 1


def test_one_picture(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.webp", "a.bmp"):
        cv2.imwrite(str(tmp_path / name), quarters()[..., ::-1])
        (frame,) = frames_of(tmp_path / name)
        assert np.abs(frame.image.astype(int) - quarters()).mean() < 6


def test_two_readings_are_equal(encode: Encode) -> None:
    def digest() -> str:
        frames = frames_of(path)
        return hashlib.sha256(
            b"".join(f.image.tobytes() + repr(f.header).encode() for f in frames)
        ).hexdigest()

    path = encode("c.mp4")
    assert digest() == digest()


class FakeTime:
    """A wall clock that moves only when it is slept on, or by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000
        self.slept: list[float] = []

    def clock(self) -> int:
        return self.now_ms

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_ms += round(seconds * 1000)


def test_realtime_plays_at_its_own_pace(encode: Encode) -> None:
    time = FakeTime()
    frames = frames_of(encode("c.mp4", 5), clock=time.clock, realtime=True, sleep=time.sleep)
    assert time.slept == pytest.approx([0.04] * 4)
    assert [f.header.captured_ms - 1_700_000_000_000 for f in frames] == [0, 40, 80, 120, 160]
    assert all(f.header.received_ms == f.header.captured_ms for f in frames)
    assert {f.header.clock for f in frames} == {"arrival"}


def test_realtime_shows_its_lag_and_catches_up(encode: Encode) -> None:
    time = FakeTime()
    path = encode("c.mp4", 5)
    lags = []
    with VideoSource(
        path, "door", "e1", clock=time.clock, realtime=True, sleep=time.sleep
    ) as source:
        for frame in source:
            lags.append(frame.header.received_ms - frame.header.captured_ms)
            time.now_ms += 100 if frame.header.index == 1 else 0
    assert lags == [0, 0, 60, 20, 0]


def as_webcam(monkeypatch: pytest.MonkeyPatch, path: Path, wrap: Callable[[Any], Any]) -> None:
    """Let a file stand in for the device, as there is none here."""

    def opened(url: str, resources: ExitStack, limit: Any) -> Any:
        assert url == "webcam:0"
        return wrap(resources.enter_context(av.open(str(path))))

    monkeypatch.setattr(source_module, "_open", opened)


def test_webcam_is_stamped_on_arrival(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    as_webcam(monkeypatch, encode("c.mp4", 4), lambda container: container)
    ticks = iter(range(1_000, 2_000, 7))
    with VideoSource("webcam:0", "door", "e1", clock=lambda: next(ticks)) as source:
        assert (source.duration_s, source.frame_count) == (None, 4)
        headers = [frame.header for frame in islice(source, 4)]
    assert [header.captured_ms for header in headers] == [1000, 1007, 1014, 1021]
    assert [header.received_ms for header in headers] == [1000, 1007, 1014, 1021]
    assert {header.clock for header in headers} == {"arrival"}


class Unplugged:
    """A container that loses its device after three packets."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self) -> Iterator[Any]:
        for packet, _ in zip(self._container.demux(), range(3), strict=False):
            yield packet
        raise av.error.OSError(19, "No such device", "/dev/video0")


@pytest.mark.parametrize(("wrap", "count"), [(Unplugged, 3), (lambda container: container, 9)])
def test_lost_webcam(
    encode: Encode, monkeypatch: pytest.MonkeyPatch, wrap: Callable[[Any], Any], count: int
) -> None:
    as_webcam(monkeypatch, encode("c.mkv", 9, codec="mpeg4"), wrap)
    with VideoSource("webcam:0", "door", "e1") as source:
        assert (source.duration_s, source.frame_count) == (None, None)
        frames = iter(source)
        assert [frame.header.index for frame in islice(frames, count)] == list(range(count))
        with pytest.raises(InputError, match="webcam lost: webcam:0"):
            next(frames)


@pytest.mark.parametrize("url", ["webcam:63", "/dev/video63"])
def test_no_webcam(url: str) -> None:
    device = f"/dev/video{url[-2:]}"
    missing = (
        f"no webcam there .*: {device}: plug it in|the container has no such webcam: {device}: "
    )
    with pytest.raises(InputError, match=missing):
        VideoSource(url, "door", "e1")


@pytest.mark.parametrize(
    ("name", "count", "shape", "end_s"),
    [
        ("pyfeat_face_noface.mov", 169, (540, 960, 3), 6.36),
        ("intel_face-demographics-walking-and-pause.gif", 41, (270, 480, 3), 3.33),
        ("pyfeat_no_face.mp4", 95, (540, 960, 3), 3.917),
    ],
)
def test_real_clips(
    data: Path, name: str, count: int, shape: tuple[int, int, int], end_s: float
) -> None:
    with VideoSource(data / "media" / name, "door", "0123456789ab") as source:
        frames = list(source)
        assert source.frame_count == pytest.approx(count, abs=3)
        assert source.damage == ""
    check_order(frames)
    assert (len(frames), frames[0].image.shape) == (count, shape)
    assert frames[-1].header.pts_s == pytest.approx(end_s, abs=0.001)
