"""Which frames are searched, how much of them, and that no face is missed for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors.conditioner import ConditioningDetector
from models.faces import Faces, Float32, from_ltwh, iou
from pipeline.frames import Frame, FrameHeader
from pipeline.settings import DetectorSettings, TrackerSettings
from pipeline.stages.detect import Detect
from pipeline.stages.search import AGAIN_S, LIVE_S, NONE, PART, WHOLE, FaceSearch
from pipeline.stages.track import Tracker

WIDTH, HEIGHT, SIDE, FPS = 640, 360, 60, 5
Pixels = NDArray[np.uint8]


class Squares:
    """Finds bright squares of at least `least_px` pixels; takes images of any size."""

    name = "squares"
    sizes: tuple[int, ...] = (WIDTH // 2, WIDTH)

    def __init__(self, least_px: float = 0) -> None:
        self.shown: list[tuple[int, int]] = []
        self.least_px = least_px

    def detect(self, image: Pixels) -> Faces:
        return self.detect_unscaled(image)

    def detect_unscaled(self, image: Pixels) -> Faces:
        self.shown.append((image.shape[1], image.shape[0]))
        bright = (image[:, :, 0] > 100).astype(np.uint8)
        _, _, squares, _ = cv2.connectedComponentsWithStats(bright)
        boxes = from_ltwh(squares[1:, :4].astype(np.float32))
        boxes = boxes[boxes[:, 2] - boxes[:, 0] >= max(self.least_px, 6)]
        n = len(boxes)
        return Faces(
            boxes,
            np.full(n, 0.9, np.float32),
            np.zeros((n, 5, 2), np.float32),
        )


def draw(*squares: tuple[float, float, int]) -> Pixels:
    """A grey wall with squares: left, top, shade."""
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for left, top, shade in squares:
        x, y = round(left), round(top)
        image[max(y, 0) : max(y + SIDE, 0), max(x, 0) : max(x + SIDE, 0)] = shade
    return image


def frame_of(image: Pixels, index: int, fps: float = FPS) -> Frame:
    header = FrameHeader(
        "door", "e1", index, index / fps, 0, 0, "media", image.shape[1], image.shape[0]
    )
    return Frame(header, image)


class Camera:
    """The search and the tracker of one camera, frame after frame."""

    def __init__(self, detector: Squares | None = None, is_live: bool = True, **given: object):
        self.detector = detector or Squares()
        settings = DetectorSettings.model_validate(given)
        detect = Detect(ConditioningDetector(self.detector, "never"), 16)
        self.search = FaceSearch(detect, settings, is_live)
        self.tracker = Tracker(TrackerSettings())
        self.extents: list[str] = []
        self.found: list[Float32] = []
        self.tracked: list[dict[int, Float32]] = []

    def see(self, image: Pixels) -> None:
        frame = frame_of(image, len(self.extents))
        faces = self.search(frame, self.tracker.predict(frame.header))
        tracked = self.tracker.update(frame.header, faces)
        self.extents.append(self.search.how)
        self.found.append(faces.boxes)
        ids = tracked.track_ids.tolist()
        self.tracked.append(dict(zip(ids, tracked.faces.boxes, strict=True)))

    def play(self, scene: Callable[[int], Pixels], frames: int) -> Counter[str]:
        for index in range(frames):
            self.see(scene(index))
        return Counter(self.extents)


def test_a_file_is_searched_whole_and_a_live_camera_is_not() -> None:
    still = draw((200, 100, 200))
    assert Camera(is_live=False).play(lambda index: still, 10) == {WHOLE: 10}
    assert Camera(is_live=False, full_search_s=0.8).play(lambda index: still, 8) == {
        WHOLE: 2,
        NONE: 6,
    }
    assert Camera(full_search_s=0).play(lambda index: still, 10) == {WHOLE: 10}


def test_between_two_whole_searches_only_the_surroundings_of_a_moving_face() -> None:
    camera = Camera()
    camera.play(lambda index: draw((100 + 8 * index, 100, 200)), 13)
    assert camera.extents == [WHOLE, PART, PART, PART] * 3 + [WHOLE]
    period = round(LIVE_S * FPS)
    whole, part = camera.detector.shown[0], camera.detector.shown[1]
    assert whole == (WIDTH // 2, HEIGHT // 2)
    assert part == (128, 128)
    assert period == 4


@pytest.mark.parametrize("speed", [0.0, 3.0, 9.0, 14.0])
def test_the_same_boxes_as_by_searching_every_frame_whole(speed: float) -> None:
    """Two faces that pass each other, one of them over the edge of the image."""

    def scene(index: int) -> Pixels:
        return draw((30 + speed * index, 60, 160), (560 - speed * index, 200, 240))

    live, whole = Camera(), Camera(full_search_s=0)
    live.play(scene, 30)
    whole.play(scene, 30)
    for ours, theirs in zip(live.tracked, whole.tracked, strict=True):
        assert ours.keys() == theirs.keys()
        for track, box in ours.items():
            assert iou(box[None], theirs[track][None])[0, 0] > 0.9
    assert Counter(live.extents)[WHOLE] < 12


def test_a_face_that_stands_still_is_not_searched_and_stays_observed() -> None:
    still = draw((200, 100, 200))
    camera = Camera()
    camera.play(lambda index: still, 9)
    assert camera.extents == [WHOLE, NONE, NONE, NONE] * 2 + [WHOLE]
    assert all(len(tracked) == 1 for tracked in camera.tracked[1:])
    assert len({box.tobytes() for boxes in camera.found for box in boxes}) == 1


def test_noise_below_the_setting_is_no_change_and_above_it_is() -> None:
    rng = np.random.default_rng(0)
    base = draw((200, 100, 200)).astype(int)

    def noisy(index: int) -> Pixels:
        return (base + rng.integers(-4, 5, (*base.shape[:2], 1))).clip(0, 255).astype(np.uint8)

    assert Camera().play(noisy, 8) == {WHOLE: 2, NONE: 6}
    assert Camera(change_levels=0.5).play(noisy, 20)[NONE] == 0
    assert Camera(change_levels=0).play(noisy, 8) == {WHOLE: 2, PART: 6}


def test_of_two_faces_only_the_one_that_moves_is_searched() -> None:
    camera = Camera()
    camera.play(lambda index: draw((100, 60, 160), (300 + 9 * index, 200, 240)), 8)
    assert camera.extents == [WHOLE, PART, PART, PART] * 2
    assert set(camera.detector.shown) == {(WIDTH // 2, HEIGHT // 2), (128, 128)}
    assert all(len(tracked) == 2 for tracked in camera.tracked[1:])


@pytest.mark.parametrize("first", range(1, 9))
def test_a_new_face_is_observed_within_a_second(first: int) -> None:
    """Whenever it comes: in an empty image, and beside a face that is known."""
    for known in ((), ((400.0, 200.0, 240),)):
        camera = Camera()

        def scene(index: int, known: tuple[tuple[float, float, int], ...] = known) -> Pixels:
            new = ((100 + 2 * index, 60, 160),) if index >= first else ()
            return draw(*known, *new)

        camera.play(scene, first + 8)
        seen = next(i for i, one in enumerate(camera.tracked) if len(one) == 1 + len(known))
        assert (seen - first) / FPS <= 1.0


def test_a_face_that_leaves_its_surroundings_is_found_in_the_same_frame() -> None:
    places = [(100, 60), (100, 60), (260, 60), (268, 60)]
    camera = Camera()
    camera.play(lambda index: draw((*places[min(index, 3)], 200)), 4)
    assert camera.extents[2] == WHOLE
    assert [len(boxes) for boxes in camera.found] == [1, 1, 1, 1]


def test_a_face_that_has_gone_is_not_searched_for_ever() -> None:
    camera = Camera()
    camera.play(lambda index: draw((200, 100, 200)) if index < 6 else draw(), 40)
    assert [len(tracked) for tracked in camera.tracked[6:]] == [0] * 34
    assert Counter(camera.extents[16:]) == {WHOLE: 6, NONE: 18}


def test_an_empty_room_is_searched_once_in_a_while_and_seldom_twice() -> None:
    room = draw()
    camera = Camera()
    seconds = 40
    counts = camera.play(lambda index: room, seconds * FPS)
    assert counts == {WHOLE: seconds * FPS // 4, NONE: seconds * FPS * 3 // 4}
    again = camera.detector.shown.count((WIDTH, HEIGHT))
    assert seconds / AGAIN_S <= again <= seconds / AGAIN_S + 1


def test_a_face_that_only_the_larger_scale_shows_is_observed_within_a_second() -> None:
    """In a room that has been empty for long; and from then on its surroundings show it."""
    camera = Camera(Squares(least_px=40))
    camera.play(lambda index: draw((9 * index - 200, 60, 160)) if index >= 33 else draw(), 80)
    seen = next(i for i, one in enumerate(camera.tracked) if one)
    assert (seen - 33) / FPS <= 1.0
    assert all(len(tracked) == 1 for tracked in camera.tracked[seen:])


def test_a_clock_in_the_image_is_no_movement() -> None:
    def scene(index: int) -> Pixels:
        image = draw()
        image[10:30, 10:26] = 50 * (index // FPS % 2) + 40
        return image

    camera = Camera()
    camera.play(scene, 20 * FPS)
    assert camera.detector.shown.count((WIDTH, HEIGHT)) <= 3


def test_another_size_is_searched_whole_at_once() -> None:
    camera = Camera()
    camera.play(lambda index: draw((200, 100, 200)), 2)
    camera.see(np.ascontiguousarray(draw((200, 100, 200))[:300]))
    assert camera.extents == [WHOLE, NONE, WHOLE]


class NoMosaic:
    """A detector that always takes whole images."""

    name = "whole images"

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: Pixels) -> Faces:
        self.calls += 1
        return Squares().detect(image)


@pytest.mark.parametrize("wraps", [True, False])
def test_a_detector_that_takes_no_parts_still_rests_where_nothing_is(wraps: bool) -> None:
    detector = NoMosaic()
    detect = Detect(ConditioningDetector(detector, "never") if wraps else detector, 16)
    search, tracker = FaceSearch(detect, DetectorSettings(), True), Tracker(TrackerSettings())
    extents = []
    for index in range(16):
        image = draw((100 + 9 * index, 60, 160)) if index >= 8 else draw()
        frame = frame_of(image, index)
        tracker.update(frame.header, search(frame, tracker.predict(frame.header)))
        extents.append(search.how)
    assert extents == [WHOLE, NONE, NONE, NONE] * 2 + [WHOLE] * 8
    assert detector.calls == 10


def test_real_faces_have_the_same_tracks_as_by_searching_every_frame_whole() -> None:
    """Six seconds of the sample: people come from three sides, stay, and one passes the others."""
    from pipeline.media.sample_clip import generate_frames
    from pipeline.stages.detect import open_detect

    detect = open_detect(DetectorSettings(threads=1))
    frames = [
        frame_of(image, index) for index, image in enumerate(generate_frames(6.0, FPS, (1280, 720)))
    ]
    tracks: list[list[dict[int, Float32]]] = []
    extents: list[str] = []
    for full_search_s in (0.0, None):
        search = FaceSearch(detect, DetectorSettings(full_search_s=full_search_s), True)
        tracker, seen = Tracker(TrackerSettings()), []
        for frame in frames:
            tracked = tracker.update(frame.header, search(frame, tracker.predict(frame.header)))
            seen.append(dict(zip(tracked.track_ids.tolist(), tracked.faces.boxes, strict=True)))
            extents.append(search.how)
        tracks.append(seen)
    for whole, live in zip(*tracks, strict=True):
        assert live.keys() <= whole.keys()
        assert all(iou(whole[track][None], live[track][None])[0, 0] > 0.7 for track in live)
    observed = [sum(map(len, seen)) for seen in tracks]
    assert observed[0] > 50
    assert observed[0] - observed[1] <= 2  # a track may begin a frame later
    assert Counter(extents[len(frames) :])[WHOLE] < len(frames) * 0.7
