"""All stages of one camera in this process, from the source to the sink.

Whatever reads a camera runs this loop: `analyze`, the tests, and each camera worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from models.faces import Faces
from pipeline.camera_config import CameraConfig
from pipeline.camera_states import ENDED, STOPPED, state_after_error
from pipeline.clock import Clock, wall_clock
from pipeline.errors import StageFailed, UndercamError
from pipeline.frames import ClassifiedFaces, ConnectionState, CroppedFaces, Frame
from pipeline.records import Event
from pipeline.settings import TrackerSettings
from pipeline.stages.crop import Crop
from pipeline.stages.detect import Detect
from pipeline.stages.events import EventBuilder, TrackSummary
from pipeline.stages.route import RobustClient, Router
from pipeline.stages.search import FaceSearch
from pipeline.stages.source.base import Source
from pipeline.stages.status import StatusMonitor
from pipeline.stages.track import Tracker


class FaceClassifier(RobustClient, Protocol):
    """Classifies cropped faces, here or in a pool; its names stand in the events."""

    @property
    def model(self) -> str:
        """Name of the weights, as it stands in the events."""
        ...

    @property
    def mode(self) -> str:
        """How the weights are used, as it stands in the events."""
        ...

    @property
    def crop(self) -> str:
        """The geometry of the crops that the weights take; raises ModelError where they differ."""
        ...

    def wait_for(self, routes: Iterable[str]) -> None:
        """Wait until these routes can answer; raises ServiceError where one does not come."""
        ...

    def __call__(self, cropped: CroppedFaces) -> ClassifiedFaces:
        """Classify the cropped faces of one frame, in their order; there may be none."""
        ...


Sink = Callable[[Sequence[Event]], None]
"""Takes the records of a frame, in order; the next frame is read when it returns."""
OnFrame = Callable[[Frame, Sequence[Event], bool], None]
"""Called for every decoded frame with its records, and whether it was analysed; a frame that was
not has no faces."""


@dataclass
class RunSummary:
    """The outcome of a run. `shed` counts shed frames by cause; a file sheds none."""

    frames: int = 0
    analysed: int = 0
    shed: dict[str, int] = field(default_factory=dict)
    tracks: list[TrackSummary] = field(default_factory=list)


OnSearch = Callable[[str, float], None]
"""Called for every analysed frame: how much of it was searched (see `pipeline.stages.search`), and
the seconds that took."""


def run_stages(
    source: Source,
    detect: Detect,
    classify: FaceClassifier,
    config: CameraConfig,
    sink: Sink,
    *,
    monitor: StatusMonitor | None = None,
    clock: Clock = wall_clock,
    transform: Callable[[Frame], Frame] | None = None,
    on_frame: OnFrame = lambda frame, events, analysed: None,
    on_search: OnSearch = lambda how, seconds: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> RunSummary:
    """Pass the frames of a source through all stages until it ends or `should_stop()`.

    `config` are the settings in force for the camera; `monitor` makes its status records.
    `transform` changes each frame before the stages see it (see
    `pipeline.media.display_simulation`).
    Raises StageFailed when a stage raises an unexpected error. Whatever ends the run, what was
    written before stays, and the tracks and the camera get their closing records.
    """
    monitor = monitor or StatusMonitor(source.camera, source.run, clock)
    stages = _Stages(source, detect, classify, config, clock, on_search)
    summary, state, ending = RunSummary(), "", ""
    try:
        for frame in source:
            shed = source.counts().shed
            if isinstance(frame, ConnectionState):
                sink(monitor.report_silence(frame, shed))
            else:
                frame = transform(frame) if transform else frame
                analysed = source.sampler.is_due(frame.header.pts_s)
                events = stages(frame) if analysed else []
                events += monitor.note_frame(frame.header, analysed, shed)
                sink(events)
                on_frame(frame, events, analysed)
                summary.frames += 1
                summary.analysed += analysed
            if should_stop():
                state = STOPPED
                break
    except Exception as error:
        what = (
            str(error) if isinstance(error, UndercamError) else f"{type(error).__name__}: {error}"
        )
        sink([*stages.finish(), *monitor.end(what, state_after_error(error))])
        raise
    if not state:
        state, ending = (STOPPED, "") if source.ending == STOPPED else (ENDED, source.ending)
    sink([*stages.finish(), *monitor.end(ending, state)])
    summary.tracks, summary.shed = stages.build_events.ended, dict(source.counts().shed)
    return summary


class _Stages:
    """From a frame to its records; the state of the camera's faces lives in these stages."""

    def __init__(
        self,
        source: Source,
        detect: Detect,
        classify: FaceClassifier,
        config: CameraConfig,
        clock: Clock,
        on_search: OnSearch,
    ) -> None:
        settings = config.settings
        self._search = FaceSearch(detect, settings.detector, source.is_live)
        self._classify, self._on_search = classify, on_search
        self._tracker = Tracker(_tracker_settings(source, settings.tracker))
        self._crop = Crop(settings.crop, classify.crop)
        mode_key = f"cameras.{source.camera}.mode" if config.has_own_mode else "emotion.mode"
        self._route = Router(settings.emotion, config.under_display, mode_key)
        self.build_events = EventBuilder(
            source.camera, source.run, classify.model, classify.mode, settings.smoother, clock
        )

    def __call__(self, frame: Frame) -> list[Event]:
        with _named_errors(frame):
            tracked = self._tracker.update(frame.header, self._find_faces(frame))
            cropped = self._route(self._crop(frame, tracked))
            classified, late = self._route.ask_robust(
                self._classify, cropped, self._classify(cropped)
            )
            return self.build_events(classified, late)

    def _find_faces(self, frame: Frame) -> Faces:
        began_s = time.perf_counter()
        faces = self._search(frame, self._tracker.predict(frame.header))
        self._on_search(self._search.how, time.perf_counter() - began_s)
        return faces

    def finish(self) -> list[Event]:
        return self.build_events.finish(self._tracker.finish())


def _tracker_settings(source: Source, settings: TrackerSettings) -> TrackerSettings:
    """An image, or a clip of a second at most, leaves no time to confirm a face: there a track
    begins with its first observation."""
    if source.short_clip_frames is not None:
        return settings.model_copy(update={"confirm_s": 0.0})
    return settings


@contextmanager
def _named_errors(frame: Frame) -> Iterator[None]:
    """Name the camera and the frame at which a stage failed."""
    try:
        yield
    except UndercamError:
        raise
    except Exception as error:
        where = f"camera {frame.header.camera}, frame {frame.header.index}"
        what = f"a stage failed ({type(error).__name__}: {error})"
        raise StageFailed(what, where, "set UNDERCAM_DEBUG=1 and report it") from error
