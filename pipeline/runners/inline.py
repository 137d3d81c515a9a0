"""One camera in this process: every stage in turn, from the source to the sink.

All that ever plays a camera goes through here: `analyze`, the tests, and each camera worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.clock import Clock, wall_clock
from pipeline.config import Settings
from pipeline.errors import StageFailed, UndercamError
from pipeline.frames import CroppedFaces, Frame, Link, Looks
from pipeline.records import Event
from pipeline.stages.choose import Choose
from pipeline.stages.crop import Crop
from pipeline.stages.detect import Detect
from pipeline.stages.observe import Observe, TrackSummary
from pipeline.stages.pace import Pace
from pipeline.stages.track import Tracker
from pipeline.stages.watch import Watch


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
    """Says what cropped faces show, here or elsewhere; `model` and `mode` stand in the events."""

    model: str
    mode: str

    def __call__(self, cropped: CroppedFaces) -> Looks:
        """Looks at the cropped faces of a frame, in their order; there may be none."""
        ...


Sink = Callable[[Sequence[Event]], None]
"""Takes the records of a frame, in order, before the next frame is read."""
Seen = Callable[[Frame, Sequence[Event]], None]
"""Told of every decoded frame and its records; a frame that was not analysed has none."""


@dataclass
class RunSummary:
    """What came of a run. `shed` counts frames given up, by cause: of a file, none."""

    frames: int = 0
    analysed: int = 0
    shed: dict[str, int] = field(default_factory=dict)
    tracks: list[TrackSummary] = field(default_factory=list)


def run_camera(
    source: Source,
    detect: Detect,
    classify: Ask,
    settings: Settings,
    sink: Sink,
    *,
    pace: Pace | None = None,
    clock: Clock = wall_clock,
    display: Callable[[Frame], Frame] | None = None,
    seen: Seen = lambda frame, events: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunSummary:
    """Play a source through all stages until it ends or `stop()` says so.

    `pace` picks the frames that are analysed, by default as the settings say. `display` stands
    before the camera and changes what it sees (see `pipeline.stages.display`). Raises StageFailed
    when a stage raises what it should not; what was written before stays.
    """
    camera, run = source.camera, source.run
    tracker, crop = Tracker(settings.tracker), Crop(settings.crop)
    configured = settings.cameras.get(camera)
    choose = Choose(settings.emotion, configured.under_display if configured else None)
    observe = Observe(camera, run, classify.model, classify.mode, settings.smoother, clock)
    watch = Watch(camera, run, clock)
    pace = pace or Pace(settings.source.analyse_fps)
    summary = RunSummary()
    for frame in source:
        if isinstance(frame, Link):
            sink(watch.silence(frame, source.shed))
        else:
            frame = display(frame) if display else frame
            summary.frames += 1
            events: list[Event] = []
            if is_due := pace.is_due(frame.header.pts_s):
                with _blamed(frame):
                    faces = detect(frame.image)
                    tracked = tracker.update(frame.header, faces)
                    events += observe(classify(choose(crop(frame, tracked))))
                summary.analysed += 1
            events += watch.frame(frame.header, is_due, source.shed)
            sink(events)
            seen(frame, events)
        if stop():
            break
    sink([*observe.finish(tracker.finish()), *watch.end(source.ending)])
    summary.tracks, summary.shed = observe.ended, dict(source.shed)
    return summary


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
