from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from models.faces import Faces
from pipeline.camera_config import CameraConfig
from pipeline.config import Settings
from pipeline.errors import InputError, StageFailed
from pipeline.frames import Frame
from pipeline.live.stage_runner import RunSummary, run_stages
from pipeline.records import CameraStatus, Event, FaceObserved, TrackUpdated
from pipeline.stages.classify import Classify
from pipeline.stages.detect import Detect
from pipeline.stages.source.file import VideoSource

RUN = "0123456789ab"


def play(
    clip: Path, detect: Detect, classify: Classify, analyse_fps: float = 0.0
) -> tuple[RunSummary, list[Event]]:
    events: list[Event] = []
    settings = Settings()
    clock = count(1_000_000)
    with VideoSource(clip, "door", RUN, analyse_fps=analyse_fps) as source:
        summary = run_stages(
            source,
            detect,
            classify,
            CameraConfig(settings),
            events.extend,
            clock=lambda: next(clock),
        )
    return summary, events


def test_a_clip_becomes_one_track_and_its_looks(
    square_clip: Path, detect: Detect, classify: Classify
) -> None:
    summary, events = play(square_clip, detect, classify)
    looks = [event for event in events if isinstance(event, FaceObserved)]
    assert (summary.frames, summary.analysed, summary.shed) == (80, 80, {})
    assert [(track.track, track.observations) for track in summary.tracks] == [(1, len(looks))]
    # Born after 0.15 s, seen until the square goes at 3 s.
    assert summary.tracks[0].start_s == pytest.approx(0.15, abs=0.051)
    assert summary.tracks[0].end_s == pytest.approx(2.95, abs=0.051)
    assert {look.label for look in looks if look.pts_ms < 1400} == {"sadness"}
    assert {look.label for look in looks if look.pts_ms > 1600} == {"happiness"}
    assert len({event.id for event in looks}) == len(looks)
    middle = looks[len(looks) // 2]
    left = (20 + 3 * middle.frame) / 320
    assert middle.box == pytest.approx((left, 90 / 240, left + 60 / 320, 150 / 240), abs=0.01)


def test_a_track_tells_its_life_in_order_and_ends_where_it_was_last_seen(
    square_clip: Path, detect: Detect, classify: Classify
) -> None:
    _, events = play(square_clip, detect, classify)
    lives = [event for event in events if isinstance(event, TrackUpdated)]
    looks = [event for event in events if isinstance(event, FaceObserved)]
    assert [life.phase for life in lives] == ["start", "update", "update", "end"]
    assert [life.seq for life in lives] == [0, 1, 2, 3]
    assert lives[-1].ended_ms == looks[-1].captured_ms
    assert lives[-1].observations == len(looks)
    mean = np.mean([look.probabilities.values() for look in looks], axis=0)
    assert lives[-1].mean.values() == pytest.approx(mean.tolist(), abs=1e-5)


def test_the_same_clip_gives_the_same_bytes_but_for_the_wall_clock(
    square_clip: Path, detect: Detect, classify: Classify
) -> None:
    def lines(events: Sequence[Event]) -> list[str]:
        late = {"classified_ms": 0, "published_ms": 0}
        return [
            event.model_copy(update=late).to_json()
            if isinstance(event, FaceObserved)
            else event.to_json()
            for event in events
        ]

    first, second = (play(square_clip, detect, classify)[1] for _ in range(2))
    assert lines(first) == lines(second)


def test_a_display_stands_before_everything_else(
    square_clip: Path, detect: Detect, classify: Classify
) -> None:
    """Dark frames show no face, and who watches sees them dark as well."""
    seen: list[int] = []

    def dark(frame: Frame) -> Frame:
        return frame.with_image(frame.image // 4)

    def note(frame: Frame, events: Sequence[Event], analysed: bool) -> None:
        seen.append(int(frame.image.max()))

    with VideoSource(square_clip, "door", RUN) as source:
        summary = run_stages(
            source,
            detect,
            classify,
            CameraConfig(Settings()),
            lambda events: None,
            transform=dark,
            on_frame=note,
        )
    assert (summary.frames, summary.tracks) == (80, [])
    assert max(seen) < 64


def test_fewer_frames_may_be_analysed_and_every_frame_is_counted(
    square_clip: Path, detect: Detect, classify: Classify
) -> None:
    summary, events = play(square_clip, detect, classify, analyse_fps=5.0)
    assert (summary.frames, summary.analysed) == (80, 20)
    assert len(summary.tracks) == 1
    statuses = [event for event in events if isinstance(event, CameraStatus)]
    assert [status.state for status in statuses] == ["online", "online", "offline"]
    assert statuses[1].fps == pytest.approx(5.0, abs=0.3)
    assert statuses[-1].reason == "ended: end of file"


def test_a_stage_that_fails_ends_the_run_with_its_cause(
    square_clip: Path, detect: Detect, classify: Classify
) -> None:
    class Broken:
        name = "broken"
        looked = 0

        def detect(self, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Faces:
            self.looked += 1
            if self.looked == 7:
                raise ZeroDivisionError("seventh")
            return Faces.none()

    with pytest.raises(StageFailed, match="camera door, frame 6") as failure:
        play(square_clip, Detect(Broken(), 16), classify)
    assert isinstance(failure.value.__cause__, ZeroDivisionError)


def test_an_error_with_a_remedy_passes_as_it_is(
    square_clip: Path, detect: Detect, classify: Classify
) -> None:
    def full(events: Sequence[Event]) -> None:
        raise InputError("disk full", "events.jsonl", "make room")

    with VideoSource(square_clip, "door", RUN) as source, pytest.raises(InputError, match="disk"):
        run_stages(source, detect, classify, CameraConfig(Settings()), full)


def test_stop_ends_the_run_and_its_tracks(
    square_clip: Path, detect: Detect, classify: Classify
) -> None:
    events: list[Event] = []
    answers = iter([False] * 19 + [True])
    with VideoSource(square_clip, "door", RUN) as source:
        summary = run_stages(
            source,
            detect,
            classify,
            CameraConfig(Settings()),
            events.extend,
            should_stop=lambda: next(answers),
        )
    assert summary.frames == 20
    ends = [event for event in events if isinstance(event, TrackUpdated) and event.phase == "end"]
    assert [event.reason for event in events if isinstance(event, CameraStatus)][-1] == "stopped"
    assert len(ends) == len(summary.tracks) == 1
