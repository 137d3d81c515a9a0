from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import ConfigError, UndercamError
from pipeline.media.video import IMAGE_SUFFIXES, ImageWriter, VideoWriter, open_writer
from pipeline.stages.source.file import VideoSource
from tests.disk import full_disk

Picture = NDArray[np.uint8]
COLOURS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 255], [20, 20, 20], [200, 150, 120]]],
    np.uint8,
)


def patches(width: int = 192, height: int = 128) -> Picture:
    rows, columns = np.mgrid[0:height, 0:width]
    return COLOURS[rows * 2 // height, columns * 3 // width]


def write(path: Path, pictures: Iterable[Picture]) -> None:
    with VideoWriter(path, 192, 128, 25) as video:
        for picture in pictures:
            video.write(picture)


def read(path: Path) -> tuple[list[float], list[Picture]]:
    with VideoSource(path, "door", "0123456789ab") as source:
        frames = list(source)
    return [frame.header.pts_s for frame in frames], [frame.image for frame in frames]


@pytest.mark.parametrize("name", ["c.mp4", "c.MOV", "c.m4v", "c.mkv"])
def test_same_pictures_at_the_same_times(
    tmp_path: Path,
    name: str,
    numbered: Callable[[int], Picture],
    number_of: Callable[[Picture], int],
) -> None:
    times = [i / 30 + (i > 7) for i in range(40)]
    with VideoWriter(tmp_path / name, 128, 96, 30) as video:
        for index, pts_s in enumerate(times):
            video.write(numbered(index), pts_s)
    stamps, images = read(tmp_path / name)
    assert [number_of(image) for image in images] == list(range(40))
    assert stamps == pytest.approx(times, abs=0.0011)  # mkv counts whole milliseconds
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_times_follow_the_rate_where_none_are_given(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "c.mp4", 192, 128, 30_000 / 1001) as video:
        for pts_s in (None, None, 1.0, None):
            video.write(patches(), pts_s)
    stamps, _ = read(tmp_path / "c.mp4")
    assert stamps == pytest.approx([0, 1001 / 30_000, 1, 1 + 1001 / 30_000], abs=2e-5)


def test_colours_survive_and_are_declared(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "c.mp4", 192, 128, 25, crf=10) as video:
        video.write(patches())
    _, (image,) = read(tmp_path / "c.mp4")
    inner = np.array([[image[32 + 64 * r, 32 + 64 * c] for c in range(3)] for r in range(2)])
    assert np.abs(inner.astype(int) - COLOURS).max() <= 5
    with av.open(str(tmp_path / "c.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        # BT.709 in all three, limited range
        assert (codec.colorspace, codec.color_primaries, codec.color_trc) == (1, 1, 1)
        assert codec.color_range == 1


def test_starts_to_play_before_it_is_all_there(tmp_path: Path) -> None:
    write(tmp_path / "c.mp4", [patches()])
    content = (tmp_path / "c.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize(("width", "height"), [(191, 128), (192, 127), (1, 1), (33, 17)])
def test_odd_sizes_are_filled_up(tmp_path: Path, width: int, height: int) -> None:
    with VideoWriter(tmp_path / "c.mp4", width, height, 25, crf=5) as video:
        video.write(patches(width, height))
    _, (image,) = read(tmp_path / "c.mp4")
    assert image.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(image[:, -1].astype(int) - image[:, width - 1]).mean() < 12


def test_same_pictures_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write(tmp_path / name, (np.roll(patches(), 5 * shift, axis=1) for shift in range(12)))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("name", ["c.xyz", "c", "c.gif", ".mp4x"])
def test_unknown_ending(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown kind of video: .*: end its name in \.mp4"):
        VideoWriter(tmp_path / name, 64, 64, 25)


@pytest.mark.parametrize("place", ["missing/c.mp4", "folder.mp4", "file/c.mp4"])
def test_unwritable_place(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    with (
        pytest.raises(UndercamError, match=r"cannot write the video \(.+\): .*\.mp4: give a path"),
        VideoWriter(tmp_path / place, 64, 64, 25),
    ):
        pytest.fail("opened")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder.mp4"]


@pytest.mark.parametrize("frames", [0, 1, 60])
def test_a_failed_block_leaves_the_old_file(tmp_path: Path, frames: int) -> None:
    (tmp_path / "c.mp4").write_bytes(b"the old one")

    def broken() -> Iterator[Picture]:
        yield from [patches()] * frames
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "c.mp4", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["c.mp4"]
    assert (tmp_path / "c.mp4").read_bytes() == b"the old one"


def test_no_frame_no_file(tmp_path: Path) -> None:
    write(tmp_path / "c.mp4", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("frames", [3, 300])
def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, frames: int) -> None:
    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 256, (128, 192, 3), dtype=np.uint8) for _ in range(frames))
    told = r"cannot write the video \(File too large\)"
    with full_disk(20_000), pytest.raises(UndercamError, match=told):
        write(tmp_path / "c.mp4", noise)
    assert list(tmp_path.iterdir()) == []


def test_wrong_pictures_and_times_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "c.mp4", 192, 128, 25) as video:
        video.write(patches(), 1.0)
        wrong: Any
        for wrong in (patches(128, 192), patches().astype(np.float32), patches()[..., :2]):
            with pytest.raises(ValueError, match=r"rgb: expected \(128, 192, 3\) uint8, got"):
                video.write(wrong)
        for late in (1.0, 0.5, 1.000001):
            with pytest.raises(ValueError, match=r"pts_s: expected more than 1\.0"):
                video.write(patches(), late)


PICTURE = np.full((30, 40, 3), (200, 60, 20), np.uint8)


@pytest.mark.parametrize("ending", IMAGE_SUFFIXES)
def test_one_picture(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    with open_writer(path, 40, 30, 25) as writer:
        writer.write(PICTURE, 0.0)
        assert not path.exists()
    written = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert np.abs(written.astype(int) - PICTURE).max() < 12


def test_a_second_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with ImageWriter(path) as writer:
        writer.write(PICTURE)
        with pytest.raises(
            ConfigError, match=r"the input is a clip, not an image: .*a\.png: end its name in"
        ):
            writer.write(PICTURE)


def test_nothing_is_left_of_a_block_that_failed(tmp_path: Path) -> None:
    def fail() -> None:
        with ImageWriter(tmp_path / "a.png") as writer:
            writer.write(PICTURE)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = ImageWriter(tmp_path / "file" / "a.png")
    writer.write(PICTURE)
    with pytest.raises(UndercamError, match="cannot write"):
        writer.__exit__(None, None, None)


def test_a_clip_gets_a_video(tmp_path: Path) -> None:
    assert isinstance(open_writer(tmp_path / "a.mp4", 40, 30, 25), VideoWriter)
