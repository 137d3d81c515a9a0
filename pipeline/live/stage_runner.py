"""One camera in this process: every stage in turn, from the source to the sink.

Every reader of a camera uses it: `analyze`, the tests, and each camera worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from models.detectors.base import Picture
from models.faces import Faces
from pipeline.camera_config import CameraConfig
from pipeline.camera_states import ENDED, STOPPED, state_after
from pipeline.clock import Clock, wall_clock
from pipeline.errors import StageFailed, UndercamError
from pipeline.frames import ClassifiedFaces, ConnectionState, CroppedFaces, Frame
from pipeline.records import Event
from pipeline.settings import TrackerSettings
from pipeline.stages.crop import Crop
from pipeline.stages.events import EventBuilder, TrackSummary
from pipeline.stages.frame_sampler import FrameSampler
from pipeline.stages.route import Router, SecondOpinion
from pipeline.stages.source.base import Source
from pipeline.stages.source.file import VideoSource
from pipeline.stages.status import StatusMonitor
from pipeline.stages.track import Tracker


class ClassifierClient(SecondOpinion, Protocol):
    """Classifies cropped faces, here or in a pool; its names stand in the events."""

    @property
    def model(self) -> str:
        """Name of the weights."""
        ...

    @property
    def mode(self) -> str:
        """How they are used: draws, flips."""
        ...

    def __call__(self, cropped: CroppedFaces) -> ClassifiedFaces:
        """Scores of the cropped faces of a frame, in their order; there may be none."""
        ...


Sink = Callable[[Sequence[Event]], None]
"""Takes the records of a frame, in order; the next frame is read when it returns."""
OnFrame = Callable[[Frame, Sequence[Event], bool], None]
"""Called with every decoded frame, its records, and whether it was analysed."""


@dataclass
class RunSummary:
    """The result of a run. `shed` counts frames by cause; of a file none is shed."""

    frames: int = 0
    analysed: int = 0
    shed: dict[str, int] = field(default_factory=dict)
    tracks: list[TrackSummary] = field(default_factory=list)


def run_camera(
    source: Source,
    detect: Callable[[Picture], Faces],
    classify: ClassifierClient,
    config: CameraConfig,
    sink: Sink,
    *,
    pace: FrameSampler | None = None,
    watch: StatusMonitor | None = None,
    clock: Clock = wall_clock,
    display: Callable[[Frame], Frame] | None = None,
    seen: OnFrame = lambda frame, events, analysed: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunSummary:
    """Play a source through all stages until it ends or `stop()` says so.

    `pace` picks the frames that are analysed, by default at the camera's rate; `watch` keeps the
    camera's states. `display` changes what the camera sees, as a display in front of it would (see
    `pipeline.media.display_simulation`).
    Raises StageFailed when a stage raises what it should not; what was written before stays, and
    the ends of the tracks and of the camera's run are written too.
    """
    watch = watch or StatusMonitor(source.camera, source.run, clock)
    pace = pace or FrameSampler(config.settings.source.analyse_fps)
    stages = _Stages(source, detect, classify, config, clock)
    summary, state, ending = RunSummary(), "", ""
    try:
        for frame in source:
            if isinstance(frame, ConnectionState):
                sink(watch.silence(frame, source.shed))
            else:
                frame = display(frame) if display else frame
                is_due = pace.is_due(frame.header.pts_s)
                events = stages(frame) if is_due else []
                events += watch.frame(frame.header, is_due, source.shed)
                sink(events)
                seen(frame, events, is_due)
                summary.frames += 1
                summary.analysed += is_due
            if stop():
                state = STOPPED
                break
    except Exception as error:
        what = (
            str(error) if isinstance(error, UndercamError) else f"{type(error).__name__}: {error}"
        )
        sink([*stages.finish(), *watch.end(what, state_after(error))])
        raise
    if not state:
        state, ending = (STOPPED, "") if source.ending == STOPPED else (ENDED, source.ending)
    sink([*stages.finish(), *watch.end(ending, state)])
    summary.tracks, summary.shed = stages.observe.ended, dict(source.shed)
    return summary


class _Stages:
    """From a frame to its records; the state of the camera's faces lives in these stages."""

    def __init__(
        self,
        source: Source,
        detect: Callable[[Picture], Faces],
        classify: ClassifierClient,
        config: CameraConfig,
        clock: Clock,
    ) -> None:
        settings = config.settings
        self._detect, self._classify = detect, classify
        self._tracker, self._crop = (
            Tracker(_tracker_settings(source, settings.tracker)),
            Crop(settings.crop),
        )
        self._route = Router(settings.emotion, config.under_display)
        self.observe = EventBuilder(
            source.camera, source.run, classify.model, classify.mode, settings.smoother, clock
        )

    def __call__(self, frame: Frame) -> list[Event]:
        with _name_frame(frame):
            tracked = self._tracker.update(frame.header, self._detect(frame.image))
            cropped = self._route(self._crop(frame, tracked))
            classified, late = self._route.ask_again(
                self._classify, cropped, self._classify(cropped)
            )
            return self.observe(classified, late)

    def finish(self) -> list[Event]:
        return self.observe.finish(self._tracker.finish())


def _tracker_settings(source: Source, settings: TrackerSettings) -> TrackerSettings:
    """An image, or a clip of a second, is too short to confirm a track: its first detection is one
    already."""
    if isinstance(source, VideoSource) and source.packets is not None:
        return settings.model_copy(update={"confirm_s": 0.0})
    return settings


@contextmanager
def _name_frame(frame: Frame) -> Iterator[None]:
    try:
        yield
    except UndercamError:
        raise
    except Exception as error:
        where = f"camera {frame.header.camera}, frame {frame.header.index}"
        what = f"a stage failed ({type(error).__name__}: {error})"
        raise StageFailed(what, where, "set UNDERCAM_DEBUG=1 and report it") from error
