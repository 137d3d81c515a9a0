"""What a source of frames is, whatever it reads from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from av.video.frame import VideoFrame

from pipeline.frames import ConnectionState, Counts, Frame
from pipeline.stages.frame_sampler import FrameSampler

DEFAULT_FPS = 25.0
"""Assumed where nobody knows the frame rate."""


class Source(Protocol):
    """Where the frames of one camera run come from. Iterate it once, close it afterwards.

    Each kind of source derives from this class and sets `camera`, `run`, `is_live` and `sampler`;
    the other attributes have defaults for what a kind does not know.
    """

    camera: str
    run: str
    is_live: bool
    """Frames come at their own time: frames and events may be shed, and are counted. A file, read
    to its end, loses none."""
    sampler: FrameSampler
    """Picks the frames to analyse among those that the source yields. It accepts all of them where
    the source samples by itself, before it converts them to RGB."""

    fps: float = DEFAULT_FPS
    """Frames a second that it yields, on average."""
    frame_count: int | None = None
    """How many frames it yields, about; None where nobody knows."""
    short_clip_frames: int | None = None
    """Frames of an image (1), or of a clip that lasts a second at most; None for any other."""
    connection_state: ConnectionState | None = None
    """State of the connection to a live camera; None where there is no connection."""

    @property
    def ending(self) -> str:
        """Why there are no more frames, once there are none."""
        ...

    @property
    def damage(self) -> str:
        """What was damaged in what has been read; "" as long as nothing was."""
        return ""

    def counts(self) -> Counts:
        """What became of the frames so far, all counted at one moment."""
        ...

    def __iter__(self) -> Iterator[Frame | ConnectionState]:
        """Frames in order. Where none comes for a while: the state of the connection."""
        ...

    def close(self) -> None:
        """Release what it holds. May be called twice."""
        ...


@dataclass(frozen=True)
class ReceivedFrame:
    """A frame that a live camera sent, decoded. `stamp_s`: seconds of the camera's media time;
    `camera_ms`: UTC milliseconds by the camera's own clock; None where unknown."""

    frame: VideoFrame
    stamp_s: float | None
    camera_ms: float | None = None
