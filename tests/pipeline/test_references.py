"""References: what they stand for, which a camera may use, and that nothing is told of the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.camera_url import find_live_url_fault
from pipeline.errors import ConfigError
from pipeline.references import is_recording, resolve, resolve_camera_url
from pipeline.settings import CameraSettings, SourceSettings

SETTINGS = SourceSettings()
LIVE = "rtsp://ann:pw@10.0.0.7/live"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    return tmp_path / "secrets"


@pytest.fixture
def settings(folder: Path) -> SourceSettings:
    return SourceSettings(secrets_folder=str(folder))


def refusal(reference: str, settings: SourceSettings, written: frozenset[str] = frozenset()) -> str:
    with pytest.raises(ConfigError) as refused:
        resolve_camera_url(reference, settings, written)
    return str(refused.value)


def test_a_camera_gets_what_it_may_refer_to(
    folder: Path, settings: SourceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_URL", f"{LIVE}\n")
    (folder / "..data").mkdir()
    (folder / "..data" / "door").write_text(f"{LIVE}\n")
    (folder / "door").symlink_to("..data/door")  # as Kubernetes does
    assert resolve_camera_url("env:DOOR_URL", settings) == LIVE
    assert resolve_camera_url(f"file:{folder}/door", settings) == LIVE
    for plain in ("rtsp://host/live", "clip.mp4", "file:///clips/a.mp4", "webcam:0", "environment"):
        assert resolve_camera_url(plain, settings) == plain


@pytest.mark.parametrize(
    "name", ["PW", "DOOR_URL_OLD", "UNDERCAM_STORE__URL", "undercam_bus__URL", "PW\n_URL", "", "="]
)
def test_a_variable_that_is_not_allowed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name.isidentifier():
        monkeypatch.setenv(name, LIVE)
    told = refusal(f"env:{name}", SETTINGS)
    assert "cameras may not refer to" in told
    assert "source.secret_variables" in told


def test_a_reference_of_the_configuration_file_may_be_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR", LIVE)
    (tmp_path / "door").write_text(LIVE)
    written = {"env:DOOR", f"file:{tmp_path}/door"}
    assert {resolve_camera_url(reference, SETTINGS, written) for reference in written} == {LIVE}
    allowed = SETTINGS.model_copy(update={"secret_variables": ("CAMERA_*", "DOOR")})
    assert resolve_camera_url("env:DOOR", allowed) == LIVE


def test_a_file_outside_the_folder(tmp_path: Path, folder: Path, settings: SourceSettings) -> None:
    (tmp_path / "outside").write_text(LIVE)
    (tmp_path / "secrets-old").mkdir()
    (tmp_path / "secrets-old" / "door").write_text(LIVE)
    (folder / "away").symlink_to(tmp_path / "outside")
    (folder / "loop").symlink_to("loop")
    (folder / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    outside = [
        f"{tmp_path}/outside",
        f"{folder}/../outside",
        f"{folder}/away",
        f"{folder}/up/outside",
        f"{folder}/pipe",
        f"{tmp_path}/secrets-old/door",
        str(folder),
        "/etc/passwd",
        "/proc/self/environ",
        "",
        "a\0b",
    ]
    for path in outside:
        assert "cameras may not refer to" in refusal(f"file:{path}", settings), path
    assert "cameras may not refer to" in refusal(
        f"file:{folder}/x", SourceSettings(secrets_folder="")
    )
    # Whether a file is there is told of the folder alone.
    assert refusal("file:/none", settings).startswith(refusal("file:/etc/passwd", settings)[:40])
    assert "No such file" in refusal(f"file:{folder}/none", settings)


def test_a_password_is_said_to_need_percent_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    for password in ("12#34", "12/34", "12?34", "12@34", "12%34%", "1 2", "[12", "12\\34"):
        monkeypatch.setenv("DOOR_URL", f"rtsp://ann:{password}@10.0.0.7:554/live")
        told = refusal("env:DOOR_URL", SETTINGS)
        assert "percent-encoded" in told
        assert "# is %23" in told
        assert password not in told


CONTENT = (
    st.text(st.characters(exclude_categories=["C"]), min_size=1)
    | st.builds("{}://{}".format, st.text(min_size=1), st.text())
    | st.builds("rtsp://{}".format, st.text())
    | st.builds("rtps://ann:{}@host/live".format, st.text())
    | st.builds("/etc/{}".format, st.text())
    | st.builds("env:{}".format, st.text())
    | st.builds("file:{}".format, st.text())
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@given(CONTENT)
def test_nothing_of_what_a_reference_holds_is_told(shared: Path, content: str) -> None:
    content = f"q7z{content}q7z" if find_live_url_fault(content) else content
    settings = SourceSettings(secrets_folder=str(shared))
    (shared / "door").write_bytes(content.encode("utf-8", "surrogatepass"))
    reference = f"file:{shared}/door"
    if find_live_url_fault(content.strip()) is None:
        assert resolve_camera_url(reference, settings) == content.strip()
        return
    told = refusal(reference, settings)
    assert told.startswith(("the reference holds", "secret not readable"))
    assert reference in told
    assert "q7z" not in told


def test_what_cannot_be_read_is_told_without_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"s3cret" * 20_000)
    (tmp_path / "binary").write_bytes(b"s3cret\xff")
    for name, remedy in {"large": "64 kB", "binary": "UTF-8", "a\0b": "its path"}.items():
        with pytest.raises(ConfigError, match=remedy) as refused:
            resolve(f"file:{tmp_path}/{name}")
        assert "s3cret" not in str(refused.value)
    with pytest.raises(ConfigError, match="64 kB"):
        resolve("file:/dev/zero")


@pytest.mark.parametrize(
    ("url", "play", "is_one"),
    [
        ("clips/a.mp4", "once", True),
        ("file:///clips/a.mp4", "once", True),
        ("clips/a.mp4", "loop", False),
        (LIVE, "once", False),
        ("https://10.0.0.7/snapshot.jpg", "once", False),
        ("listen://0.0.0.0:8554/door", "once", False),
        ("webcam:0", "once", False),
        ("env:DOOR_URL", "once", False),
        ("gopher://a", "once", False),
    ],
)
def test_only_a_file_that_is_read_once_is_a_recording(url: str, play: str, is_one: bool) -> None:
    assert is_recording(CameraSettings.model_validate({"url": url, "play": play})) == is_one
