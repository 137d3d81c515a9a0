"""Settings: every source in its order, and every slip answered with the remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.camera_config import CameraConfig
from pipeline.config import OLD_NAMES, Settings, load, resolve
from pipeline.emotion_settings import EmotionSettings, RobustRouteSettings, Routes, RouteSettings
from pipeline.errors import ConfigError, RenamedSetting
from pipeline.fields import bounds_of
from pipeline.settings import CameraSettings, Section


def file(folder: Path, text: str) -> Path:
    path = folder / "undercam.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None) -> str:
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_nothing_said_means_the_defaults() -> None:
    assert load() == Settings()


def test_the_stronger_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, "[dashboard]\nhost = 'file'\nport = 1\nrefresh_s = 1")
    monkeypatch.setenv("UNDERCAM_DASHBOARD__PORT", "2")
    monkeypatch.setenv("undercam_dashboard__host", "environment")
    dashboard = load(path, dashboard={"host": "override"}).dashboard
    assert (dashboard.host, dashboard.port, dashboard.refresh_s) == ("override", 2, 1.0)


def test_cameras_come_from_file_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path, "[cameras.door]\nurl = 'env:DOOR'")
    monkeypatch.setenv("UNDERCAM_CAMERAS__LOBBY__URL", "lobby.mp4")
    cameras = load(path).cameras
    assert {name: camera.url for name, camera in cameras.items()} == {
        "door": "env:DOOR",
        "lobby": "lobby.mp4",
    }


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("[detectr]", "unknown key 'detectr'", "did you mean 'detector'?"),
        ("[detector]\ntreshold = 0.5", "unknown key 'detector.treshold'", "'threshold'?"),
        ("[cameras.door]\nulr = ''\nurl = 'a'", "unknown key 'cameras.door.ulr'", "'url'?"),
        ("[store]\nqqq = 1", "unknown key 'store.qqq'", "see undercam.example.toml"),
        ("[cameras.'Front Door']\nurl = 'a'", "'cameras.Front Door'", "did you mean 'front-door'?"),
        ("[cameras.door]", "'cameras.door.url'", "required"),
        ("[cameras.door]\nurl = ''", "cameras.door.url", "at least 1 character"),
        ("detector = 3", "'detector'", "valid dictionary"),
        ("[detector]\nthreshold = 1.5", "'detector.threshold'", "less than or equal to 1"),
        ("[detector]\nname = 'haar'", "'detector.name'", "'centerface', 'scrfd' or 'yunet'"),
        ("[smoother]\ntime_constant_s = inf", "'smoother.time_constant_s'", "finite"),
        ("[smoother]\ntime_constant_s = nan", "'smoother.time_constant_s'", "finite"),
        ("[dashboard]\nport = 'x'", "'dashboard.port'", "valid integer"),
        ("[detector]\nthreads = 1e30", "'detector.threads'", "give ≥ 0, ≤ 1024"),
        (
            "[emotion.routes.fast]\nthreads = -1",
            "'emotion.routes.fast.threads'",
            "give ≥ 0, ≤ 1024",
        ),
        ("[emotion.routes.fsat]", "unknown key 'emotion.routes.fsat'", "did you mean 'fast'?"),
        ("[emotion.routes.fast]\nwieghts = 'x'", "routes.fast.wieghts'", "'weights'?"),
        ("[emotion.routes.robust]", "'emotion.routes.robust.weights'", "required"),
        ("[emotion]\nmode = 'auto'", "'emotion'", "mode 'auto' needs a robust route: set"),
        ("[cameras.a]\nurl = 'a'\nmode = 'robust'", "camera a", "needs a robust route: set"),
        ("[emotion.routes.fast]\ngpus = 0.5", "'emotion.routes.fast'", "device = 'cpu' does not"),
        ("[pool]\nreplicsa = 2", "unknown key 'pool'", "see undercam.example.toml"),
        ("[source]\nmax_age_s = 1e300", "'source.max_age_s'", "give > 0, ≤ 300"),
        ("[detector]\nthreshold = -1", "'detector.threshold'", "give ≥ 0, ≤ 1"),
        ("[metrics]\nport = 70000", "'metrics.port'", "give ≥ 0, ≤ 65535"),
        ("[cameras.door]\nurl = 'a'\nanalyse_fps = 1e9", "cameras.door.analyse_fps", "≤ 240"),
        ("[outbox]\nmax_rows = 9223372036854775808", "outbox.max_rows", "≤ 1000000000"),
        ("[store]\nurl = = 1", "not a TOML file", "line 2, column 7"),
        ("[detector]\n[detector]", "not a TOML file", "twice"),
    ],
    ids=lambda text: text.replace("\n", " "),
)
def test_a_slip_is_named_with_its_remedy(tmp_path: Path, text: str, what: str, remedy: str) -> None:
    path = file(tmp_path, text)
    said = refusal(path)
    before, after = said.split(f": {path}: ")
    assert what in before
    assert remedy in after
    assert "\n" not in said


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "no such configuration file" in refusal(tmp_path / "none.toml")
    assert "no such configuration file" in refusal(tmp_path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes("# café".encode("latin-1"))
    assert "not a TOML file" in refusal(latin)


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("UNDERCAM_STOER__URL", "x", "did you mean UNDERCAM_STORE__URL?"),
        ("UNDERCAM_STORE_URL", "x", "did you mean UNDERCAM_STORE__URL?"),
        ("UNDERCAM_STORE__ULR", "x", "did you mean 'url'?"),
        ("UNDERCAM_QQQ", "x", "unset it"),
        ("UNDERCAM_STORE", "x", "set one key, such as UNDERCAM_STORE__URL"),
        ("UNDERCAM_DETECTOR__THRESHOLD", "2", "less than or equal to 1"),
    ],
)
def test_a_slip_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(name, value)
    assert remedy in refusal(None)


def test_the_variables_of_the_tests_are_not_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERCAM_CI", "1")
    monkeypatch.setenv("UNDERCAM_DATA", "somewhere")
    assert load() == Settings()


def test_a_refused_value_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "rtsp://me:hunter2@camera"
    assert "hunter2" not in refusal(file(tmp_path, f"[store]\nbatch_rows = '{secret}'"))
    assert "hunter2" not in refusal(file(tmp_path, f"cameras = '{secret}'"))
    assert "hunter2" not in refusal(file(tmp_path, f"[cameras.door]\nurl = '{secret}"))
    monkeypatch.setenv("UNDERCAM_STORE", secret)
    assert "hunter2" not in refusal(None)


def test_settings_cannot_be_changed() -> None:
    settings = load()
    with pytest.raises(ValidationError, match="frozen"):
        settings.store.url = "x"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        settings.store = settings.store  # type: ignore[misc]


def test_every_section_is_closed_and_every_key_described_and_defaulted() -> None:
    for name, field in Settings.model_fields.items():
        if name == "cameras":
            continue
        section = field.annotation
        assert isinstance(section, type)
        assert issubclass(section, Section)
        assert issubclass(section, BaseModel)
        assert section.model_config["extra"] == "forbid"
        for key, setting in section.model_fields.items():
            assert setting.description, f"{name}.{key}"
            assert not setting.is_required(), f"{name}.{key}"


def test_every_number_has_a_finite_range() -> None:
    """So that none is an overflow, or all the memory, somewhere further down."""
    sections = [
        field.annotation for name, field in Settings.model_fields.items() if name != "cameras"
    ]
    for section in [*sections, CameraSettings, RouteSettings, RobustRouteSettings]:
        assert isinstance(section, type)
        assert issubclass(section, Section)
        for key, field in section.model_json_schema()["properties"].items():
            for schema in (field, *field.get("anyOf", [])):
                if schema.get("type") in ("integer", "number"):
                    bounds = bounds_of(schema)
                    assert "<" in bounds or "≤" in bounds, f"{section.__name__}.{key}"
                    assert ">" in bounds or "≥" in bounds, f"{section.__name__}.{key}"


def test_a_secret_is_what_its_reference_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_URL", "rtsp://door")
    path = tmp_path / "secret"
    path.write_text("rtsp://lobby\n", encoding="utf-8")
    assert resolve("env:DOOR_URL") == "rtsp://door"
    assert resolve(f"file:{path}") == "rtsp://lobby"
    for plain in ("rtsp://me:pw@host", "clip.mp4", "sqlite:///a.db", "file:///clips/a.mp4", ""):
        assert resolve(plain) == plain


def test_a_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for reference, said in {
        "env:NO_SUCH": "secret not set: env:NO_SUCH: set the environment variable NO_SUCH",
        f"file:{tmp_path}/none": "No such file",
        f"file:{tmp_path}": "Is a directory",
        f"file:{binary}": "save it as UTF-8",
        "env:": "secret not set",
    }.items():
        with pytest.raises(ConfigError, match="secret not") as refused:
            resolve(reference)
        assert said in str(refused.value)


def value_of(settings: Settings, name: str) -> Any:
    found: Any = settings
    for key in name.split("."):
        found = getattr(found, key)
    return found


def another(name: str) -> Any:
    """A value that the setting may have and that is not its default."""
    default = value_of(Settings(), name)
    match default:
        case bool():
            return not default
        case int() | float():
            return default + 1 if default >= 1 else default / 2
        case _:
            others = {"routes.fast.dtype": "bfloat16", "routes.fast.flip": False}
            return others.get(name.partition(".")[2], "other")


@pytest.mark.filterwarnings("ignore::pipeline.errors.RenamedSetting")
@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_a_setting_is_read_under_its_old_name_and_the_new_one_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    """From a file, from the environment, and from code."""
    value = another(new) if not new.endswith("conditioning") else "never"
    # A share of a GPU needs a device that has one.
    more = "[emotion.routes.fast]\ndevice = 'cuda'\n" if new.endswith("gpus") else ""
    value = 0.5 if new.endswith("gpus") else value
    table, key = old.split(".")
    path = file(tmp_path, f"{more}[{table}]\n{key} = {json.dumps(value)}\n")
    said = f"'{old}': renamed: call it '{new}'"
    with pytest.warns(RenamedSetting, match=said):
        assert value_of(load(path), new) == value
    device = {"routes": {"fast": {"device": "cuda"}}}
    given = {"emotion": device} if more else {}
    code = {**given, table: {**given.get(table, {}), key: value}}
    with pytest.warns(RenamedSetting, match=said):
        assert value_of(Settings.model_validate(code), new) == value
    monkeypatch.setenv(f"UNDERCAM_{table}__{key}".upper(), str(value))
    with pytest.warns(RenamedSetting, match=said):
        assert value_of(load(file(tmp_path, more)), new) == value


def test_an_old_name_of_a_stronger_source_wins_over_the_new_one_of_a_weaker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path, "[emotion.routes.fast]\nweights = 'file'\nreplicas = 2\n")
    monkeypatch.setenv("UNDERCAM_EMOTION__WEIGHTS", "environment")
    monkeypatch.setenv("UNDERCAM_POOL__REPLICAS", "3")
    with pytest.warns(RenamedSetting):
        fast = load(path).emotion.routes.fast
    assert (fast.weights, fast.replicas) == ("environment", 3)
    monkeypatch.delenv("UNDERCAM_EMOTION__WEIGHTS")
    both = file(tmp_path, "[emotion]\nweights = 'old'\nroutes.fast.weights = 'new'")
    with pytest.warns(RenamedSetting):
        assert load(both).emotion.routes.fast.weights == "new"


def test_old_names_in_code_keep_working() -> None:
    with pytest.warns(RenamedSetting, match="'weights': renamed: call it 'routes.fast.weights'"):
        settings = EmotionSettings.model_validate({"weights": "lrdif", "routes": Routes()})
    assert settings.routes.fast.weights == "lrdif"


def test_a_robust_route_leaves_fast_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERCAM_EMOTION__MODE", "auto")
    monkeypatch.setenv("UNDERCAM_EMOTION__ROUTES__ROBUST__WEIGHTS", "lrdif")
    emotion = load().emotion
    assert emotion.routes.fast == RouteSettings()
    assert list(emotion.routes.by_name()) == ["fast", "robust"]
    assert emotion.routes.by_name()["robust"].degraded == "lrdif-udc"


def test_a_camera_has_its_own_mode_or_that_of_all() -> None:
    emotion = {"mode": "auto", "routes": {"robust": {"weights": "lrdif"}}}
    settings = Settings.model_validate({"emotion": emotion})
    own = CameraSettings(url="a", mode="robust")
    assert CameraConfig.of(own, settings).settings.emotion.mode == "robust"
    assert CameraConfig.of(CameraSettings(url="a"), settings).settings == settings
