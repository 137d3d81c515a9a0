"""Bad input, each a one-line error with its exit code: nothing lost, nothing hung, no traceback."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.cli.app import run
from pipeline.stages.video import VideoWriter
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


def test_a_protocol_that_is_not_allowed_shows_no_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["analyze", "rtsp://ann:hunter2@camera/1"]) == INPUT
    assert "hunter2" not in capsys.readouterr().err


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
        (["train", "resnet18", "--preset", "huge", "--out", "w"], "no such preset"),
    ],
)
def test_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code = INPUT if "preset" in words else USAGE
    fails(capsys, code, words, *arguments)


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
    (tmp_path / "state").mkdir()
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
    (tmp_path / "state").mkdir()
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

    monkeypatch.setattr("pipeline.cli.analyze.open_classify", broken)
    fails(capsys, 1, "ZeroDivisionError: nobody foresaw", "analyze", clip)
