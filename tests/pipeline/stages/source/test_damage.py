"""Whole files are not called damaged, and those that were cut are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.stages.source.file import VideoSource

Picture = NDArray[np.uint8]
Encode = Callable[..., Path]
FRAMES, SOUND_S = 100, 10.0


def damage_of(path: Path) -> str:
    with VideoSource(path, "door", "0123456789ab") as source:
        assert sum(1 for _ in source) > 0
        return source.damage


def cut(path: Path, share: float) -> Path:
    os.truncate(path, int(path.stat().st_size * share))
    return path


def noisy(count: int = FRAMES) -> Iterator[Picture]:
    rng = np.random.default_rng(1)
    return (rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(count))


def with_sound(path: Path, sound_s: float, **options: str) -> Path:
    """Four seconds of pictures and so many of sound, written side by side."""
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("libx264", rate=25, options={"g": "12"})
        sound = container.add_stream("mp2", rate=48_000)
        assert isinstance(video, VideoStream)
        assert isinstance(sound, AudioStream)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        for index, picture in enumerate(noisy()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for start in range(0, round(sound_s * 48_000), 1152):
            noise = np.random.default_rng(start).integers(-9000, 9000, (1, 1152 * 2), np.int16)
            samples = AudioFrame.from_ndarray(noise, format="s16", layout="stereo")
            samples.sample_rate, samples.pts = 48_000, start
            samples.time_base = Fraction(1, 48_000)
            container.mux(sound.encode(samples))
        container.mux(sound.encode())
    return path


def without_tags(path: Path) -> Path:
    """As a muxer writes Matroska that tells only how long all of it is."""
    path.write_bytes(path.read_bytes().replace(b"DURATION", b"NOTATION"))
    return path


@pytest.mark.parametrize("name", ["c.mkv", "c.mp4", "c.avi", "c.ts", "c.mov"])
def test_sound_that_lasts_longer(tmp_path: Path, name: str) -> None:
    path = with_sound(tmp_path / name, SOUND_S)
    assert damage_of(path) == ""
    if name == "c.mkv":
        assert damage_of(without_tags(path)) == ""


@pytest.mark.parametrize("is_tagged", [True, False])
def test_cut_with_sound(tmp_path: Path, is_tagged: bool) -> None:
    path = with_sound(tmp_path / "c.mkv", SOUND_S)
    path = cut(path if is_tagged else without_tags(path), 0.3)
    assert re.search(r"ends at [12]\.\d s of (4\.0|10\.0) s", damage_of(path))


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof+global_sidx"}


@pytest.mark.parametrize("hours", [0, 10])
def test_fragments_that_count_from_long_ago(encode: Encode, hours: int) -> None:
    """A recorder cuts its endless stream: the first stamp is hours, and so is the duration."""
    path = encode("c.mp4", list(noisy()), first=hours * 3600 * 25, **FRAGMENTED)
    assert damage_of(path) == ""


def test_fragments_that_were_cut(encode: Encode) -> None:
    path = cut(encode("c.mp4", list(noisy()), first=36_000 * 25, **FRAGMENTED), 0.5)
    damage = damage_of(path)
    assert damage == "" or re.search(r"ends at [12]\.\d s of 4\.0 s", damage)


def test_joined_transport_streams_are_whole(encode: Encode, tmp_path: Path) -> None:
    """Though the numbers of their packets do not go on."""
    part = encode("a.ts", list(noisy())).read_bytes()
    (tmp_path / "c.ts").write_bytes(part + part)
    assert damage_of(tmp_path / "c.ts") == ""


def test_a_transport_stream_with_a_hole(encode: Encode) -> None:
    path = encode("a.ts", list(noisy()))
    content = path.read_bytes()
    middle = len(content) // 2 // 188 * 188
    path.write_bytes(content[:middle] + content[middle + 4 * 188 :])
    assert damage_of(path).startswith("damaged packets: ")


@pytest.mark.needs("data")
@pytest.mark.parametrize(
    "name", ["base.mp4", "tfdt10h.mp4", "audiolonger.mkv", "disc_back.ts", "reschange.ts"]
)
def test_the_cases_are_whole(data: Path, name: str) -> None:
    assert damage_of(data / "cases" / name) == ""


@pytest.mark.needs("data")
def test_a_case_that_is_cut(data: Path, tmp_path: Path) -> None:
    for name in ("audiolonger.mkv", "tfdt10h.mp4"):
        whole = (data / "cases" / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 3])
        assert damage_of(tmp_path / name) != "", name


def test_a_jpeg_that_is_cut(tmp_path: Path) -> None:
    """With a whole thumbnail before the image, as EXIF has it."""
    encoded = cv2.imencode(".jpg", next(noisy()))[1].tobytes()
    thumbnail = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    segment = b"\xff\xe2" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded[:2] + segment + encoded[2:])
    assert damage_of(path) == ""
    with path.open("ab") as file:
        file.write(b"some programs append data of their own")
    assert damage_of(path) == ""
    path.write_bytes((encoded[:2] + segment + encoded[2:])[: -len(encoded) // 2])
    assert damage_of(path) == "the file ends before the image does"
