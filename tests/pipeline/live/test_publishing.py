"""Cameras publish to a real RTSP server, are discovered, become rows, and go when they end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest
from av.video.stream import VideoStream
from sqlalchemy import Engine, func, select

from pipeline.media.sample_clip import generate_frames
from pipeline.settings import CameraSettings
from pipeline.store.engine import use_store
from pipeline.store.registry import registered_cameras
from pipeline.store.schema import observations
from tests.pipeline.live.test_discovery import api, item
from tests.pipeline.stages.source import clip_pusher
from tests.pipeline.stages.source.cameras import HERE, until

pytestmark = [pytest.mark.needs("rtsp"), pytest.mark.slow]
ROOT = Path(__file__).parents[3]
PUBLISH, READ = "publ1sh", "r3ad/it"
GONE_S = 3
SIZE = (640, 360)


class PublishServer:
    """The server of publish_server.py; `items` is what MediaMTX's API would list of it now."""

    def __init__(self, *names: str) -> None:
        script = str(HERE / "publish_server.py")
        command = ["/usr/bin/python3", script, PUBLISH, READ, *names]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self._port, self.read_port = (int(self._process.stdout.readline()) for _ in range(2))
        self.items: list[dict[str, Any]] = []
        self._listener = threading.Thread(target=self._listen, args=(self._process.stdout,))
        self._listener.start()

    def _listen(self, lines: Any) -> None:
        with lines:
            for line in lines:
                name = line[1:].strip()
                left = [one for one in self.items if one["name"] != name]
                self.items[:] = [*left, item(name)] if line.startswith("+") else left

    def publish(self, name: str, clip: Path, password: str = PUBLISH) -> subprocess.Popen[bytes]:
        url = f"rtsp://publisher:{password}@127.0.0.1:{self._port}/{name}"
        command = [sys.executable, "-m", clip_pusher.__name__, url, str(clip)]
        return subprocess.Popen(command, cwd=ROOT)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()


@pytest.fixture
def server() -> Iterator[PublishServer]:
    made = PublishServer("front", "yard")
    yield made
    made.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with use_store(f"sqlite:///{tmp_path}/rows.db") as made:
        yield made


@contextmanager
def running(folder: Path, server: PublishServer, api_url: str) -> Iterator[Path]:
    """`undercam run`; gives the file of what it says."""
    (folder / "undercam.toml").write_text(
        f'[discovery]\napi_url = "{api_url}"\nrtsp_url = "rtsp://127.0.0.1:{server.read_port}"\n'
        f'user = "undercam"\npassword = "env:READ_PASSWORD"\n'
        f"poll_s = 0.5\nremove_after_s = {GONE_S}\n"
        f'[store]\nurl = "sqlite:///{folder}/rows.db"\n[outbox]\nfolder = "{folder}/outbox"\n'
        "[source]\nanalyse_fps = 5\nread_timeout_s = 2\n"
    )
    command = [sys.executable, "-m", "pipeline", "run", "--engine", "local", "-c", "undercam.toml"]
    with (folder / "said").open("w") as said:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "READ_PASSWORD": READ}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
    try:
        yield folder / "said"
        process.terminate()
        assert process.wait(30) == 0, (folder / "said").read_text()
    finally:
        process.kill()
        process.wait()


def write_clip(path: Path) -> None:
    """Ten seconds of the sample, with a key frame in each second as a camera has it."""
    options = {"preset": "ultrafast", "tune": "zerolatency", "g": "25"}
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options=options)
        assert isinstance(stream, VideoStream)
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
        for image in generate_frames(10, 25, SIZE):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        target.mux(stream.encode())


def observed(engine: Engine) -> dict[str, int]:
    """The number of rows of each camera."""
    query = select(observations.c.camera, func.count()).group_by(observations.c.camera)
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def test_what_is_published_is_read_and_goes_when_it_ends(
    server: PublishServer, engine: Engine, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mkv"
    write_clip(clip)
    with (
        api(server.items, user=f"undercam:{READ}") as api_url,
        running(tmp_path, server, api_url) as said,
    ):
        until(lambda: "waiting for one" in said.read_text(), 60)
        stranger = server.publish("yard", clip, "gu3ssed")
        assert stranger.wait(20) == clip_pusher.REFUSED
        front = server.publish("front", clip)
        try:
            until(lambda: registered_cameras(engine), 60)
            url = f"rtsp://127.0.0.1:{server.read_port}/front"
            assert registered_cameras(engine) == {"front": CameraSettings(url=url)}
            until(lambda: observed(engine).get("front", 0) >= 10, 90)
        finally:
            front.kill()
            front.wait()
        until(lambda: not registered_cameras(engine), GONE_S + 20)
        until(lambda: "front: no longer read" in said.read_text(), 20)
        text = said.read_text()
    assert observed(engine).keys() == {"front"}
    assert "front: online" in text
    assert READ not in text
