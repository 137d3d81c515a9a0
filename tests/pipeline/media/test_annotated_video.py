from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.emotions import EMOTIONS
from pipeline.camera_config import CameraConfig
from pipeline.config import Settings
from pipeline.frames import Frame, FrameHeader
from pipeline.live.stage_runner import run_stages
from pipeline.media import annotated_video as film
from pipeline.media.annotate import annotate
from pipeline.media.annotated_video import FADE_S, HOLD_S, AnnotatedVideo, SceneCuts
from pipeline.records import Event, FaceObserved
from pipeline.stages.classify import Classify
from pipeline.stages.detect import Detect
from pipeline.stages.source.file import VideoSource
from tests.pipeline.store.conftest import Make

FPS, WIDTH, HEIGHT = 25, 320, 240
Drawn = list[dict[int, tuple[str, float, str]]]
"""Of each frame, by track: label, opacity, and the name of the longest bar."""
Picture = NDArray[np.uint8]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    seen: Drawn = []

    def spy(*given: object) -> Picture:
        _, _, tracks, labels, _, shares, opacities = given
        bars = [EMOTIONS[row.argmax()] for row in shares]
        rows = zip(tracks, labels, opacities, bars, strict=True)
        seen.append({track: (label, opacity, bar) for track, label, opacity, bar in rows})
        return annotate(*given)

    monkeypatch.setattr(film, "annotate", spy)
    return seen


def frames(pictures: Sequence[Picture]) -> Iterator[Frame]:
    for index, picture in enumerate(pictures):
        ms = index * 1000 // FPS
        at = (index / FPS, ms, ms, "media", WIDTH, HEIGHT)
        yield Frame(FrameHeader("door", "e1", index, *at), picture.copy())


def scene(shade: int, face: int | None = None, seed: int = 0) -> Picture:
    """A picture of one texture, with or without a square where records say that a face is."""
    noise = np.random.default_rng(seed).integers(-9, 9, (HEIGHT, WIDTH, 1))
    picture = np.clip(shade + noise, 0, 255).astype(np.uint8).repeat(3, axis=2)
    if face is not None:
        picture[48:96, 32:96] = face
    return picture


def shown(
    folder: Path, pictures: Sequence[Picture], found: Sequence[int], analysed: Sequence[int]
) -> None:
    """Write a film in which a face is observed in the frames `found`."""
    with AnnotatedVideo(folder / "film.mp4", FPS) as written:
        for index, frame in enumerate(frames(pictures)):
            events = [Make.look(frame=index)] if index in found else []
            written.write(frame, events, index in analysed)


def opacities(drawn: Drawn) -> list[float]:
    return [next(iter(frame.values()))[1] if frame else 0.0 for frame in drawn]


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize(
    "after",
    [scene(200), scene(60), scene(100, face=110), scene(104, seed=1)],
    ids=["bright", "dark", "the face alone is gone", "much the same"],
)
def test_no_mark_outlives_a_cut(tmp_path: Path, drawn: Drawn, every: int, after: Picture) -> None:
    pictures = [scene(100, face=220)] * 12 + [after] * 12
    analysed = range(0, len(pictures), every)
    shown(tmp_path, pictures, [index for index in analysed if index < 12], analysed)
    assert opacities(drawn)[:12] == [1.0] * 12
    assert opacities(drawn)[12:] == [0.0] * 12


def test_a_face_that_is_not_found_fades_at_once(tmp_path: Path, drawn: Drawn) -> None:
    pictures = [scene(100, face=220)] * 20
    shown(tmp_path, pictures, range(8), range(20))
    faded = opacities(drawn)[7:]
    assert faded[0] == 1.0
    assert faded == sorted(faded, reverse=True)
    assert all(after < before for before, after in pairwise(faded) if before)
    assert sum(opacity > 0 for opacity in faded[1:]) == pytest.approx(FADE_S * FPS, abs=1)


def test_a_face_that_is_found_again_is_certain_again(tmp_path: Path, drawn: Drawn) -> None:
    shown(tmp_path, [scene(100, face=220)] * 9, [0, 1, 2, 4, 5, 6, 7, 8], range(9))
    assert [opacity == 1 for opacity in opacities(drawn)] == [True] * 3 + [False] + [True] * 5
    assert 0.8 < opacities(drawn)[3] < 1


def test_frames_that_are_not_analysed_keep_the_mark_for_a_while(
    tmp_path: Path, drawn: Drawn
) -> None:
    shown(tmp_path, [scene(100, face=220)] * 40, [0], [0])
    held = sum(opacity == 1 for opacity in opacities(drawn))
    assert held == pytest.approx(HOLD_S * FPS, abs=1)
    assert sum(opacity > 0 for opacity in opacities(drawn)) == pytest.approx(
        (HOLD_S + FADE_S) * FPS, abs=1
    )


def test_steady_motion_and_a_slow_change_of_light_are_no_cut(tmp_path: Path, drawn: Drawn) -> None:
    pictures = [np.roll(scene(60 + 2 * n, face=220), 3 * n, axis=1) for n in range(12)]
    shown(tmp_path, pictures, [0], [0])
    assert opacities(drawn) == [1.0] * 12


def test_the_end_of_its_track_ends_a_mark(tmp_path: Path, drawn: Drawn) -> None:
    first, second = frames([scene(100, face=220)] * 2)
    with AnnotatedVideo(tmp_path / "film.mp4", FPS) as written:
        written.write(first, [Make.look(), Make.look(track=2)], True)
        written.write(second, [Make.track(phase="update"), Make.track(track=2, phase="end")], True)
    assert [set(frame) for frame in drawn] == [{1, 2}, {1}]


@pytest.mark.parametrize("fps", [0.0, 5.0])
def test_label_and_bars_are_those_of_the_record(
    tmp_path: Path, drawn: Drawn, square_clip: Path, detect: Detect, classify: Classify, fps: float
) -> None:
    """The square turns bright at 1.5 s, which the smoothed label follows late."""
    looks: dict[int, FaceObserved] = {}
    settings = Settings()

    def sink(events: Sequence[Event]) -> None:
        looks.update({e.frame: e for e in events if isinstance(e, FaceObserved)})

    with (
        VideoSource(square_clip, "door", "e1", analyse_fps=fps) as source,
        AnnotatedVideo(tmp_path / "film.mp4", source.fps) as written,
    ):
        run_stages(source, detect, classify, CameraConfig(settings), sink, on_frame=written.write)
    assert any(look.label != look.smoothed.label for look in looks.values())
    for index, look in looks.items():
        assert drawn[index] == {1: (look.label, 1.0, look.label)}
    # It goes at 3 s, frame 60, and its mark with it.
    assert all(not frame for frame in drawn[60:])
    assert drawn[59] if fps == 0 else drawn[57]


BOX = np.array([10, 10, 30, 30], np.float32)


def flat(shade: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.full((height, width, 3), shade, np.uint8)


def test_the_first_frame_is_no_cut() -> None:
    cuts = SceneCuts()
    assert not cuts.has_changed(BOX)
    cuts.update(flat(9))
    assert not cuts.is_cut
    assert not cuts.has_changed(BOX)


def test_another_scene_is_one_for_one_frame() -> None:
    cuts, told = SceneCuts(), []
    for shade in (50, 52, 54, 120, 120, 50):
        cuts.update(flat(shade))
        told.append(cuts.is_cut)
    assert told == [False, False, False, True, False, True]


def test_steady_change_is_none_after_its_first_frame() -> None:
    cuts, told = SceneCuts(), []
    for shade in range(0, 200, 12):
        cuts.update(flat(shade))
        told.append(cuts.is_cut)
    assert not any(told[2:])


def test_another_size_is_one() -> None:
    cuts = SceneCuts()
    cuts.update(flat(50))
    cuts.update(flat(50, 40))
    assert cuts.is_cut


def test_one_box_may_change_alone() -> None:
    cuts, after = SceneCuts(), flat(50)
    after[10:20, 10:20] = 255
    cuts.update(flat(50))
    cuts.update(after)
    assert cuts.has_changed(BOX)
    assert not cuts.has_changed(BOX + 32)


@given(st.lists(st.floats(-1e5, 1e5, width=32), min_size=4, max_size=4))
def test_any_box(box: list[float]) -> None:
    cuts = SceneCuts()
    cuts.update(flat(50))
    cuts.update(flat(50))
    assert not cuts.has_changed(np.array(box, np.float32))


@pytest.mark.parametrize("size", [(1, 1), (1, 999), (2000, 3)])
def test_any_size(size: tuple[int, int]) -> None:
    cuts = SceneCuts()
    for shade in (0, 255):
        cuts.update(flat(shade, *size))
    assert cuts.is_cut
