from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.stages.source.address import kind_of, local_path, open_local, run_id, webcam_device


@pytest.mark.parametrize(
    ("url", "device"),
    [
        ("webcam:0", "/dev/video0"),
        ("webcam:12", "/dev/video12"),
        ("/dev/video3", "/dev/video3"),
        ("webcam:", None),
        ("webcam:x", None),
        ("/dev/video0/x", None),
        ("clip.mp4", None),
    ],
)
def test_webcams(url: str, device: str | None) -> None:
    assert webcam_device(url) == device


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("clip.mp4", "file"),
        ("FILE:///clip.mp4", "file"),
        ("webcam:0", "webcam"),
        ("/dev/video1", "webcam"),
        ("rtsp://10.0.0.7/live", "stream"),
        ("RTSPS://10.0.0.7/live", "stream"),
        ("https://10.0.0.7/video", "stream"),
        ("listen://0.0.0.0:8554/door", "listen"),
    ],
)
def test_kinds(url: str, kind: str) -> None:
    assert kind_of(url) == kind


def test_a_kind_that_is_none_is_refused_without_its_secrets() -> None:
    with pytest.raises(InputError, match="cannot read from rtmp://.*rtsp") as caught:
        kind_of("rtmp://ann:s3cret@host/live")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("clips/a b.mp4", "clips/a b.mp4"),
        ("file:///clips/a%20b.mp4", "/clips/a b.mp4"),
        ("FILE:///clips/x.mov", "/clips/x.mov"),
        ("odd:name.mp4", "odd:name.mp4"),
    ],
)
def test_paths(url: str, path: str) -> None:
    assert local_path(url) == Path(path)


@pytest.mark.parametrize("scheme", ["rtsp", "http", "https", "rtmp", "srt", "gopher", "data"])
def test_other_schemes_are_refused_without_their_secrets(scheme: str) -> None:
    with pytest.raises(InputError, match=f"{scheme}://.*webcam:N") as caught:
        open_local(f"{scheme}://admin:s3cret@10.0.0.7/live?token=s3cret")
    assert "s3cret" not in str(caught.value)


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    for name, what in {
        "missing.mp4": "no such file",
        ".": "a directory",
        "empty.mp4": "the file is empty",
        "pipe.mp4": "not a regular file",
        "loop.mp4": "cannot be opened",
        "nul\0.mp4": "cannot be opened",
        "long" * 100: "cannot be opened",
    }.items():
        with pytest.raises(InputError, match=what):
            open_local(str(tmp_path / name))
    with pytest.raises(InputError, match="not a regular file"):
        open_local("/dev/zero")


def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "mine.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything, nobody may not
    try:
        with pytest.raises(InputError, match="no permission to read"):
            open_local(str(path))
    finally:
        os.seteuid(user)


def test_run_is_a_function_of_bytes_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"pictures" * 300_000)
    expected = hashlib.sha256(b"pictures" * 300_000 + b'{"fps":5}').hexdigest()[:12]
    assert run_id(path, '{"fps":5}') == expected
    assert run_id(f"file://{path}", '{"fps":5}') == expected
    assert run_id(path, '{"fps":6}') != expected
    with pytest.raises(InputError, match="no such file"):
        run_id(tmp_path / "missing.mp4", "")
