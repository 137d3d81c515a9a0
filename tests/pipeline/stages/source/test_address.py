from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.stages.source import address
from pipeline.stages.source.address import (
    check_webcam,
    is_container,
    kind_of,
    local_path,
    open_local,
    run_id,
    webcam_device,
)


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


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for a webcam, on a machine that is no container."""
    monkeypatch.setattr(address, "CONTAINER_MARKS", ())
    for name in ("container", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "video0"


def refusal(device: Path) -> str:
    with pytest.raises(InputError) as refused:
        check_webcam(str(device))
    return str(refused.value)


def test_no_webcam(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(device) == f"no such webcam: {device}: plug it in; there is: none"
    other = device.with_name("video2")
    other.touch()
    check_webcam(str(other))
    assert refusal(device).endswith(f"there is: {other}")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    told = refusal(device)
    assert told.startswith(f"the container has no such webcam: {device}: ")
    assert f"--device {device}" in told


def test_a_webcam_of_a_group_that_is_not_ours(
    device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    device.touch()
    monkeypatch.setattr(address.os, "open", denied)
    group = "video" if device.group() == "root" else device.group()
    what = f"no permission to use the webcam: {device}: "
    assert refusal(device).startswith(f"{what}join the group `{group}`")
    monkeypatch.setenv("container", "docker")
    assert refusal(device) == f"{what}start the container with --group-add {group}"


@pytest.mark.parametrize(
    ("number", "inside", "said"),
    [
        (errno.EPERM, True, "the container may not use the webcam"),
        (errno.EPERM, False, "no permission to use the webcam"),
        (errno.ENODEV, False, "no such webcam"),
        (errno.EBUSY, False, "cannot be used (Device or resource busy)"),
    ],
)
def test_a_webcam_that_cannot_be_opened(
    device: Path, monkeypatch: pytest.MonkeyPatch, number: int, inside: bool, said: str
) -> None:
    def broken(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(address.os, "open", broken)
    monkeypatch.setattr(address, "is_container", lambda: inside)
    assert said in refusal(device)


def test_what_tells_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "CONTAINER_MARKS", (str(tmp_path / "mark"),))
    assert not is_container({})
    assert is_container({"container": "podman"})
    (tmp_path / "mark").touch()
    assert is_container({})


def test_run_is_a_function_of_bytes_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"pictures" * 300_000)
    expected = hashlib.sha256(b"pictures" * 300_000 + b'{"fps":5}').hexdigest()[:12]
    assert run_id(path, '{"fps":5}') == expected
    assert run_id(f"file://{path}", '{"fps":5}') == expected
    assert run_id(path, '{"fps":6}') != expected
    with pytest.raises(InputError, match="no such file"):
        run_id(tmp_path / "missing.mp4", "")
