"""Bad input, each a one-line error with its exit code: nothing lost, nothing hung, no traceback."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.cli.app import run
from pipeline.media.video import VideoWriter
from pipeline.permissions import make_file, make_folder
from pipeline.store.engine import open_store

ELSE, USAGE, INPUT, SERVICE, MODEL = 1, 2, 3, 4, 5


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 64, 48, 10) as writer:
        for _ in range(20):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    return path


def fails(capsys: pytest.CaptureFixture[str], code: int, words: str, *arguments: object) -> None:
    assert run([str(argument) for argument in arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("undercam: ")
    assert words in lines[0]
    assert lines[0].count(": ") >= 3


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        (["run"], "--seconds", ["nan", "inf", "1e30", "-1"]),
        (["demo"], "--seconds", ["nan", "1e30"]),
        (["demo"], "--port", ["65536", "-1"]),
        (["store"], "--until-idle", ["nan", "1e30"]),
        (["evaluate"], "--limit", ["-1", "9" * 30]),
        (["table"], "--limit", ["0", "9" * 30]),
        (["analyze", "x.mp4"], "--severity", ["0", "6"]),
        (["udc", "x.png", "y.png"], "--face-px", ["nan", "-5", "1e30"]),
        (["train", "resnet18", "--out", "x"], "--threads", ["-1", "9999"]),
        (["train", "resnet18", "--out", "x"], "--workers", ["0", "9999"]),
        (["train", "resnet18", "--out", "x"], "--seed", ["-1", "9" * 30]),
        (["train", "resnet18", "--out", "x"], "--distill-weight", ["0", "1.01", "nan"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_number_out_of_range(
    capsys: pytest.CaptureFixture[str], command: list[str], option: str, values: list[str]
) -> None:
    for value in values:
        fails(capsys, USAGE, option, *command, f"{option}={value}")


def test_missing_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fails(capsys, INPUT, "nowhere.mp4", "analyze", tmp_path / "nowhere.mp4", "--json")


def test_text_named_mp4(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = tmp_path / "letter.mp4"
    text.write_text("Dear camera,\n" * 200)
    fails(capsys, INPUT, "letter.mp4", "analyze", text, "--json")


@pytest.mark.parametrize(
    ("clip", "code", "words"),
    [
        ("rtmp://ann:hunter2@camera/1", INPUT, "an unknown scheme"),
        ("rtps://ann:hunter2@camera/1", INPUT, "did you mean rtsp://?"),
        ("rtsp:/ann:hunter2@camera/1", INPUT, "write rtsp://HOST/PATH"),
        ("rtsp://ann:hunter2#@camera/1", INPUT, "percent-encoded"),
        ("rtsp://ann:hunter2/@10.0.0.7/1", INPUT, "percent-encoded"),
        ("rtsp://ann:hunter2@camera/1", USAGE, "--seconds"),
        ("http://camera/video?u=ann&p=hunter2", USAGE, "--seconds"),
        ("listen://127.0.0.1:8554/hunter2", USAGE, "--seconds"),
    ],
)
def test_an_address_that_cannot_be_analysed_shows_no_password(
    capsys: pytest.CaptureFixture[str], clip: str, code: int, words: str
) -> None:
    fails(capsys, code, words, "analyze", clip)
    assert run(["analyze", clip]) == code
    assert "hunter2" not in capsys.readouterr().err


def test_a_reference_is_named_and_what_it_holds_is_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for held in ("hunter2", "/etc/hunter2", "rtsp://ann:hunter#2@host/", "hunter2://host/live"):
        monkeypatch.setenv("PW", held)
        assert run(["analyze", "env:PW", "--seconds", "1"]) == USAGE
        error = capsys.readouterr().err
        assert "the reference holds" in error
        assert ": env:PW: " in error
        assert "hunter" not in error


@pytest.mark.parametrize("name", ["Back Porch", "-a", "_a", "a" * 64, "küche", "a\nb"])
def test_a_camera_that_cannot_be_called_so(
    capsys: pytest.CaptureFixture[str], clip: Path, name: str
) -> None:
    near = "'back-porch'" if name == "Back Porch" else "did you mean"
    fails(capsys, USAGE, near, "analyze", clip, f"--camera={name}")
    if not name.startswith("-"):
        fails(capsys, USAGE, near, "cameras", "add", name, "rtsp://10.0.0.7/live")
        fails(capsys, USAGE, near, "cameras", "set", name, "--fps", 1)
        fails(capsys, USAGE, near, "cameras", "remove", name)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rtps://10.0.0.7/live", "did you mean rtsp://?"),
        ("htpp://10.0.0.7/live", "did you mean http://?"),
        ("srt://10.0.0.7/live", "give rtsp(s)://"),
        ("rtsp:/10.0.0.7/live", "write rtsp://HOST/PATH"),
        ("rtsp:///live", "not a usable address"),
        ("rtsp://10.0.0.7:99999/live", "not a usable address"),
        ("rtsp://ann:12#34@10.0.0.7/live", "# is %23"),
        ("rtsp://10.0.0.7/live?t=1", "may be one"),
        ("env:DATABASE", "source.secret_variables"),
        ("env:UNDERCAM_STORE__URL", "source.secret_variables"),
        ("file:/etc/passwd", "source.secrets_folder"),
    ],
)
def test_an_address_that_no_camera_can_have_is_refused_when_it_is_added(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    url: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    fails(capsys, USAGE, words, "cameras", "add", "door", url)
    assert run(["cameras", "add", "door", "rtsp://10.0.0.7/live"]) == 0
    capsys.readouterr()
    fails(capsys, USAGE, words, "cameras", "set", "door", "--url", url)
    fails(capsys, USAGE, "did you mean 'door'?", "cameras", "remove", "doors")
    if ":" in url and not url.startswith(("env:", "file:")):
        toml = tmp_path / "u.toml"
        toml.write_text(f"[cameras.door]\nurl = '{url}'\n")
        fails(capsys, USAGE, words, "run", "-c", toml)


def test_a_camera_of_the_table_that_shows_a_credential_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, url in {"hall": "rtsp://nvr/east-wing", "door": "rtsp://10.0.0.7/live"}.items():
        assert run(["cameras", "add", name, url]) == 0
    with sqlite3.connect(tmp_path / "state" / "undercam.db") as database:
        written = '{"url": "rtsp://ann:hunter2@host/live"}'
        database.execute("UPDATE cameras SET settings = ? WHERE camera = 'door'", (written,))
    database.close()
    capsys.readouterr()
    assert run(["cameras", "list", "--json"]) == 0
    assert run(["cameras", "list"]) == 0
    printed = capsys.readouterr().out
    assert "hunter2" not in printed
    assert "rtsp://nvr/east-wing" in printed


def test_video_without_pictures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import av

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    fails(capsys, INPUT, "song.mp4", "analyze", path, "--json")


def test_truncated_video_gives_what_it_has_and_says_so(
    capsys: pytest.CaptureFixture[str], clip: Path, tmp_path: Path
) -> None:
    whole = clip.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) - len(whole) // 6])
    code = run(["analyze", str(cut), "--json"])
    printed = capsys.readouterr()
    assert code in (0, INPUT)
    assert len(printed.err.strip().splitlines()) == 1
    assert (code == 0) == ('"frames"' in printed.out)


def test_unknown_config_key(capsys: pytest.CaptureFixture[str], clip: Path, tmp_path: Path) -> None:
    toml = tmp_path / "u.toml"
    toml.write_text("[detector]\ntreshold = 0.4\n")
    fails(capsys, USAGE, "did you mean 'threshold'?", "analyze", clip, "-c", toml)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["analyze"], "Missing argument"),
        (["analyse", "x"], "No such command"),
        (["analyze", "x", "--evnts", "e"], "No such option"),
        (["evaluate", "--weights", "w", "--conditions", "fog"], "no such condition 'fog'"),
        (["train", "resnet18", "--preset", "w32-plan", "--out", "w"], "did you mean w32-plain"),
        (
            ["train", "resnet19", "--out", "w"],
            "give one of drfer, emodc, face-resnet, lrdif, noise-resnet18, poster, resnet18",
        ),
        (
            ["train", "resnet18", "--out", "w", "--distill-weight", "0.5"],
            "an option for teachers, and no teacher: --distill-weight: give --teacher",
        ),
        (["train", "resnet18", "--out", "w", "--teacher-view", "same"], "--teacher-view: give"),
        (
            ["train", "resnet18", "--data", "toy", "--labels", "vote", "--out", "w"],
            "labels 'vote': --labels: give votes, hard, one-vote",
        ),
        (["evaluate", "--weights", "resnet18-w36", "--data", "zip:x"], "no such kind of data"),
        (["evaluate", "--weights", "resnet18-w36", "--protocol", "mean"], "no such protocol"),
        (["udc", "folder:nothing:.", "out"], "no such layout"),
    ],
)
def test_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    fails(capsys, USAGE, words, *arguments)


def test_corrupt_weights(capsys: pytest.CaptureFixture[str], clip: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00not really json!")
    fails(capsys, MODEL, "w.safetensors", "analyze", clip, "--weights", weights)


def test_weights_without_a_card(
    capsys: pytest.CaptureFixture[str], clip: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "w.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, weights)
    fails(capsys, MODEL, "without a card", "analyze", clip, "--weights", weights)


def test_missing_weights_name_those_that_are_there(
    capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    fails(capsys, MODEL, "no such weights", "analyze", clip, "--weights", "resnet99")


def test_missing_detector_network(capsys: pytest.CaptureFixture[str], clip: Path) -> None:
    fails(capsys, MODEL, "nothing.onnx", "analyze", clip, "--detector-model", "nothing.onnx")


def test_events_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    fails(capsys, ELSE, "cannot write (Is a directory)", "analyze", clip, "--events", folder)
    fails(capsys, ELSE, "No space left", "analyze", clip, "--events", "/dev/full")


@pytest.mark.parametrize("option", ["--out", "--run-dir"])
def test_training_that_could_not_be_kept_is_not_begun(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").touch()
    places = {"--out": tmp_path / "w.safetensors", "--run-dir": tmp_path / "run"}
    places[option] = tmp_path / "file" / "x"
    said = [part for pair in places.items() for part in pair]
    begun = ["train", "resnet18", "--preset", "smoke", "--data", "toy", *said]
    assert run([str(argument) for argument in begun]) == ELSE
    printed = capsys.readouterr().err
    assert "cannot write (Not a directory)" in printed
    assert "epoch" not in printed


def test_an_export_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "x.onnx"
    fails(capsys, ELSE, "cannot write (Not a directory)", "export", "resnet18-w32", out)


def test_database_unreachable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNDERCAM_STORE__URL", "postgresql+psycopg://ann:hunter2@127.0.0.1:9/u")
    make_folder(tmp_path / "state")
    make_file(tmp_path / "state" / "sample.mp4")
    (tmp_path / "state" / "sample.mp4").write_bytes(b"not looked at")
    assert run(["demo", "--seconds", "1", "--headless"]) == SERVICE
    error = capsys.readouterr().err
    assert "hunter2" not in error
    assert len(error.strip().splitlines()) == 1


def test_database_locked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNDERCAM_STORE__BUSY_TIMEOUT_S", "0.2")
    make_folder(tmp_path / "state")
    make_file(tmp_path / "state" / "sample.mp4")
    (tmp_path / "state" / "sample.mp4").write_bytes(b"not looked at")
    database = tmp_path / "state" / "undercam.db"
    holder = sqlite3.connect(database, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        assert run(["demo", "--seconds", "1", "--headless"]) == SERVICE
    finally:
        holder.close()
    assert "locked" in capsys.readouterr().err
    open_store(f"sqlite:///{database}").dispose()


def test_whatever_else_fails_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clip: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("nobody foresaw\nthis")

    monkeypatch.setattr("pipeline.stages.classify.open_classify", broken)
    fails(capsys, 1, "ZeroDivisionError: nobody foresaw", "analyze", clip)
