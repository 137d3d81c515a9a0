"""Files damaged by chance: each is read as far as it goes, or refused in one line."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.stages.source.file import VideoSource

Encode = Callable[..., Path]
ROUNDS = 200
MOST_S = 20.0
"""Of one file: it has thirty pictures of 128 x 96 pixels."""
KINDS = {
    "a.mp4": "libx264",
    "a.mkv": "libx264",
    "a.ts": "libx264",
    "a.avi": "mpeg4",
    "a.mov": "mpeg4",
    "a.webm": "libvpx",
}


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with some of them drawn anew, left out, doubled, or cut off."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(0, len(found)))
        length = int(rng.integers(1, max(2, len(found) // 100)))
        match rng.integers(0, 5):
            case 0:
                found[start] ^= 1 << int(rng.integers(0, 8))
            case 1:
                found[start : start + length] = rng.bytes(len(found[start : start + length]))
            case 2:
                del found[start : start + length]
            case 3:
                found[start:start] = found[start : start + length]
            case _:
                del found[max(start, 1) :]
    return bytes(found)


def read(path: Path) -> int:
    """How many frames come, each a picture at a later time; raises InputError where none does."""
    last_s, frames = -1.0, 0
    with VideoSource(path, "door", "e1") as source:
        for frame in source:
            assert frame.header.pts_s > last_s
            assert frame.image.shape[2] == 3
            last_s, frames = frame.header.pts_s, frames + 1
    return frames


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_clip(encode: Encode, tmp_path: Path, name: str) -> None:
    whole = encode(name, codec=KINDS[name]).read_bytes()
    _check(whole, tmp_path / f"damaged-{name}", seed=sorted(KINDS).index(name))


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tiff"])
def test_a_damaged_picture(tmp_path: Path, ending: str) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    _, whole = cv2.imencode(ending, cv2.resize(picture, (128, 96)))
    _check(whole.tobytes(), tmp_path / f"damaged{ending}", seed=len(ending))


def _check(whole: bytes, path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path.write_bytes(whole)
    assert read(path) in (1, 30)
    outcomes = [_outcome(mutated(whole, rng), path) for _ in range(ROUNDS)]
    assert "refused" in outcomes


def _outcome(data: bytes, path: Path) -> str:
    path.write_bytes(data)
    begin_s = time.monotonic()
    try:
        outcome = f"{read(path)} frames"
    except InputError as error:
        outcome = "refused" if len(str(error).splitlines()) == 1 else str(error)
    assert outcome == "refused" or re.fullmatch(r"[0-9]+ frames", outcome)
    assert time.monotonic() - begin_s < MOST_S
    return outcome
