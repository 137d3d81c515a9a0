"""A database of several cameras, written by the real writer, and pages that read it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from models.emotions import EMOTIONS
from pipeline.clock import wall_clock
from pipeline.records import (
    CameraStatus,
    DeadLetter,
    EventsLost,
    FaceObserved,
    Probabilities,
    Quality,
    Smoothed,
    TrackUpdated,
)
from pipeline.store.engine import open_store
from pipeline.store.writer import StoreWriter

QUIETLY = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Names that are reserved for examples, and known to no DNS, mean this machine.
    "--host-resolver-rules=MAP *.example.org 127.0.0.1",
)
OURS = ("dashboard", "models", "pipeline", "trainer", "streamlit", "plotly", "app", "views")
"""Names of modules that anybody may have in a folder of their own."""
NOW = 1_795_003_200_000
"""A Wednesday in November 2026, 12:00:00 UTC."""
DELAY_MS = 80
"""From capture to row, where the house stores something."""


@dataclass
class House:
    """Writes events of cameras; times are wall time where nothing else is given."""

    url: str

    def __post_init__(self) -> None:
        self._engine = open_store(self.url)

    def close(self) -> None:
        self._engine.dispose()

    def write(self, events: list[Any], stored_ms: int) -> None:
        StoreWriter(self._engine, clock=lambda: stored_ms).write(events)

    def face(
        self,
        camera: str,
        labels: list[str],
        started_ms: int,
        track: int = 1,
        run: str = "e1",
        clock: str = "arrival",
        pace_ms: int = 200,
        ended: bool = True,
    ) -> str:
        """One face with one observation per label. Returns the id of its track."""
        times = [started_ms + pace_ms * number for number in range(len(labels))]
        shares = [_shares(label) for label in labels]
        observations: list[Any] = [
            _observation(camera, run, track, number, ms, labels[number], clock, shares[number])
            for number, ms in enumerate(times)
        ]
        name = TrackUpdated.make_id(camera, run, track)
        mean = [sum(column) / len(shares) for column in zip(*shares, strict=True)]
        told = TrackUpdated(
            id=name,
            camera=camera,
            run=run,
            track=track,
            phase="end" if ended else "update",
            seq=len(labels),
            started_ms=started_ms,
            ended_ms=times[-1],
            observations=len(labels),
            mean=Probabilities.of(mean),
        )
        self.write([*observations, told], times[-1] + DELAY_MS)
        return name

    def status(self, camera: str, state: str, since_ms: int, stored_ms: int, **told: Any) -> None:
        known: dict[str, Any] = {"fps": 14.96, "lag_ms": 95, "shed": {}, "seq": 1} | told
        name = CameraStatus.make_id(camera, "e1", known["seq"])
        status = CameraStatus(
            id=name, camera=camera, run="e1", state=state, since_ms=since_ms, **known
        )
        self.write([status], stored_ms)

    def lose(self, loss: EventsLost) -> None:
        StoreWriter(self._engine).write([loss])

    def misread(self, origin: str) -> None:
        StoreWriter(self._engine).write_dead_letters([DeadLetter(origin, "not JSON", b"\0")])


def _shares(label: str) -> list[float]:
    shares = [0.04] * len(EMOTIONS)
    shares[EMOTIONS.index(label) if label in EMOTIONS else 0] = 0.72
    return shares


def _observation(
    camera: str,
    run: str,
    track: int,
    frame: int,
    ms: int,
    label: str,
    clock: str,
    shares: list[float],
) -> FaceObserved:
    return FaceObserved(
        id=FaceObserved.make_id(camera, run, track, frame),
        camera=camera,
        run=run,
        track=track,
        frame=frame,
        pts_ms=ms,
        captured_ms=ms,
        clock=clock,
        received_ms=ms + 1,
        classified_ms=ms + 2,
        published_ms=ms + 3,
        box=(0.1, 0.2, 0.3, 0.4),
        detector_score=0.9,
        probabilities=Probabilities.of(shares),
        label=label,
        confidence=0.72,
        smoothed=Smoothed(label=label, confidence=0.7),
        uncertainty=0.2,
        answered=True,
        quality=Quality(blur=0.1, luma=0.5, size_px=90),
        model="resnet18-w32",
        mode="fast",
    )


def furnish(house: House, now: int) -> None:
    """Four cameras: one well, one behind with drops, one away, one silent; and a recording."""
    smile = ["neutral", "happiness", "happiness", "unknown", "happiness"]
    house.face("door", smile, now - 4_000, ended=False)
    house.face("door", ["neutral"] * 5, now - 300_000, track=2)
    house.face("hall", ["sadness", "anger"], now - 5_000, clock="rtcp")
    house.face("hall", ["fear"] * 3, now - 3_000_000, track=9)
    house.face("film", ["surprise"] * 4, 72_000, run="0123456789ab", clock="media")
    house.status("door", "online", now - 4_320_000, now)
    house.status(
        "hall",
        "lagging",
        now - 60_000,
        now,
        lag_ms=2_340,
        shed={"newest_wins": 1_840, "stale": 12},
        reason="classifier busy",
    )
    house.status("lab", "offline", now - 600_000, now - 7_000, reason="<b>no frame</b>", fps=0.0)
    house.status("yard", "online", now - 900_000, now - 400_000)


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """New hashes cost a millisecond."""
    monkeypatch.setattr("dashboard.sign_in.users.LOG_N", 10)
    monkeypatch.setattr("dashboard.sign_in.users.PARALLEL", 1)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database for the pages that does not exist yet. It is NOW."""
    made = f"sqlite:///{tmp_path}/undercam.db"
    monkeypatch.setenv("UNDERCAM_STORE__URL", made)
    monkeypatch.setattr("dashboard.database.wall_clock", lambda: NOW)
    forget()
    yield made
    forget()


@pytest.fixture
def now() -> int:
    return NOW


def forget() -> None:
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture(scope="session")
def house_of() -> Callable[[str], House]:
    """Opens a database of cameras, made where missing."""
    return House


@pytest.fixture(scope="session")
def furnish_house() -> Callable[[House, int], None]:
    return furnish


@pytest.fixture
def house(url: str) -> Iterator[House]:
    """An empty database."""
    made = House(url)
    yield made
    made.close()


@pytest.fixture
def furnished(house: House) -> House:
    """The whole house, as it is at NOW."""
    furnish(house, NOW)
    return house


@pytest.fixture
def page(url: str) -> Callable[..., AppTest]:
    """Runs a page by its name, with parameters of its address; no browser needed."""

    def run(name: str, **parameters: str) -> AppTest:
        script = f"from dashboard.views import {name}\n{name}.show()"
        app = AppTest.from_string(script, default_timeout=60)
        for key, value in parameters.items():
            app.query_params[key] = value
        return app.run()

    return run


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIETLY)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def live_house(
    tmp_path_factory: pytest.TempPathFactory,
    house_of: Callable[[str], Any],
    furnish_house: Callable[[Any, int], None],
) -> Iterator[Any]:
    made = house_of(f"sqlite:///{tmp_path_factory.mktemp('pages')}/undercam.db")
    furnish_house(made, wall_clock())
    yield made
    made.close()


@pytest.fixture(scope="session")
def strange_app() -> Callable[[Path], None]:
    """Fills a folder with modules called as ours, and with settings of another Streamlit app."""

    def fill(folder: Path) -> None:
        for name in OURS:
            (folder / name).mkdir()
            for module in ("__init__", "__main__"):
                (folder / name / f"{module}.py").write_text("raise SystemExit('not ours')")
        (folder / "records.py").write_text("raise SystemExit('not ours')")
        (folder / ".streamlit").mkdir()
        config = (
            "[server]\nbaseUrlPath = 'theirs'\nsslCertFile = 'none.pem'\nsslKeyFile = 'none.key'"
        )
        (folder / ".streamlit/config.toml").write_text(config)

    return fill
