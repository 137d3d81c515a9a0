"""One camera in this process: every stage in turn, from the source to the sink.

All that ever plays a camera goes through here: `analyze`, the tests, and each camera worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from models.detectors.base import Picture
from models.faces import Faces
from pipeline.camera_states import ENDED, STOPPED, state_after
from pipeline.clock import Clock, wall_clock
from pipeline.config import Settings
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
    """Says what cropped faces show, here or elsewhere; its names stand in the events."""

    @property
    def model(self) -> str:
        """Name of the weights."""
        ...

    @property
    def mode(self) -> str:
        """How they are asked."""
        ...

    def __call__(self, cropped: CroppedFaces) -> ClassifiedFaces:
        """Looks at the cropped faces of a frame, in their order; there may be none."""
        ...


Sink = Callable[[Sequence[Event]], None]
"""Takes the records of a frame, in order, before the next frame is read."""
OnFrame = Callable[[Frame, Sequence[Event], bool], None]
"""Told of every decoded frame, its records, and whether it was analysed: else it shows no face."""


@dataclass
class RunSummary:
    """What came of a run. `shed` counts frames given up, by cause: of a file, none."""

    frames: int = 0
    analysed: int = 0
    shed: dict[str, int] = field(default_factory=dict)
    tracks: list[TrackSummary] = field(default_factory=list)


def run_camera(
    source: Source,
    detect: Callable[[Picture], Faces],
    classify: ClassifierClient,
    settings: Settings,
    sink: Sink,
    *,
    pace: FrameSampler | None = None,
    watch: StatusMonitor | None = None,
    under_display: bool | None = None,
    clock: Clock = wall_clock,
    display: Callable[[Frame], Frame] | None = None,
    seen: OnFrame = lambda frame, events, analysed: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunSummary:
    """Play a source through all stages until it ends or `stop()` says so.

    `pace` picks the frames that are analysed, by default as the settings say; `watch` tells the
    camera's states. `under_display` is the camera's own word (see `pipeline.stages.route`).
    `display` stands before the camera and changes what it sees (see
    `pipeline.media.display_simulation`).
    Raises StageFailed when a stage raises what it should not; what was written before stays, and
    tracks and camera are told to have ended.
    """
    watch = watch or StatusMonitor(source.camera, source.run, clock)
    pace = pace or FrameSampler(settings.source.analyse_fps)
    stages = _Stages(source, detect, classify, settings, clock, under_display)
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
        settings: Settings,
        clock: Clock,
        under_display: bool | None,
    ) -> None:
        self._detect, self._classify = detect, classify
        self._tracker, self._crop = Tracker(_tracker_of(source, settings)), Crop(settings.crop)
        self._route = Router(settings.emotion, under_display)
        self.observe = EventBuilder(
            source.camera, source.run, classify.model, classify.mode, settings.smoother, clock
        )

    def __call__(self, frame: Frame) -> list[Event]:
        with _blamed(frame):
            tracked = self._tracker.update(frame.header, self._detect(frame.image))
            cropped = self._route(self._crop(frame, tracked))
            classified, late = self._route.ask_again(
                self._classify, cropped, self._classify(cropped)
            )
            return self.observe(classified, late)

    def finish(self) -> list[Event]:
        return self.observe.finish(self._tracker.finish())


def _tracker_of(source: Source, settings: Settings) -> TrackerSettings:
    """In a picture or a clip of a second there is no time to wait until a face is sure to be one:
    it is a track from its first look on."""
    if isinstance(source, VideoSource) and source.packets is not None:
        return settings.tracker.model_copy(update={"confirm_s": 0.0})
    return settings.tracker


@contextmanager
def _blamed(frame: Frame) -> Iterator[None]:
    try:
        yield
    except UndercamError:
        raise
    except Exception as error:
        where = f"camera {frame.header.camera}, frame {frame.header.index}"
        what = f"a stage failed ({type(error).__name__}: {error})"
        raise StageFailed(what, where, "set UNDERCAM_DEBUG=1 and report it") from error
