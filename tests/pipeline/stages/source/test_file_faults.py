"""Files that are broken, foreign or hostile: one clear sentence, no hang, no traceback."""

from __future__ import annotations

import errno
import gc
import io
import os
import re
import socket
import subprocess
import wave
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.frames import Frame
from pipeline.stages.source import file as source_module
from pipeline.stages.source.file import VideoSource

Encode = Callable[..., Path]
NumberOf = Callable[[NDArray[np.uint8]], int]
FASTSTART = {"movflags": "+faststart"}


def read(path: Path) -> tuple[list[Frame], str]:
    """All frames, and what is said about damage."""
    with VideoSource(path, "door", "0123456789ab") as source:
        frames = list(source)
        return frames, source.damage


def refusal(path: Path) -> str:
    """The error of a file of which nothing can be read: one line."""
    with pytest.raises(InputError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert caught.value.where == str(path)
    return caught.value.what


def noisy(count: int) -> list[NDArray[np.uint8]]:
    """Pictures that cost bytes, so that half a file holds about half of them."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(count)]


def cut(path: Path, share: float) -> Path:
    """Keep the first part of a file."""
    os.truncate(path, int(path.stat().st_size * share))
    return path


@pytest.mark.parametrize(("name", "options"), [("c.mp4", FASTSTART), ("c.mkv", {})])
def test_truncated_gives_what_it_has(encode: Encode, name: str, options: dict[str, str]) -> None:
    whole, nothing = read(encode(name, noisy(100), **options))
    frames, damage = read(cut(encode(name, noisy(100), **options), 0.5))
    assert nothing == ""
    assert 40 <= len(frames) <= 60
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames[:-3], whole, strict=False))
    end_s = frames[-1].header.pts_s + 0.04
    assert damage.endswith(f"ends at {end_s:.1f} s of 4.0 s")


def test_a_hole_in_the_middle_is_passed_over(encode: Encode) -> None:
    path = encode("c.mp4", noisy(100), **FASTSTART)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 30_000] = b"\xff" * 30_000
    path.write_bytes(content)
    frames, damage = read(path)
    assert 80 <= len(frames) < 100
    assert frames[-1].header.pts_s == pytest.approx(99 / 25)
    assert damage.startswith("damaged packets: ")


class BadDisk(io.FileIO):
    """A file on a disk that fails beyond the first 100 kB."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 100_000:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size) or b""


def test_failing_disk(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode("c.mkv", noisy(100))
    assert path.stat().st_size > 300_000
    monkeypatch.setattr(source_module, "open_local", BadDisk)
    frames, damage = read(path)
    assert 5 < len(frames) < 60
    assert re.fullmatch(r"reading stopped at \d\.\d s \(Input/output error\)", damage)


def test_index_lost(encode: Encode) -> None:
    assert refusal(cut(encode("c.mp4", noisy(30)), 0.5)) == "not a video, or one without its index"


def test_text_named_video(tmp_path: Path) -> None:
    (tmp_path / "c.mp4").write_text("dear diary\n" * 500, encoding="utf-8")
    assert refusal(tmp_path / "c.mp4") == "not a video, or one without its index"


def test_random_bytes(tmp_path: Path) -> None:
    (tmp_path / "c.mp4").write_bytes(np.random.default_rng(0).bytes(100_000))
    refusal(tmp_path / "c.mp4")


def test_sound_only(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "c.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16_000))
    assert refusal(tmp_path / "c.wav") == "no video in it"


@pytest.mark.needs("ffmpeg")
def test_a_cover_is_no_video(tmp_path: Path) -> None:
    song = tmp_path / "song.m4a"
    inputs = ["-f", "lavfi", "-i", "sine=d=1", "-f", "lavfi", "-i", "color=red:s=64x64:d=0.04"]
    cover = ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-disposition:v", "attached_pic"]
    subprocess.run(["ffmpeg", "-v", "error", *inputs, *cover, str(song)], check=True)
    assert refusal(song) == "no video in it"


def test_unknown_codec(encode: Encode) -> None:
    path = encode("c.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    assert refusal(path) == "not one frame could be decoded"


PLAYLISTS = {
    "c.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n",
    "c.ffconcat": "ffconcat version 1.0\nfile {target}\n",
    "c.mp4": "ffconcat version 1.0\nfile {target}\n",
    "c.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\na=control:{target}\n",
    "c.mpd": '<?xml version="1.0"?><MPD type="static" mediaPresentationDuration="PT1S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlist_opens_no_other_file(encode: Encode, tmp_path: Path, name: str) -> None:
    encode("other.ts")
    (tmp_path / name).write_text(PLAYLISTS[name].format(target="other.ts"), encoding="utf-8")
    refusal(tmp_path / name)


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlist_reaches_no_network(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        target = f"http://127.0.0.1:{server.getsockname()[1]}/c.ts"
        (tmp_path / name).write_text(PLAYLISTS[name].format(target=target), encoding="utf-8")
        refusal(tmp_path / name)
        with pytest.raises(BlockingIOError):
            server.accept()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_descriptors_are_given_back(encode: Encode, tmp_path: Path) -> None:
    good, text = encode("c.mp4", 5), tmp_path / "text.mp4"
    text.write_text("not a video", encoding="utf-8")
    before = descriptors()
    gc.disable()
    try:
        for _ in range(100):
            with VideoSource(good, "door", "0123456789ab") as source:
                next(iter(source))
            source.close()
            with pytest.raises(InputError):
                VideoSource(text, "door", "0123456789ab")
        assert descriptors() == before
    finally:
        gc.enable()


def test_ffmpeg_says_nothing_by_itself(encode: Encode, capfd: pytest.CaptureFixture[str]) -> None:
    read(cut(encode("c.mp4", noisy(30), **FASTSTART), 0.6))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["c.mp4", "c.mkv", "c.ts", "c.avi"])
def test_any_bytes_are_frames_or_one_sentence(encode: Encode, name: str) -> None:
    path = encode(name, 20)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(7)
    for trial in range(25):
        broken = whole.copy()
        reach = len(broken) if trial % 2 else min(2000, len(broken))
        places = rng.integers(0, reach, rng.integers(1, 100))
        broken[places] = rng.integers(0, 256, len(places))
        path.write_bytes(broken.tobytes())
        with suppress(InputError):
            frames, _ = read(path)
            assert [frame.header.index for frame in frames] == list(range(len(frames)))
