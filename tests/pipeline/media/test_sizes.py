"""Clips that change their size, pictures, and clips too short to wait in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.camera_config import CameraConfig
from pipeline.config import Settings
from pipeline.frames import Frame
from pipeline.live.stage_runner import RunSummary, run_stages
from pipeline.media.annotated_video import AnnotatedVideo
from pipeline.media.video import VideoWriter
from pipeline.records import Event, FaceObserved, TrackUpdated
from pipeline.stages.classify import Classify
from pipeline.stages.detect import Detect
from pipeline.stages.source.file import VideoSource
from pipeline.stages.source.looped import LoopedFile

Picture = NDArray[np.uint8]
RUN = "0123456789ab"
SETTINGS = Settings.model_validate({"emotion": {"routes": {"fast": {"degraded_weights": ""}}}})


def square(width: int, height: int, left: int, top: int, side: int) -> Picture:
    """A bright face in the dark."""
    picture = np.full((height, width, 3), 30, np.uint8)
    picture[top : top + side, left : left + side] = 230
    return picture


def transport_stream(path: Path, pictures: Sequence[Picture]) -> Path:
    """One piece for each size, one after the other."""
    pieces, started = [], 0
    for index in range(1, len(pictures) + 1):
        if index < len(pictures) and pictures[index].shape == pictures[started].shape:
            continue
        piece = path.with_suffix(f".{started}.ts")
        with av.open(str(piece), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "12", "bf": "0"})
            assert isinstance(stream, VideoStream)
            stream.height, stream.width, _ = pictures[started].shape
            stream.pix_fmt = "yuv420p"
            for number in range(started, index):
                frame = av.VideoFrame.from_ndarray(pictures[number], format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        pieces.append(piece.read_bytes())
        started = index
    path.write_bytes(b"".join(pieces))
    return path


def play(
    clip: Path,
    detect: Detect,
    classify: Classify,
    seen: Callable[..., None] = lambda *_: None,
) -> tuple[RunSummary, list[Event]]:
    events: list[Event] = []
    with VideoSource(clip, "door", RUN) as source:
        summary = run_stages(
            source, detect, classify, CameraConfig(SETTINGS), events.extend, on_frame=seen
        )
    return summary, events


@pytest.mark.parametrize("second", [(160, 120), (640, 480), (200, 240), (640, 120)])
def test_a_size_that_changes_is_fitted_into_the_first(
    tmp_path: Path, detect: Detect, classify: Classify, second: tuple[int, int]
) -> None:
    """With its boxes: they lie round the face, wherever the bars are."""
    width, height = second
    side = min(width, height) // 3
    first = [square(320, 240, 100, 90, 80)] * 30
    other = square(width, height, width // 4, height // 3, side)
    path = transport_stream(tmp_path / "c.ts", [*first, *[other] * 30])
    out, drawn = tmp_path / "out.mp4", []

    class Seeing(AnnotatedVideo):
        def write(self, frame: Frame, events: Sequence[Event], *rest: bool) -> None:
            assert self._fit or not drawn
            super().write(frame, events, *rest)
            assert self._fit
            drawn.append((self._fit.frame(frame).image, self._fit.events(events, frame)))

    with Seeing(out, 25) as film:
        play(path, detect, classify, film.write)
    with VideoSource(out, "a", "e0") as source:
        assert {frame.image.shape for frame in source} == {(240, 320, 3)}
    image, events = drawn[50]
    rows, columns = np.nonzero(image[..., 0] > 130)
    (look,) = (event for event in events if isinstance(event, FaceObserved))
    face = (
        columns.min() / 320,
        rows.min() / 240,
        (columns.max() + 1) / 320,
        (rows.max() + 1) / 240,
    )
    assert look.box == pytest.approx(face, abs=0.02)
    # Squares stay squares, and the bars are black.
    assert np.ptp(columns) == pytest.approx(np.ptp(rows), abs=3)
    scale = min(320 / width, 240 / height)
    bars = (240 - round(height * scale)) // 2, (320 - round(width * scale)) // 2
    assert image[: bars[0]].max(initial=0) == 0
    assert image[:, : bars[1]].max(initial=0) == 0


def test_a_track_goes_on_when_the_size_changes(
    tmp_path: Path, detect: Detect, classify: Classify
) -> None:
    small, large = square(160, 120, 50, 40, 40), square(640, 480, 200, 160, 160)
    path = transport_stream(tmp_path / "c.ts", [*[small] * 30, *[large] * 30, *[small] * 30])
    summary, _ = play(path, detect, classify)
    assert [track.track for track in summary.tracks] == [1]
    assert summary.tracks[0].observations > 80


def clip_of(path: Path, frames: int, fps: float = 25) -> Path:
    with VideoWriter(path, 320, 240, fps) as writer:
        for _ in range(frames):
            writer.write(square(320, 240, 100, 90, 80))
    return path


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 12, 25])
def test_a_short_clip_keeps_every_observation(
    tmp_path: Path, detect: Detect, classify: Classify, frames: int
) -> None:
    summary, events = play(clip_of(tmp_path / "c.mp4", frames), detect, classify)
    looks = [event for event in events if isinstance(event, FaceObserved)]
    assert [look.frame for look in looks] == list(range(frames))
    (track,) = summary.tracks
    assert (track.track, track.start_s, track.observations) == (1, 0.0, frames)
    assert track.end_s == pytest.approx((frames - 1) / 25)
    phases = [event.phase for event in events if isinstance(event, TrackUpdated)]
    assert (phases[0], phases[-1]) == ("start", "end")


@pytest.mark.parametrize("name", ["c.mkv", "c.ts", "c.avi", "c.mjpeg", "c.gif"])
def test_whether_a_clip_is_short_is_read_and_not_believed(
    tmp_path: Path, detect: Detect, classify: Classify, name: str
) -> None:
    """Some formats know no length, and some lie."""
    path = tmp_path / name
    codec = {"c.gif": "gif", "c.mjpeg": "mjpeg"}.get(name, "mpeg4")
    pixels = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 240, pixels
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(square(320, 240, 100, 90, 80), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode())
    summary, _ = play(path, detect, classify)
    assert [track.observations for track in summary.tracks] == [3]


def test_a_longer_clip_and_a_live_camera_wait_as_ever(
    tmp_path: Path, detect: Detect, classify: Classify
) -> None:
    summary, _ = play(clip_of(tmp_path / "c.mp4", 60), detect, classify)
    assert summary.tracks[0].start_s == pytest.approx(0.16)
    events: list[Event] = []
    with LoopedFile(clip_of(tmp_path / "d.mp4", 10), "door", "e1", 0) as source:
        stop = lambda: any(isinstance(event, FaceObserved) for event in events)  # noqa: E731
        run_stages(
            source, detect, classify, CameraConfig(Settings()), events.extend, should_stop=stop
        )
    look = next(event for event in events if isinstance(event, FaceObserved))
    assert look.pts_ms >= 150


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_picture_is_annotated_as_a_picture(
    tmp_path: Path, detect: Detect, classify: Classify, ending: str
) -> None:
    out = tmp_path / f"out.{ending}"
    with AnnotatedVideo(out, 25) as film:
        play(clip_of(tmp_path / "c.mp4", 1), detect, classify, film.write)
    with VideoSource(out, "a", "e0") as source:
        (frame,) = source
    assert frame.image.shape == (240, 320, 3)
    assert np.abs(frame.image.astype(int) - square(320, 240, 100, 90, 80)).max() > 60
