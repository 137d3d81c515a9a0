"""What travels between the stages, in memory only: a decoded frame, its tracked faces, their
crops, routes and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.crops import GEOMETRY, Crops
from models.faces import Faces
from models.frame_image import FrameImage, RgbImage
from models.quality import QualityMeasures
from models.scores import EmotionScores

ClockName = Literal["rtcp", "arrival", "media"]
"""Source of `captured_ms`: the camera (RTCP), this machine at arrival, or the file itself."""

UNDECODABLE = "undecodable"
"""The cause of shed frames that were never decoded."""


@dataclass(frozen=True)
class ConnectionState:
    """State of the connection to a live camera, since when (UTC milliseconds), and the reason: one
    sentence without credentials, "" while it is online."""

    state: Literal["connecting", "online", "offline", "refused"]
    since_ms: int
    reason: str = ""


@dataclass(frozen=True)
class FrameHeader:
    """Where a frame comes from and when it was captured.

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


class Frame:
    """A header and its image: an array (height, width, 3) uint8 RGB, which becomes read-only, or
    one that is converted to RGB only where it is needed."""

    def __init__(self, header: FrameHeader, image: NDArray[np.uint8] | FrameImage) -> None:
        if isinstance(image, np.ndarray):
            shape = (header.height, header.width, 3)
            if image.shape != shape or image.dtype != np.uint8:
                raise ValueError(f"image: expected {shape} uint8, got {image.shape} {image.dtype}")
            image = RgbImage(image)
        self.header = header
        self.pixels: FrameImage = image

    @property
    def image(self) -> NDArray[np.uint8]:
        """All of the image, (height, width, 3) uint8 RGB, read-only."""
        return self.pixels.rgb()

    def with_image(self, image: NDArray[np.uint8]) -> Frame:
        """Another image under the same header."""
        return Frame(self.header, image)


@dataclass(frozen=True)
class Counts:
    """What became of a source's frames, at one moment: all `decoded`, those `skipped` by the frame
    rate setting, and those `shed`, by cause. The others were yielded. `reconnects`: connections
    made after the first. `left_out`: those of the skipped that were not even decoded."""

    decoded: int
    skipped: int
    shed: Mapping[str, int]
    reconnects: int = 0
    left_out: int = 0

    @property
    def received(self) -> int:
        """All frames received: decoded ones, undecodable ones, and those left out."""
        return self.decoded + self.shed.get(UNDECODABLE, 0) + self.left_out


@dataclass(frozen=True)
class TrackedFaces:
    """The faces of one frame, each with the id of its track.

    `track_ids` (n,) int64, positive, unique within the frame and never used again within the run;
    `ended` are the tracks that ended at this frame.
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
    """The route that a face takes: its name, the weights by their name in the settings ("": the
    route's own, otherwise those for degraded images), and why, where it is not route fast with its
    own weights."""

    name: str = "fast"
    weights: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ScoredBy:
    """The classifier that scored a face, as it stands in the events, and why this one; `crop` is
    the geometry of the crops that it takes (`models.crops`)."""

    model: str
    mode: str
    reason: str = ""
    crop: str = GEOMETRY


MAX_STATE_BYTES = 1024


@dataclass(frozen=True)
class TrackState:
    """What a model family wants to know of a track at its next observation: at most 1 kB, opaque,
    and of use only to the `weights` (name and sha256) that made it."""

    weights: str
    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) > MAX_STATE_BYTES:
            raise ValueError(
                f"state of {self.weights}: expected at most {MAX_STATE_BYTES} bytes, "
                f"got {len(self.data)}"
            )


@dataclass(frozen=True)
class ClassifyRequest:
    """Crops (n, 112, 112, 3) uint8 RGB of the tracks `ids` (n,) int64; the weights of each by name
    ("": the route's own), or none at all; the state of each track, or none at all."""

    crops: Crops
    ids: NDArray[np.int64]
    weights: tuple[str, ...] = ()
    states: tuple[TrackState | None, ...] = ()


@dataclass(frozen=True)
class ClassifyReply:
    """The scores of a request's crops, and the new state of each track, or none at all."""

    scores: EmotionScores
    states: tuple[TrackState | None, ...] = ()


@dataclass(frozen=True)
class CroppedFaces:
    """One frame's tracked faces, their crops (n, 112, 112, 3) uint8 RGB, the quality of each
    observation, the number of observations that each crop is the mean of: (n,) int64, 1 or more;
    and the route of each face, or none at all where all take route fast with its own weights."""

    tracked: TrackedFaces
    crops: Crops
    quality: QualityMeasures
    fused_counts: NDArray[np.int64]
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True)
class ClassifiedFaces:
    """One frame's tracked faces, their scores, the quality of each observation, which faces a
    classifier has answered (n,) bool, and by which classifier: one entry a face, or none at all
    where route fast scored all with its own weights. The scores of a face without an answer are
    uniform."""

    tracked: TrackedFaces
    scores: EmotionScores
    quality: QualityMeasures
    answered: NDArray[np.bool_]
    by: tuple[ScoredBy, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.tracked.faces)
        if self.answered.shape != (n,) or len(self.scores) != n:
            raise ValueError(
                f"expected {n} scores and answered ({n},), "
                f"got {len(self.scores)} and {self.answered.shape}"
            )


@dataclass(frozen=True)
class LateAnswer:
    """A late answer for a face of an earlier frame: its track, the media time of that frame in
    seconds, probabilities (8,), the quality weight of the observation (0..1), and the weight of
    this answer beside the first one."""

    track: int
    pts_s: float
    probabilities: NDArray[np.float32]
    weight: float
    fusion_weight: float = 1.0
