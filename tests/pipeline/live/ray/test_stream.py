"""A real RTSP camera, Ray, a real Kafka, SQL: what they make together, also when parts fail."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.faces import iou
from pipeline.media.sample_clip import write_sample
from pipeline.service_settings import BusSettings
from tests.pipeline.broker import NEEDS_KAFKA, Broker
from tests.pipeline.live.ray.test_run import config, undercam
from tests.pipeline.stages.source.cameras import RtspCamera

pytestmark = [*NEEDS_KAFKA, pytest.mark.needs("rtsp"), pytest.mark.slow, pytest.mark.timeout(600)]
FPS, SECONDS = 2.0, 60
STATE_S = 5.0


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real faces, in the container that the RTSP server reads."""
    path = tmp_path_factory.mktemp("films") / "sample.mkv"
    write_sample(path)
    return path


def tables(bus: BusSettings, cameras: str) -> str:
    told = "\n".join(
        f"{key} = {json.dumps(value)}"
        for key, value in bus.model_dump().items()
        if key in ("url", "topic_prefix", "group", "partitions")
    )
    return f"{cameras}\n[bus]\n{told}\n"


def stored(folder: Path) -> dict[str, Any]:
    return undercam(folder, "store", "-c", "undercam.toml", "--until-idle", "5")


def test_a_stream_gives_what_its_file_gives(start: Any, film: Path, bus: BusSettings) -> None:
    with RtspCamera(film) as camera:
        # It would be played again when it is called again.
        once = config(camera.url("clip"), "door", fps=FPS).replace(
            "[source]", "[source]\nretry_least_s = 300\nretry_most_s = 300"
        )
        # As files are; what a search in part changes is measured by `benchmarks.live_search`.
        live = start(tables(bus, once) + "[detector]\nfull_search_s = 0\n")
        live.until(lambda: "door: offline" in live.said)  # it has been played to its end
        live.stop()
    stored(live.folder)
    undercam(
        live.folder,
        *("analyze", str(film), "--camera", "file", "-c", "undercam.toml", "--events", "e.jsonl"),
    )
    lines = (live.folder / "e.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    looks = [event for event in events if "face_observed" in event["schema"]]
    tracks = {look["track"] for look in looks}
    rows = live.rows(
        "SELECT pts_ms, x0, y0, x1, y1, label, track, clock FROM observations WHERE camera = 'door'"
    )
    (shed,) = live.rows("SELECT shed FROM camera_status ORDER BY seq DESC LIMIT 1")[0]
    assert json.loads(shed) == {}
    assert len({row[6] for row in rows}) == len(tracks)
    matched = sum(any(fits(look, row) for row in rows) for look in looks)
    assert matched >= math.ceil(0.99 * len(looks)), f"{matched} of {len(looks)}"
    assert abs(len(rows) - len(looks)) <= 0.01 * len(looks)
    assert "rtcp" in {row[7] for row in rows}


def fits(look: dict[str, Any], row: Any) -> bool:
    """The same face, a frame apart at most, in the same place, with the same label."""
    pts_ms, *box, label, _, _ = row
    near = abs(look["pts_ms"] - pts_ms) <= 1000 / 25 + 1 and look["label"] == label
    boxes = (np.array([each], np.float32) for each in (look["box"], box))
    return near and iou(*boxes).item() >= 0.9


def test_kafka_may_go_and_come_back(
    start: Any, film: Path, bus: BusSettings, broker: Broker
) -> None:
    live = start(tables(bus, config(film, "door", play="loop", fps=2.0)))
    live.until(lambda: "events: being delivered" in live.said and "door: online" in live.said)
    broker.crash()
    time.sleep(SECONDS)  # how long it is away is what this is about
    broker.start()
    live.until(lambda: live.said.rindex("events: being delivered") > live.said.rindex("broker"))
    result = live.stop()
    assert result["events"]["waiting"] == result["events"]["lost"] == 0
    stored(live.folder)
    told = live.rows("SELECT count(*), count(DISTINCT id) FROM observations")[0]
    assert told[0] == told[1]
    ended = live.rows("SELECT sum(observations) FROM tracks WHERE phase = 'end'")[0][0]
    assert ended == told[0]  # every look that a track counted has a row
    paces = [row[0] for row in live.rows("SELECT fps FROM camera_status ORDER BY seq")]
    assert len(paces) >= SECONDS / 2  # one in two seconds, also while the broker was away
    # The first has no pace, nor has the last. On the mean: a broker that starts takes both cores of
    # a small machine for a moment.
    assert np.mean(paces[1:-1]) == pytest.approx(2.0, rel=0.03)


def test_a_frozen_camera_is_said_to_be_and_its_neighbour_goes_on(
    start: Any, film: Path, bus: BusSettings
) -> None:
    del bus
    with RtspCamera(film) as camera:
        both = config(camera.url("live"), "frozen", fps=2.0)
        good = f'[cameras.good]\nurl = "{film}"\nplay = "loop"\n'
        live = start(both + good)

        def state(name: str) -> str:
            query = f"SELECT state FROM camera_status WHERE camera = '{name}' ORDER BY seq DESC"
            rows = live.rows(query)
            return str(rows[0][0]) if rows else ""

        live.until(lambda: state("frozen") == "online" and state("good") == "online")
        camera.freeze()
        assert live.until(lambda: state("frozen") == "offline", 30) < STATE_S
        camera.thaw()
        live.until(lambda: state("frozen") == "online")
        camera.kill()
        assert live.until(lambda: state("frozen") == "offline", 30) < STATE_S
        camera.start()
        live.until(lambda: state("frozen") == "online")
        live.stop()
    frames = live.rows(
        "SELECT DISTINCT captured_ms FROM observations WHERE camera = 'good' ORDER BY captured_ms"
    )
    steps = np.diff([row[0] for row in frames])
    # The sample shows no face for a while in every round; else every half second has its looks.
    assert np.median(steps) == pytest.approx(500, abs=60)
