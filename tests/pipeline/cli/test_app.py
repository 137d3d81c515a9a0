"""What all commands have in common: help, version, completion, quiet endings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.cli.app import BROKEN_PIPE_EXIT_CODE, COMMANDS, load_command, read_summary, run
from pipeline.cli.options import OLD_OPTIONS, rename_old_options
from pipeline.cli.output import as_text
from pipeline.errors import ConfigError

UNDERCAM = Path(sys.executable).with_name("undercam")
SUBCOMMANDS = (
    "users add",
    "users list",
    "users remove",
    "cameras add",
    "cameras list",
    "cameras remove",
    "cameras set",
    "outbox drain",
)
EVERY = ("", *COMMANDS, *SUBCOMMANDS, "outbox status")
HEAVY = {"av", "cv2", "kafka", "onnxruntime", "ray", "scipy", "streamlit", "torch"}
LOADED = """
import sys
from pipeline.cli.app import run
assert run(sys.argv[1:]) == 0
sys.stderr.write(" ".join(sys.modules))
"""


def started(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("command", EVERY)
def test_help_needs_no_heavy_import(command: str) -> None:
    done = started(LOADED, *command.split(), "-h", COLUMNS="200")
    assert f"Usage: undercam {command}" in done.stdout
    assert HEAVY & set(done.stderr.split()) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_has_the_first_paragraph_of_each_help(name: str) -> None:
    summary = read_summary(name)
    assert summary == " ".join(load_command(name).help.split("\n\n")[0].split())
    assert summary.endswith(".")


def test_the_list_has_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["-h"], ["--help"]):
        assert run(arguments) == 0
        printed = capsys.readouterr().out
        assert all(f"│ {name} " in printed for name in COMMANDS)
        assert read_summary("doctor").split()[0] in printed


def test_defaults_that_are_written_down_twice() -> None:
    """In a command's options, and in the module that would cost its help a second."""
    from models.udc.suites import CLEAN
    from pipeline.media.display_simulation import FRAME_FACE_PX

    defaults = {
        (name, option.name): option.default
        for name in ("evaluate", "udc")
        for option in load_command(name).params
    }
    assert defaults["udc", "face_px"] == FRAME_FACE_PX
    assert defaults["evaluate", "condition"] == CLEAN


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"undercam {version('undercam')}\n"


@pytest.mark.parametrize(
    ("typed", "offered", "unwanted"),
    [
        ("undercam ", "cameras", HEAVY | {"pydantic_settings"}),
        ("undercam ca", "cameras", HEAVY | {"pydantic_settings"}),
        ("undercam cameras ", "remove", HEAVY),
        ("undercam analyze --anno", "--annotate", HEAVY),
    ],
)
def test_completion(typed: str, offered: str, unwanted: set[str]) -> None:
    script = (
        f"import atexit; atexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))\n{LOADED}"
    )
    done = started(
        script.replace("import atexit", "import atexit, sys"),
        _UNDERCAM_COMPLETE="complete_bash",
        COMP_WORDS=typed,
        COMP_CWORD=str(len(typed.split(" ")) - 1),
    )
    assert offered in done.stdout.split()
    assert unwanted & set(done.stderr.split()) == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_each_shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, shell: str
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(["--show-completion"]) == 0
    assert "_UNDERCAM_COMPLETE" in capsys.readouterr().out
    assert run(["--install-completion"]) == 0
    assert any("undercam" in path.name for path in tmp_path.rglob("*"))


def ended(command: str, **pipes: int | None) -> tuple[int, str]:
    """Exit code and stderr of a command whose stdout, or more, nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": writer, "stderr": subprocess.PIPE} | pipes
    streams = {name: writer if pipe is None else pipe for name, pipe in streams.items()}
    try:
        done = subprocess.run([UNDERCAM, *command.split()], text=True, **streams)
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["-h", "--version", "cameras list", "cameras list --json"])
def test_a_reader_that_has_seen_enough_ends_it_without_a_word(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended(command) == (BROKEN_PIPE_EXIT_CODE, "")
    assert ended(command.replace("list", "frobnicate"), stderr=None)[0] == BROKEN_PIPE_EXIT_CODE


def test_a_broken_connection_is_no_broken_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are EPIPE; of the one that is not our output, the command says what it knows."""

    def load(path: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("pipeline.cli.cameras.load", load)
    assert run(["cameras", "list"]) == 1
    assert "BrokenPipeError: [Errno 32] Broken pipe: unexpected" in capsys.readouterr().err


def test_output_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open("/dev/full", "w", encoding="utf-8") as full:
        code, said = ended("cameras list", stdout=full.fileno())
    assert code == 1
    assert said.startswith("undercam: OSError: [Errno 28] No space left on device")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["analyse"], "No such command 'analyse'. Did you mean 'analyze'?: undercam: see "),
        (["cameras", "add"], "undercam cameras add: see `undercam cameras add --help`"),
    ],
)
def test_usage_names_the_command_that_helps(
    capsys: pytest.CaptureFixture[str], arguments: list[str], where: str
) -> None:
    assert run(arguments) == 2
    assert where in capsys.readouterr().err


def test_an_old_option_works_and_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    old = ["--keep=a", "--through-video", "--conditions", "fer_nb"]
    assert run(["evaluate", "--weights", "x", *old, *old[:2]]) == 2  # fer_nb needs no video
    first, second, fault, *more = capsys.readouterr().err.splitlines()
    assert more == []
    assert first == "undercam: option --keep: renamed: use --save-predictions"
    assert second == "undercam: option --through-video: renamed: use --end-to-end"
    assert "fer_nb" in fault
    assert run(["train", "no-such-model", "--out", "x", "--teach", "0.5"]) == 2
    assert "undercam: option --teach: renamed: use --distill-weight" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "old"), OLD_OPTIONS)
def test_old_options_lead_to_options_that_exist(command: str, old: str) -> None:
    options = {name for option in load_command(command).params for name in option.opts}
    assert OLD_OPTIONS[command, old] in options
    assert old not in options


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", "--keep"],  # another command has no such old option
        ["evaluate", "--keeper=a"],
        ["evaluate", "--", "--keep"],  # behind `--` all are values
        ["--keep"],
        [],
    ],
)
def test_other_arguments_stay(arguments: list[str]) -> None:
    assert rename_old_options(arguments) == (arguments, [])


def test_an_old_setting_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    toml = tmp_path / "f.toml"
    toml.write_text("[source]\nopen_s = 3.0\n", encoding="utf-8")
    assert run(["cameras", "list", "--json", "-c", str(toml)]) == 0
    printed = capsys.readouterr()
    assert (
        printed.err
        == "undercam: setting 'source.open_s': renamed: call it 'source.open_timeout_s'\n"
    )
    assert json.loads(printed.out) == {"cameras": {}}


def test_other_warnings_are_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: object) -> None:
        warnings.warn("of a library", UserWarning, 2)
        raise ConfigError("never reached", "here", "none")

    monkeypatch.setattr("pipeline.cli.cameras.load", load)
    with pytest.warns(UserWarning, match="of a library"):
        assert run(["cameras", "list"]) == 2


def test_nothing_looks_like_python() -> None:
    values = {"a": {"b": {"c": 1.5}}, "list": [1, "x"], "no": None, "yes": True}
    told = as_text(values)
    assert told == "a (b (c 1.5)), list 1 x, no none, yes yes"
    assert not set("{}[]'\"") & set(told)
    assert as_text(json.loads("{}")) == ""


def test_what_was_trained_is_told_in_a_sentence() -> None:
    from pipeline.cli.train import _describe

    table = {"accuracy": 0.87654, "macro_f1": 0.7, "ece": 0.0123, "confusion": [[1, 2], [3, 4]]}
    assert _describe({"cut": table, "displays": table}) == (
        "cut: accuracy 87.65%, macro F1 0.700, ECE 0.012; "
        "displays: accuracy 87.65%, macro F1 0.700, ECE 0.012"
    )
    assert _describe({}) == "not measured: too few faces for a validation cut"


def test_a_video_evaluation_is_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.cli.evaluation_report import show

    figures = {"accuracy": 0.8, "macro_f1": 0.7, "ece": 0.1, "nll": 1.0, "recall": {"fear": 0.5}}
    conditions = {"conditions": {"clean": figures}, "means": {}}
    about = {"weights": "w", "data": "d", "protocol": "p", "n": 9, "averaging": "none"}
    found = {"detector": "centerface", "found": 0.9375}
    coverage = {"precision_at_80": 0.9}
    show({**about, **conditions, "coverage": coverage})
    show({**about, **conditions, "coverage": coverage, "end_to_end": found})
    printed = capsys.readouterr().out
    assert "end-to-end: centerface found 93.75% of the faces" in printed
    assert not set("{}'") & set(printed)
