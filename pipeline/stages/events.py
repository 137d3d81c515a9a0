"""The last stage: classified faces become the records that everyone downstream reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.emotions import EMOTIONS, UNKNOWN
from models.faces import to_unit
from pipeline.clock import Clock, wall_clock
from pipeline.fields import NAME_CHARS, shorten
from pipeline.frames import ClassifiedFaces, FrameHeader, LateAnswer, ScoredBy
from pipeline.records import (
    Event,
    FaceObserved,
    Label,
    Probabilities,
    Quality,
    TrackUpdated,
)
from pipeline.settings import SmootherSettings
from pipeline.stages.smooth import Smoother

UNIFORM = 1 / len(EMOTIONS)
UPDATE_S = 1.0
"""Media seconds between two updates of a track that goes on."""


@dataclass
class _Track:
    """The state of a track that its records are made of; `reported_s`: media time of the last
    one."""

    started_ms: int
    ended_ms: int
    started_s: float
    ended_s: float
    reported_s: float
    total: np.ndarray[tuple[int], np.dtype[np.float64]]
    answers: float = 0.0
    observations: int = 0
    seq: int = 0

    @property
    def mean(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Of the observations that were answered; uniform where none was."""
        return self.total / self.answers if self.answers else np.full_like(self.total, UNIFORM)


@dataclass(frozen=True)
class TrackSummary:
    """A track as a whole, in media seconds, with the mean probabilities of its observations."""

    track: int
    start_s: float
    end_s: float
    observations: int
    mean: Probabilities


class EventBuilder:
    """Builds the records of one camera run: every observation, and each track's start, updates and
    end.

    `model` and `mode` name the classifier of faces that do not name theirs; `clock` stamps
    `classified_ms` and `published_ms`.
    """

    def __init__(
        self,
        camera: str,
        run: str,
        model: str,
        mode: str,
        settings: SmootherSettings,
        clock: Clock = wall_clock,
    ) -> None:
        self.ended: list[TrackSummary] = []
        self._camera, self._run = camera, run
        self._by = ScoredBy(model, mode)
        self._smoother = Smoother(settings)
        self._threshold = settings.unknown_below
        self._clock = clock
        self._tracks: dict[int, _Track] = {}

    def __call__(self, classified: ClassifiedFaces, late: Sequence[LateAnswer] = ()) -> list[Event]:
        """The records of one frame, in the order in which they happened.

        Late answers, for this frame or earlier ones, enter the means of their tracks, each at its
        own media time, and change no record that was built before; those of tracks that have ended
        are dropped.
        """
        events: list[Event] = []
        header = classified.tracked.header
        classified_ms = self._clock()
        # The tracks come first: a late answer may be for one that begins in this very frame.
        tracks = [
            (number, self._track_of(number, header))
            for number in classified.tracked.track_ids.tolist()
        ]
        for answer in late:
            self._add_late(answer)
        for row, (number, track) in enumerate(tracks):
            if classified.answered[row]:
                track.total += classified.scores.probabilities[row]
                track.answers += 1
            events.append(self._observation(classified, row, number, classified_ms))
            if track.observations == 1:
                events.append(self._track_record(number, track, "start"))
            elif header.pts_s - track.reported_s >= UPDATE_S:
                events.append(self._track_record(number, track, "update"))
        events += self._ends(classified.tracked.ended)
        return events

    def finish(self, open_tracks: tuple[int, ...]) -> list[Event]:
        """The run is over: the end records of the tracks that were still open."""
        return list(self._ends(open_tracks))

    def _add_late(self, answer: LateAnswer) -> None:
        track = self._tracks.get(answer.track)
        if track is None or answer.pts_s < track.started_s:
            return
        track.total += answer.fusion_weight * answer.probabilities
        track.answers += answer.fusion_weight
        weight = answer.weight * answer.fusion_weight
        self._smoother.update(answer.track, answer.pts_s, answer.probabilities, weight)

    def _track_of(self, number: int, header: FrameHeader) -> _Track:
        if number not in self._tracks:
            self._tracks[number] = _Track(
                header.captured_ms,
                header.captured_ms,
                header.pts_s,
                header.pts_s,
                header.pts_s,
                np.zeros(len(EMOTIONS)),
            )
        track = self._tracks[number]
        track.ended_ms, track.ended_s = header.captured_ms, header.pts_s
        track.observations += 1
        return track

    def _observation(
        self, classified: ClassifiedFaces, row: int, number: int, classified_ms: int
    ) -> FaceObserved:
        header, faces = classified.tracked.header, classified.tracked.faces
        is_answered = bool(classified.answered[row])
        probabilities = classified.scores.probabilities[row]
        confidence = float(probabilities.max())
        is_known = is_answered and confidence >= self._threshold
        label: Label = EMOTIONS[int(probabilities.argmax())] if is_known else UNKNOWN  # type: ignore[assignment]
        doubtful = f"confidence below {self._threshold}" if is_answered and not is_known else ""
        by = classified.by[row] if classified.by else self._by
        quality = classified.quality
        weight = quality.weights(faces.scores)[row] if is_answered else 0.0
        box = to_unit(faces.boxes[row : row + 1], header.width, header.height)[0]
        return FaceObserved(
            id=FaceObserved.make_id(self._camera, self._run, number, header.index),
            camera=self._camera,
            run=self._run,
            track=number,
            frame=header.index,
            pts_ms=round(header.pts_s * 1000),
            captured_ms=header.captured_ms,
            clock=header.clock,
            received_ms=header.received_ms,
            classified_ms=classified_ms,
            published_ms=self._clock(),
            box=tuple(round(float(edge), 5) for edge in box),
            detector_score=round(float(faces.scores[row]), 5),
            probabilities=Probabilities.of(probabilities.tolist()),
            label=label,
            confidence=round(confidence, 6),
            smoothed=self._smoother.update(number, header.pts_s, probabilities, float(weight)),
            uncertainty=round(float(classified.scores.uncertainty[row]), 6),
            answered=is_answered,
            quality=Quality(
                blur=round(float(quality.blur[row]), 4),
                luma=round(float(quality.luma[row]), 4),
                size_px=round(float(quality.size_px[row]), 1),
            ),
            model=shorten(by.model, NAME_CHARS),
            mode=by.mode,
            reason=shorten("; ".join(why for why in (by.reason, doubtful) if why)),
        )

    def _track_record(self, number: int, track: _Track, phase: str) -> TrackUpdated:
        record = TrackUpdated(
            id=TrackUpdated.make_id(self._camera, self._run, number),
            camera=self._camera,
            run=self._run,
            track=number,
            phase=phase,
            seq=track.seq,
            started_ms=track.started_ms,
            ended_ms=track.ended_ms,
            observations=track.observations,
            mean=Probabilities.of(track.mean.tolist()),
        )
        track.seq += 1
        track.reported_s = track.ended_s
        return record

    def _ends(self, numbers: tuple[int, ...]) -> Iterator[TrackUpdated]:
        for number in numbers:
            self._smoother.drop(number)
            track = self._tracks.pop(number, None)
            if track is not None:
                end = self._track_record(number, track, "end")
                self.ended.append(
                    TrackSummary(
                        number, track.started_s, track.ended_s, track.observations, end.mean
                    )
                )
                yield end
