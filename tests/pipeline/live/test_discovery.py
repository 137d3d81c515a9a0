"""Cameras come and go with what a MediaMTX server receives; its API is played by a stand-in."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from pipeline.camera_config import CameraConfig
from pipeline.config import Settings
from pipeline.errors import ConfigError, ServiceError
from pipeline.frames import ConnectionState
from pipeline.live.discovery import Discovery, name_camera
from pipeline.live.mediamtx import MediaMtxApi
from pipeline.records import CAMERA_PATTERN
from pipeline.service_settings import DiscoverySettings
from pipeline.settings import CameraSettings
from pipeline.stages.source.opening import open_source
from pipeline.store.engine import use_store
from pipeline.store.registry import DiscoveredCameras, register, registered_cameras
from tests.pipeline.stages.source.cameras import RtspCamera, http_camera, until

PATHS = ("front", "Halle 3", "yard")


def item(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "ready": True, "tracks": ["H264", "Opus"], **changes}


@contextmanager
def api(items: list[dict[str, Any]], user: str = "", per_page: int = 100) -> Iterator[str]:
    """The one request of the API that we use, as MediaMTX answers it."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked = urlsplit(request.path)
        expected = "Basic " + base64.b64encode(user.encode()).decode()
        if user and request.headers.get("Authorization") != expected:
            request.send_error(401)
            return
        assert asked.path == "/v3/paths/list"
        page = int(parse_qs(asked.query)["page"][0])
        found = items[page * per_page : (page + 1) * per_page]
        pages = -(-len(items) // per_page)
        text = json.dumps({"itemCount": len(items), "pageCount": pages, "items": found}).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)

    with http_camera(answer) as url:
        yield url


def settings(folder: Path, **discovery: Any) -> Settings:
    return Settings.model_validate(
        {"store": {"url": f"sqlite:///{folder / 'rows.db'}"}, "discovery": discovery}
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with use_store(f"sqlite:///{tmp_path / 'rows.db'}") as made:
        yield made


# The API -----------------------------------------------------------------------------------------


def test_what_has_a_publisher_of_video_is_listed_over_all_pages() -> None:
    items = [item(name) for name in PATHS]
    items += [item("idle", ready=False), item("radio", tracks=["Opus"]), item("none", tracks=None)]
    with api(items, per_page=2) as url:
        found = MediaMtxApi(DiscoverySettings(api_url=url)).list_publishers()
    assert found == sorted(PATHS)


def test_nothing_publishes() -> None:
    with api([]) as url:
        assert MediaMtxApi(DiscoverySettings(api_url=url)).list_publishers() == []


def test_it_signs_in_by_a_reference_and_no_error_shows_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MTX_PASSWORD", "s3cret!")
    signed = {"user": "undercam", "password": "env:MTX_PASSWORD"}
    with api([item("front")], user="undercam:s3cret!") as url:
        assert MediaMtxApi(DiscoverySettings(api_url=url, **signed)).list_publishers() == ["front"]
        monkeypatch.setenv("MTX_PASSWORD", "wr0ng!")
        with pytest.raises(ServiceError, match="MediaMTX refuses the password: http") as error:
            MediaMtxApi(DiscoverySettings(api_url=url, **signed)).list_publishers()
    assert "wr0ng" not in str(error.value)


@pytest.mark.parametrize("text", ["", "<html>", "[]", "{}", '{"items": [1], "pageCount": 1}'])
def test_another_server_is_named(text: str) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text.encode())

    with (
        http_camera(answer) as url,
        pytest.raises(ServiceError, match="MediaMTX does not answer as its API does: http"),
    ):
        MediaMtxApi(DiscoverySettings(api_url=url)).list_publishers()


def test_a_server_that_is_away_is_named(free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    with pytest.raises(ServiceError, match=f"MediaMTX does not answer: {url}: start it"):
        MediaMtxApi(DiscoverySettings(api_url=url)).list_publishers()


# Names -------------------------------------------------------------------------------------------


@given(st.text(min_size=1))
def test_every_path_has_one_valid_name(path: str) -> None:
    name = name_camera(path)
    assert re.fullmatch(CAMERA_PATTERN, name)
    assert name == name_camera(path)
    assert name == path or not re.fullmatch(CAMERA_PATTERN, path)


def test_paths_that_look_alike_have_different_names() -> None:
    names = {name_camera(path) for path in ("Door", "door", "DOOR", "d oor", "d-oor", "x" * 99)}
    assert len(names) == 6


# The registry ------------------------------------------------------------------------------------


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_cameras_come_and_go_and_others_stay(tmp_path: Path, engine: Engine) -> None:
    paths, clock = ["front", "Halle 3", "yard"], Clock()
    given = settings(tmp_path, rtsp_url="rtsp://mtx:8554", remove_after_s=60)
    register(engine, "yard", CameraSettings(url="rtsp://10.0.0.9/live"))
    discovery = Discovery(given, lambda: paths, clock)
    discovery.step(DiscoveredCameras(engine))
    hall = name_camera("Halle 3")
    found = registered_cameras(engine)
    assert found["front"] == CameraSettings(url="rtsp://mtx:8554/front")
    assert found[hall] == CameraSettings(url="rtsp://mtx:8554/Halle%203", display_name="Halle 3")
    assert found["yard"].url == "rtsp://10.0.0.9/live"
    assert DiscoveredCameras(engine).origins() == {
        "front": "discovered",
        hall: "discovered",
        "yard": "command",
    }
    paths.clear()
    clock.now_s = 60
    discovery.step(DiscoveredCameras(engine))
    assert set(registered_cameras(engine)) == {"front", hall, "yard"}
    paths.append("front")
    clock.now_s = 61
    discovery.step(DiscoveredCameras(engine))
    assert set(registered_cameras(engine)) == {"front", "yard"}


def test_what_an_operator_changes_of_a_discovered_camera_stays(
    tmp_path: Path, engine: Engine
) -> None:
    given, clock = settings(tmp_path, rtsp_url="rtsp://mtx:8554", remove_after_s=5), Clock()
    discovery = Discovery(given, lambda: ["front"], clock)
    discovery.step(DiscoveredCameras(engine))
    changed = CameraSettings(url="rtsp://mtx:8554/front", under_display=True)
    register(engine, "front", changed)
    clock.now_s = 100
    discovery.step(DiscoveredCameras(engine))
    assert registered_cameras(engine) == {"front": changed}


def test_a_camera_of_an_earlier_run_has_the_same_time_to_come_back(
    tmp_path: Path, engine: Engine
) -> None:
    own = CameraSettings(url="rtsp://mtx:8554/front")
    register(engine, "front", own, "discovered")
    clock = Clock()
    discovery = Discovery(settings(tmp_path, rtsp_url="rtsp://mtx:8554"), lambda: [], clock)
    discovery.step(DiscoveredCameras(engine))
    assert registered_cameras(engine) == {"front": own}
    clock.now_s = 61
    discovery.step(DiscoveredCameras(engine))
    assert registered_cameras(engine) == {}


def test_while_the_server_is_away_no_camera_is_lost_and_the_fault_is_told(
    tmp_path: Path, engine: Engine
) -> None:
    away = False

    def publishers() -> list[str]:
        if away:
            raise ServiceError("MediaMTX does not answer", "http://mtx:9997", "start it")
        return ["front"]

    given = settings(tmp_path, rtsp_url="rtsp://mtx:8554", poll_s=0.1, remove_after_s=0.2)
    with Discovery(given, publishers) as discovery:
        until(lambda: "front" in registered_cameras(engine))
        away = True
        until(lambda: discovery.fault == "MediaMTX does not answer: http://mtx:9997: start it")
        assert "front" in registered_cameras(engine)
        away = False
        until(lambda: not discovery.fault)
    assert "front" in registered_cameras(engine)


# Reading what was discovered ---------------------------------------------------------------------


@pytest.mark.needs("rtsp")
def test_its_video_is_read_with_the_password_that_the_registry_does_not_hold(
    tmp_path: Path,
    engine: Engine,
    encode: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MTX_PASSWORD", "p@ss/word")
    clip = encode("clip.mkv", 100)
    with (
        RtspCamera(clip, "--user", "undercam", "--password", "p@ss/word") as server,
        api([item("clip")], user="undercam:p@ss/word") as url,
    ):
        given = settings(
            tmp_path,
            api_url=url,
            rtsp_url=f"rtsp://127.0.0.1:{server.port}",
            user="undercam",
            password="env:MTX_PASSWORD",
        )
        Discovery(given).step(DiscoveredCameras(engine))
        own = registered_cameras(engine)["clip"]
        assert "p@ss" not in own.url
        source = open_source("clip", "e1", CameraConfig.of(own, given))
        try:
            frame = next(item for item in source if not isinstance(item, ConnectionState))
        finally:
            source.close()
    assert frame.header.camera == "clip"


def test_a_camera_elsewhere_is_not_told_the_password() -> None:
    from pipeline.stages.source.opening import _sign_in

    discovery = DiscoverySettings(rtsp_url="rtsp://mtx:8554/", user="u", password="p")
    for url in ("rtsp://mtx:85540/x", "rtsp://mtx.evil:8554/x", "http://mtx:8554/x", "/clip.mp4"):
        assert _sign_in(url, discovery) == url
    assert _sign_in("rtsp://mtx:8554/x", discovery) == "rtsp://u:p@mtx:8554/x"


def test_a_password_in_the_address_is_refused(tmp_path: Path, engine: Engine) -> None:
    given = settings(tmp_path, rtsp_url="rtsp://u:s3cret@mtx:8554")
    with pytest.raises(ConfigError, match=r"discovery\.rtsp_url: put them into") as error:
        Discovery(given, lambda: ["front"]).step(DiscoveredCameras(engine))
    assert "s3cret" not in str(error.value)
    assert registered_cameras(engine) == {}
