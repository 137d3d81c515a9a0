"""What a connection to a live camera gives."""

from __future__ import annotations

from dataclasses import dataclass

from av.video.frame import VideoFrame


@dataclass(frozen=True)
class ReceivedFrame:
    """A decoded picture; `stamp_s`, seconds of the camera's media time, and `camera_ms`, UTC by the
    camera's own clock, where they are known."""

    picture: VideoFrame
    stamp_s: float | None
    camera_ms: float | None = None
