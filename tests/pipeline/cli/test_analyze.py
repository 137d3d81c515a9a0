from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from models.loading import ZOO
from pipeline.cli.app import run
from pipeline.emotion_settings import DEGRADED_WEIGHTS
from pipeline.media.video import VideoWriter
from pipeline.records import EVENT_TYPES, Event, FaceObserved, TrackUpdated

WALL_CLOCK = ("classified_ms", "published_ms")
TYPES = {kind.model_fields["schema_"].default: kind for kind in EVENT_TYPES}


def analyze(capsys: pytest.CaptureFixture[str], clip: Path, *options: object) -> dict[str, Any]:
    assert run(["analyze", str(clip), "--json", *map(str, options)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    return json.loads(printed)


def records(path: Path) -> list[Event]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [TYPES[json.loads(line)["schema"]].model_validate_json(line) for line in lines]


def happiness(looks: list[FaceObserved], start_s: float, end_s: float) -> float:
    """Mean p(happiness) of the looks in a stretch of the clip, of each in a mean of 0.6 s."""
    chosen = [look for look in looks if start_s <= look.pts_ms / 1000 <= end_s]
    return sum(look.probabilities.happiness for look in chosen) / len(chosen)


@pytest.mark.parametrize("detector", ["centerface", pytest.param("scrfd", marks=pytest.mark.slow)])
def test_a_face_that_goes_ends_its_track_within_a_second(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path, detector: str
) -> None:
    events = tmp_path / "e.jsonl"
    clip = data / "media" / "pyfeat_face_noface.mov"
    result = analyze(capsys, clip, "--detector", detector, "--events", events)
    assert len(result["tracks"]) == 1
    ends = [e for e in records(events) if isinstance(e, TrackUpdated) and e.phase == "end"]
    looks = [e for e in records(events) if isinstance(e, FaceObserved)]
    assert len(ends) == 1
    assert ends[0].ended_ms == looks[-1].captured_ms
    told = records(events).index(ends[0])
    later = [e.pts_ms for e in records(events)[told:] if isinstance(e, FaceObserved)]
    assert later == []


@pytest.mark.parametrize("detector", ["centerface", pytest.param("scrfd", marks=pytest.mark.slow)])
def test_a_clip_without_a_face_has_no_track(
    capsys: pytest.CaptureFixture[str], data: Path, detector: str
) -> None:
    result = analyze(capsys, data / "media" / "pyfeat_no_face.mp4", "--detector", detector)
    assert (result["frames"], result["analysed"], result["tracks"]) == (95, 95, [])


def test_the_same_clip_twice_is_the_same_bytes_but_for_the_wall_clock(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    def lines(name: str) -> list[str]:
        analyze(capsys, data / "media" / "pyfeat_single_face.mp4", "--events", tmp_path / name)
        objects = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        return [
            json.dumps({k: v for k, v in row.items() if k not in WALL_CLOCK}) for row in objects
        ]

    first = lines("a.jsonl")
    assert len(first) > 60
    assert first == lines("b.jsonl")


def test_the_annotated_clip_has_every_frame(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    film = tmp_path / "a.mp4"
    clip = data / "media" / "pyfeat_single_face.mp4"
    result = analyze(capsys, clip, "--annotate", film, "--fps", 5)
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == result["frames"] == 72


def test_a_panel_before_the_camera(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every severity is a run of its own; the same one twice is the same film."""
    clip = tmp_path / "grey.mp4"
    with VideoWriter(clip, 128, 96, 10) as writer:
        for _ in range(3):
            writer.write(np.full((96, 128, 3), 128, np.uint8))
    worst = ["--panel", "p-oled", "--severity", "5"]
    films = [tmp_path / f"{number}.mp4" for number in range(4)]
    runs = [
        analyze(capsys, clip, "--annotate", film, *options)["run"]
        for film, options in zip(films, [[], worst[:2], worst, worst], strict=True)
    ]
    assert len(set(runs)) == 3
    assert runs[-1] == runs[-2]
    assert films[-1].read_bytes() == films[-2].read_bytes()
    sizes = [film.stat().st_size for film in films[:-1]]
    assert sizes == sorted(set(sizes))  # noise costs bytes
    assert run(["analyze", str(clip), "--panel", "lcd"]) == 2
    assert "no such panel: lcd" in capsys.readouterr().err


def test_a_clip_may_say_what_it_was_filmed_through(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    clip, told, runs = data / "media" / "pyfeat_single_face.mp4", {}, set()
    for way in ("--under-display", "--clear"):
        runs.add(analyze(capsys, clip, "--fps", 2, way, "--events", tmp_path / way)["run"])
        looks = [each for each in records(tmp_path / way) if isinstance(each, FaceObserved)]
        told[way] = {(look.model, look.reason) for look in looks}
    assert len(runs) == 2
    assert told["--under-display"] == {("resnet18-w36-udc-real", "under_display")}
    assert {model for model, _ in told["--clear"]} == {"resnet18-w36"}


def test_weights_are_those_of_the_route_that_the_mode_names(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    clip, events = data / "media" / "pyfeat_single_face.mp4", tmp_path / "e.jsonl"
    options = ("--fps", 2, "--clear", "--mode", "robust", "--weights", "resnet18-w32")
    analyze(capsys, clip, *options, "--events", events)
    found = [each for each in records(events) if isinstance(each, FaceObserved)]
    assert {(face.model, face.reason) for face in found} == {("resnet18-w32", "mode")}


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["centerface", "scrfd"])
def test_crying_becomes_laughing(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path, detector: str
) -> None:
    events = tmp_path / "e.jsonl"
    clip = data / "media" / "pyfeat_WolfgangLanger_Pexels.mp4"
    result = analyze(capsys, clip, "--detector", detector, "--events", events)
    assert len(result["tracks"]) in (1, 2)
    looks = [event for event in records(events) if isinstance(event, FaceObserved)]
    end_s = looks[-1].pts_ms / 1000
    assert happiness(looks, end_s - 5, end_s) >= happiness(looks, 0, 5) + 0.2


def test_the_weights_that_have_a_name_are_shipped() -> None:
    for pair in DEGRADED_WEIGHTS.items():
        for name in pair:
            assert (ZOO / f"{name}.safetensors").is_file()
