"""What travels between the stages, in memory only: a decoded picture, the tracked faces in it,
their crops, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.crops import Crops
from models.faces import Faces
from models.quality import QualityMeasures
from models.scores import EmotionScores

ClockName = Literal["rtcp", "arrival", "media"]
"""Who told `captured_ms`: the camera (RTCP), this machine at arrival, or the file itself."""

UNDECODABLE = "undecodable"
"""The cause of frames given up that were never decoded."""


@dataclass(frozen=True)
class ConnectionState:
    """How the connection to a live camera stands, since when (UTC milliseconds), and why: one
    sentence without credentials, "" while it is online."""

    state: Literal["connecting", "online", "offline", "refused"]
    since_ms: int
    reason: str = ""


@dataclass(frozen=True)
class FrameHeader:
    """Where a picture comes from and when it was taken.

    `index` counts the decoded frames of a run from 0, shed ones included; `pts_s` is media time in
    seconds; `captured_ms` and `received_ms` are UTC milliseconds, for clock "media" counted from
    the file's start.
    """

    camera: str
    run: str
    index: int
    pts_s: float
    captured_ms: int
    received_ms: int
    clock: ClockName
    width: int
    height: int


@dataclass(frozen=True)
class Frame:
    """A header and its picture, (height, width, 3) uint8 RGB, read-only."""

    header: FrameHeader
    image: NDArray[np.uint8]

    def __post_init__(self) -> None:
        shape = (self.header.height, self.header.width, 3)
        if self.image.shape != shape or self.image.dtype != np.uint8:
            raise ValueError(
                f"image: expected {shape} uint8, got {self.image.shape} {self.image.dtype}"
            )
        self.image.setflags(write=False)


@dataclass(frozen=True)
class Counts:
    """What became of a source's frames, at one moment: all `decoded`, those `skipped` by the frame
    rate setting, and those `shed`, by cause. The others were yielded. `reconnects`: connections
    made after the first."""

    decoded: int
    skipped: int
    shed: Mapping[str, int]
    reconnects: int = 0

    @property
    def received(self) -> int:
        """All that came: decoded, or given up because they could not be."""
        return self.decoded + self.shed.get(UNDECODABLE, 0)


@dataclass(frozen=True)
class TrackedFaces:
    """The faces of one frame, each with the id of its track.

    `track_ids` (n,) int64, positive, unique within the frame and never used again within the run;
    `ended` are the tracks that were given up at this frame.
    """

    header: FrameHeader
    faces: Faces
    track_ids: NDArray[np.int64]
    ended: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.track_ids.shape != (len(self.faces),):
            raise ValueError(
                f"track_ids: expected {(len(self.faces),)}, got {self.track_ids.shape}"
            )


@dataclass(frozen=True)
class Route:
    """Which weights are to score a face, by their name in the settings ("": the only ones, or those
    for good pictures), and why others than those."""

    weights: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ScoredBy:
    """The classifier that scored a face, as it stands in the events, and why this one."""

    model: str
    mode: str
    reason: str = ""


@dataclass(frozen=True)
class CroppedFaces:
    """One frame's tracked faces, their crops (n, 112, 112, 3) uint8 RGB, how good each look was by
    itself, how many looks each crop is the mean of: (n,) int64, 1 or more; and which weights are to
    score each face: one choice a face, or none at all where there is nothing to choose."""

    tracked: TrackedFaces
    crops: Crops
    quality: QualityMeasures
    looks: NDArray[np.int64]
    choices: tuple[Route, ...] = ()


@dataclass(frozen=True)
class ClassifiedFaces:
    """One frame's tracked faces, what is said of each, how good each look was, and who said it: one
    entry a face, or none at all where all is said by the same. `answered`: whether anybody did say
    something; if not, the scores are a mere guess."""

    tracked: TrackedFaces
    scores: EmotionScores
    quality: QualityMeasures
    by: tuple[ScoredBy, ...] = ()
    answered: bool = True
