"""The camera registry: seeded by the configuration file, changed from the command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from pipeline.errors import ConfigError, ServiceError
from pipeline.settings import CameraSettings
from pipeline.store.engine import for_writing, use_store
from pipeline.store.queries import camera_overview
from pipeline.store.registry import (
    RegistryWatch,
    change_camera,
    register,
    registered_cameras,
    seed_cameras,
    unregister,
)
from pipeline.store.writer import StoreWriter

DOOR = CameraSettings(url="rtsp://10.0.0.7/live")
HALL = CameraSettings(url="env:HALL_URL", analyse_fps=5.0)


def test_cameras_come_change_and_go(engine: Engine) -> None:
    assert registered_cameras(engine) == {}
    register(engine, "hall", HALL)
    register(engine, "door", DOOR)
    assert list(registered_cameras(engine).items()) == [("door", DOOR), ("hall", HALL)]
    slower = DOOR.model_copy(update={"analyse_fps": 1.0, "enabled": False})
    register(engine, "door", slower)
    assert registered_cameras(engine)["door"] == slower
    assert unregister(engine, "door")
    assert not unregister(engine, "door")
    assert not unregister(engine, "nobody")
    assert list(registered_cameras(engine)) == ["hall"]


def test_changes_of_one_camera_at_once_follow_one_another(engine: Engine) -> None:
    """Neither is lost, also where the camera is new."""

    def revise(before: CameraSettings | None) -> CameraSettings:
        fps = (before.analyse_fps or 0.0) if before else 0.0
        time.sleep(0.01)
        return DOOR.model_copy(update={"analyse_fps": fps + 1})

    with ThreadPoolExecutor(5) as pool:
        changes = list(pool.map(lambda _: change_camera(engine, "door", revise), range(10)))
    assert sum(before is None for before, _ in changes) == 1
    assert registered_cameras(engine)["door"].analyse_fps == 10


def test_a_change_that_is_refused_leaves_no_row(engine: Engine) -> None:
    def refuse(_: CameraSettings | None) -> CameraSettings:
        raise ConfigError("no", "door", "none")

    for revise in (refuse, lambda _: CameraSettings(url="rtsp://a:s3cret@b/c")):
        with pytest.raises(ConfigError):
            change_camera(engine, "door", revise)
    assert camera_overview(engine, 0, 1) == []


def test_the_file_changes_its_own_cameras_only(engine: Engine) -> None:
    register(engine, "hall", HALL)
    seed_cameras(engine, {"door": DOOR, "yard": DOOR})
    assert set(registered_cameras(engine)) == {"door", "hall", "yard"}
    seed_cameras(engine, {"door": HALL})
    assert registered_cameras(engine) == {"door": HALL, "hall": HALL}
    seed_cameras(engine, {"hall": DOOR})
    assert registered_cameras(engine) == {"hall": DOOR}
    seed_cameras(engine, {})
    assert registered_cameras(engine) == {}


def test_a_camera_known_from_events_only_is_not_registered(engine: Engine, make: Any) -> None:
    StoreWriter(engine).write([make.observation(camera="door")])
    assert registered_cameras(engine) == {}
    register(engine, "door", DOOR)
    unregister(engine, "door")
    assert [camera.camera for camera in camera_overview(engine, 0, 1)] == ["door"]


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:s3cret@10.0.0.7/live",
        "rtsp://admin:my s3cret@10.0.0.7/live",
        "rtsp:/admin:s3cret@10.0.0.7/live",
        "admin:s3cret@10.0.0.7/live",
        "http://10.0.0.7/video?token=s3cret",
        "http://10.0.0.7/video?u=ann&p=s3cret",
        "rtsp://10.0.0.7/user/ann/pass/s3cret",
        "rtsp://10.0.0.7/live?%70ass=s3cret",
        "rtsp://ann:s3cret#1@10.0.0.7/live",
        "rtsp://10.0.0.7/live#s3cret",
    ],
)
def test_a_credential_never_reaches_the_database(engine: Engine, url: str) -> None:
    bad = CameraSettings(url=url)
    for put in (
        lambda: register(engine, "front-door", bad),
        lambda: seed_cameras(engine, {"front-door": bad}),
    ):
        with pytest.raises(ConfigError, match="env:FRONT_DOOR_URL") as caught:
            put()
        assert "s3cret" not in str(caught.value)
    assert registered_cameras(engine) == {}


@pytest.mark.parametrize("url", ["rtps://10.0.0.7/live", "rtsp:///live", "rtsp:/10.0.0.7/live"])
def test_nor_does_an_address_that_no_camera_can_have(engine: Engine, url: str) -> None:
    bad = CameraSettings(url=url)
    with pytest.raises(ConfigError, match=r"rtsp://|SCHEME://"):
        register(engine, "door", bad)
    with pytest.raises(ConfigError, match=r"cameras\.door\.url"):
        seed_cameras(engine, {"door": bad})
    assert registered_cameras(engine) == {}


@pytest.mark.parametrize("url", ["listen://0.0.0.0:8554/reception", "clips/a.mp4", "webcam:0"])
def test_what_a_camera_may_have(engine: Engine, url: str) -> None:
    register(engine, "door", CameraSettings(url=url))
    assert registered_cameras(engine)["door"].url == url


def test_settings_of_another_version_are_named(engine: Engine) -> None:
    with for_writing(engine).begin() as connection:
        row = "('door', 1, '{\"url\": \"x\", \"later\": 1}', 'command')"
        connection.execute(text(f"INSERT INTO cameras VALUES {row}".replace(":", r"\:")))
    with pytest.raises(ServiceError, match="settings of camera door not readable"):
        registered_cameras(engine)


def test_a_database_that_is_away_keeps_nobody_waiting_and_is_read_when_it_is_there(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "later"
    folder.write_text("a file where the folder is to be")
    url = f"sqlite:///{folder}/undercam.db"
    watch = RegistryWatch(url, 0.1, {"door": DOOR}, every_s=0.01)
    watch.start()

    def said() -> str | dict[str, CameraSettings] | None:
        try:
            return watch()
        except ServiceError as error:
            return str(error)

    until(lambda: "cannot create the folder" in str(said()))
    folder.unlink()
    until(lambda: said() == {"door": DOOR})
    with use_store(url) as engine:
        register(engine, "hall", HALL)
        until(lambda: said() == {"door": DOOR, "hall": HALL})
    watch.close()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
