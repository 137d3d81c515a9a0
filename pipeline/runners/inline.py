"""One camera in this process: every stage in turn, from the source to the sink.

All that ever plays a camera goes through here: `analyze`, the tests, and each camera worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from models.detectors.base import Picture
from models.faces import Faces
from pipeline.clock import Clock, wall_clock
from pipeline.config import Settings
from pipeline.errors import StageFailed, UndercamError
from pipeline.frames import CroppedFaces, Frame, Link, Looks
from pipeline.records import Event
from pipeline.settings import TrackerSettings
from pipeline.stages.choose import Choose
from pipeline.stages.crop import Crop
from pipeline.stages.observe import Observe, TrackSummary
from pipeline.stages.pace import Pace
from pipeline.stages.source.file import VideoSource
from pipeline.stages.track import Tracker
from pipeline.stages.watch import Watch
from pipeline.states import ENDED, STOPPED, state_after


class Source(Protocol):
    """Where the frames of one camera run come from."""

    camera: str
    run: str

    @property
    def shed(self) -> Mapping[str, int]:
        """Frames given up so far, by cause."""
        ...

    @property
    def ending(self) -> str:
        """Why there are no more frames, when there are none."""
        ...

    def __iter__(self) -> Iterator[Frame | Link]:
        """Frames in order; in between, where no frame comes for a while, how the link stands."""
        ...


class Ask(Protocol):
    """Says what cropped faces show, here or elsewhere; its names stand in the events."""

    @property
    def model(self) -> str:
        """Name of the weights."""
        ...

    @property
    def mode(self) -> str:
        """How they are asked."""
        ...

    def __call__(self, cropped: CroppedFaces) -> Looks:
        """Looks at the cropped faces of a frame, in their order; there may be none."""
        ...


Sink = Callable[[Sequence[Event]], None]
"""Takes the records of a frame, in order, before the next frame is read."""
Seen = Callable[[Frame, Sequence[Event], bool], None]
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
    classify: Ask,
    settings: Settings,
    sink: Sink,
    *,
    pace: Pace | None = None,
    watch: Watch | None = None,
    under_display: bool | None = None,
    clock: Clock = wall_clock,
    display: Callable[[Frame], Frame] | None = None,
    seen: Seen = lambda frame, events, analysed: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunSummary:
    """Play a source through all stages until it ends or `stop()` says so.

    `pace` picks the frames that are analysed, by default as the settings say; `watch` tells the
    camera's states. `under_display` is the camera's own word (see `pipeline.stages.choose`).
    `display` stands before the camera and changes what it sees (see `pipeline.stages.display`).
    Raises StageFailed when a stage raises what it should not; what was written before stays, and
    tracks and camera are told to have ended.
    """
    watch = watch or Watch(source.camera, source.run, clock)
    pace = pace or Pace(settings.source.analyse_fps)
    stages = _Stages(source, detect, classify, settings, clock, under_display)
    summary, state, ending = RunSummary(), "", ""
    try:
        for frame in source:
            if isinstance(frame, Link):
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
        classify: Ask,
        settings: Settings,
        clock: Clock,
        under_display: bool | None,
    ) -> None:
        self._detect, self._classify = detect, classify
        self._tracker, self._crop = Tracker(_tracker_of(source, settings)), Crop(settings.crop)
        self._choose = Choose(settings.emotion, under_display)
        self.observe = Observe(
            source.camera, source.run, classify.model, classify.mode, settings.smoother, clock
        )

    def __call__(self, frame: Frame) -> list[Event]:
        with _blamed(frame):
            tracked = self._tracker.update(frame.header, self._detect(frame.image))
            return self.observe(self._classify(self._choose(self._crop(frame, tracked))))

    def finish(self) -> list[Event]:
        return self.observe.finish(self._tracker.finish())


def _tracker_of(source: Source, settings: Settings) -> TrackerSettings:
    """In a picture or a clip of a second there is no time to wait until a face is sure to be one:
    it is a track from its first look on."""
    if isinstance(source, VideoSource) and source.packets is not None:
        return settings.tracker.model_copy(update={"birth_s": 0.0})
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
