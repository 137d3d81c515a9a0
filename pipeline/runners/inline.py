"""One camera in this process: every stage in turn, from the source to the sink.

The debugger's way in, and the tests'. Nothing is shed: a file waits for whoever is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.clock import Clock, wall_clock
from pipeline.config import Settings
from pipeline.errors import StageFailed, UndercamError
from pipeline.frames import Frame
from pipeline.records import Event
from pipeline.stages.classify import Classify
from pipeline.stages.crop import Crop
from pipeline.stages.detect import Detect
from pipeline.stages.observe import Observe, TrackSummary
from pipeline.stages.source import VideoSource
from pipeline.stages.track import Tracker
from pipeline.stages.watch import Watch

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
    damage: str = ""


def run_camera(
    source: VideoSource,
    detect: Detect,
    classify: Classify,
    settings: Settings,
    sink: Sink,
    *,
    clock: Clock = wall_clock,
    display: Callable[[Frame], Frame] | None = None,
    seen: Seen = lambda frame, events: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunSummary:
    """Play a source through all stages until it ends or `stop()` says so.

    `display` stands before the camera and changes what it sees (see `pipeline.stages.display`).
    Raises StageFailed when a stage raises what it should not; what was written before stays.
    """
    camera, run = source.camera, source.run
    tracker, crop = Tracker(settings.tracker), Crop(settings.crop)
    observe = Observe(camera, run, classify.model, classify.mode, settings.smoother, clock)
    watch = Watch(camera, run, clock)
    summary = RunSummary()
    for frame in map(display, source) if display else source:
        summary.frames += 1
        events: list[Event] = []
        if watch.is_due(frame.header, settings.source.analyse_fps):
            with _blamed(frame):
                faces = detect(frame.image)
                tracked = tracker.update(frame.header, faces)
                events += observe(classify(crop(frame, tracked)))
            summary.analysed += 1
        events += watch.statuses(frame.header)
        sink(events)
        seen(frame, events)
        if stop():
            break
    sink([*observe.finish(tracker.finish()), *watch.end(source.damage or "end of file")])
    summary.tracks, summary.damage = observe.ended, source.damage
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
