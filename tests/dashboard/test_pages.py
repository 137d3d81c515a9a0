"""Every page, without a browser: empty, filled, chosen, and with a database that fails."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from dashboard import app
from dashboard.time_format import HOUR_MS
from pipeline.records import EventsLost
from pipeline.settings import CameraSettings
from pipeline.store.engine import use_store
from pipeline.store.queries.health import LATENCY_ROWS
from pipeline.store.registry import register

Page = Callable[..., AppTest]
LIVE = ("overview", "expressions", "tracks", "compare", "health")


def said(shown: AppTest) -> str:
    """All that the page says, in one line of words."""
    assert not shown.exception, shown.exception
    kinds = ("title", "caption", "subheader", "markdown")
    words = [element.value for kind in kinds for element in shown.get(kind)]
    words += [f"{metric.label} {metric.value}" for metric in shown.metric]
    words += [element.proto.body for element in shown.get("html")]
    data = [json.loads(element.proto.json) for element in shown.get("bidi_component")]
    words += [text for text in data if isinstance(text, str)]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", " ".join(words))).split())


def numbers(shown: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in shown.metric}


def selector(shown: AppTest, label: str) -> Any:
    return next(one for one in shown.selectbox if one.label == label)


@pytest.mark.parametrize("name", ["overview", "expressions", "tracks", "compare"])
def test_empty(page: Page, house: Any, name: str) -> None:
    assert "No camera has reported yet. Start undercam demo , or" in said(page(name))


def test_empty_health(page: Page, house: Any) -> None:
    shown = page("health")
    assert numbers(shown)["Median latency"] == "–"
    assert "No observation in the last 2 h." in said(shown)
    assert "No event is known to be lost." in said(shown)


def test_overview(page: Page, furnished: Any) -> None:
    shown = page("overview")
    text = said(shown)
    assert numbers(shown) == {
        "Cameras online": "2 of 5",
        "Faces in view": "2",
        "Observations, last minute": "7",
        "Median latency": "480 ms",
        "99th percentile": "880 ms",
    }
    assert "As of Wed 18 Nov 12:00, times in UTC; refreshed every 2 s" in text
    assert "2 cameras need attention 1 offline 2 unknown 1 lagging 1 online" in text
    assert "happiness 25%" in text
    assert "Classified by resnet18-w32 as fast 100%" in text
    assert "lab offline for 10 min, <b>no frame</b> 0 0 – – 0 7 s ago" in text
    assert (
        "yard unknown for 6 min 40 s, last report: online 0 0 – – 0 6 min ago hall lagging for 1 "
        "min, classifier busy 1 2 15.0 2.3 s 1,852 newest wins 1,840 stale 12 now "
        "door online for 1 h 12 min 1 2 15.0 95 ms 0 now"
    ) in text
    assert "film unknown 0 0 – – 0 –" in text


def test_failures_come_first(page: Page, furnished: Any) -> None:
    [shown] = page("overview").get("bidi_component")
    names = re.findall(r"expressions\?camera=(\w+)", shown.proto.json)
    assert names == ["lab", "yard", "hall", "door", "film"]
    assert shown.proto.json.count("uc-alarm") == 2


def test_all_is_well(page: Page, house: Any, now: int) -> None:
    house.status("door", "online", now - 60_000, now)
    text = said(page("overview"))
    assert "All cameras work 1 online" in text
    assert "No face was observed in the last 10 minutes." in text


def test_what_a_camera_says_is_no_markup(page: Page, furnished: Any) -> None:
    shown = page("overview")
    bodies = [element.proto.body for element in shown.get("html")]
    bodies += [json.loads(element.proto.json) for element in shown.get("bidi_component")]
    assert not any("<b>" in body for body in bodies)


def test_who_stands_before_a_camera_can_read_what_it_is_for(page: Page, furnished: Any) -> None:
    with use_store(furnished.url) as engine:
        purpose = "Opens the door <b>for</b> visitors."
        told = CameraSettings(url="/dev/video0", display_name="Front door", purpose=purpose)
        register(engine, "door", told)
    assert "Front door door Opens the door <b>for</b> visitors." in said(page("overview"))


def test_expressions(page: Page, furnished: Any) -> None:
    shown = page("expressions", camera="door")
    assert numbers(shown) == {
        "Tracks": "2",
        "Observations": "10",
        "Most frequent": "neutral",
        "Unknown": "10%",
    }
    assert "happiness 30.0% 3 0.24" in said(shown)
    assert len(shown.get("echarts_chart")) == 1


def test_selecting_camera_and_time_range(page: Page, furnished: Any) -> None:
    shown = page("expressions")
    assert selector(shown, "Camera").value == "door"
    selector(shown, "Camera").select("hall").run()
    assert numbers(shown)["Observations"] == "2"
    shown.get("button_group")[0].set_value("1 h").run()
    assert numbers(shown)["Observations"] == "5"
    assert "fear 60.0% 3" in said(shown)


def test_a_camera_that_saw_nobody(page: Page, furnished: Any, now: int) -> None:
    furnished.status("gate", "online", now - HOUR_MS, now)
    text = said(page("expressions", camera="gate"))
    assert (
        "gate saw no face in this time range. Choose a longer time range or another camera." in text
    )


def test_no_video_is_not_nobody_in_view(page: Page, furnished: Any, now: int) -> None:
    furnished.status("porch", "refused", now - HOUR_MS, now, reason="wrong user or password")
    furnished.status("cellar", "online", now - HOUR_MS, now - HOUR_MS)
    furnished.status("roof", "offline", now - 2 * HOUR_MS, now - 2 * HOUR_MS, reason="stopped")
    furnished.status("shed", "online", now - 120_000, now)
    for camera, sentence in {
        "porch": "porch had no video in this time range. It is refused: wrong user or password.",
        "roof": "roof had no video in this time range. It is stopped.",
        "cellar": "No status of cellar was received in this time range.",
        "shed": "shed saw no face while it had video: 2 min of the last 10 min.",
    }.items():
        shown = page("expressions", camera=camera)
        assert sentence in said(shown)
        assert "saw no face in this time range" not in said(shown)
        assert len(shown.get("echarts_chart")) == 1
        assert "no video no status events lost" in said(shown)
        assert sentence in said(page("tracks", camera=camera))


def test_a_recording_is_shown_whole(page: Page, furnished: Any) -> None:
    assert numbers(page("expressions", camera="film"))["Most frequent"] == "surprise"
    assert "film · 1 1:12" in said(page("tracks", camera="film"))


def test_tracks(page: Page, furnished: Any) -> None:
    text = said(page("tracks"))
    assert "1 – 3 of 3." in text
    assert re.search(r"door · 1 in view .*hall · 1 .*door · 2", text)
    assert "No track is selected." in text
    assert "1 – 4 of 4." in said(page("tracks", window="1 h"))
    assert "1 – 1 of 1." in said(page("tracks", camera="hall"))


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"label": "fear"}, ["hall:e1:9"]),
        ({"label": "happiness"}, ["door:e1:1"]),
        ({"confidence": "0.9"}, []),
        ({"confidence": "0.5", "camera": "hall"}, ["hall:e1:1", "hall:e1:9"]),
        ({"duration": "5"}, []),
        ({"mode": "fast", "label": "neutral"}, ["door:e1:2"]),
        ({"quality": "blurred"}, []),
        ({"quality": "good", "label": "fear"}, ["hall:e1:9"]),
        ({"sort": "first"}, ["hall:e1:9", "door:e1:2", "hall:e1:1", "door:e1:1"]),
        ({"label": "<b>", "mode": "none", "sort": "x", "page": "9"}, ["door:e1:1"]),
    ],
)
def test_filters_are_in_the_address(
    page: Page, furnished: Any, parameters: dict[str, str], found: list[str]
) -> None:
    shown = page("tracks", window="1 h", **parameters)
    assert not shown.exception
    tables = [json.loads(one.proto.json) for one in shown.get("bidi_component")]
    listed = re.findall(r'data-key="trk:([^"]+)"', " ".join(map(str, tables)))
    assert listed[: len(found)] == found
    assert found or "No track in this time range fits." in said(shown)


def test_a_saved_query(page: Page, furnished: Any, now: int) -> None:
    furnished.face("hall", ["anger"] * 40, now - 60_000, track=70, pace_ms=1_000)
    shown = page("tracks")
    shown.button(key="saved Negative for longer than 30 s").click().run()
    assert shown.query_params["negative"] == "30"
    assert "1 – 1 of 1." in said(shown)
    assert "hall · 70" in said(shown)
    shown.button(key="saved Everything").click().run()
    assert "negative" not in shown.query_params
    assert "1 – 4 of 4." in said(shown)


def test_a_list_in_pages(page: Page, furnished: Any, now: int) -> None:
    for track in range(100, 160):
        furnished.face("hall", ["neutral"], now - 100_000 - track, track=track)
    assert "1 – 25 of 63." in said(page("tracks"))
    assert "51 – 63 of 63." in said(page("tracks", page="3"))
    assert "1 – 25 of 63." in said(page("tracks", page="30"))


def test_times_in_the_address(page: Page, furnished: Any) -> None:
    times = {"from": "2026-11-18T11:05:00Z", "to": "2026-11-18T11:15:00Z"}
    shown = page("tracks", **times)
    assert "Wed 18 Nov 11:05 – 11:15 UTC" in said(shown)
    assert "hall · 9" in said(shown)
    assert shown.get("button_group")[0].value is None
    assert numbers(page("expressions", camera="hall", **times))["Observations"] == "3"
    for wrong in ({"from": "soon", "to": "x"}, {"from": "2026-11-18T11:05"}, {"window": "9 h"}):
        assert "Wed 18 Nov 11:50 – 12:00 UTC" in said(page("expressions", **wrong))


def test_moving_through_time(page: Page, furnished: Any) -> None:
    shown = page("expressions", window="1 h", camera="hall")
    for label, line in {
        "Earlier": "Wed 18 Nov 10:00 – 11:00",
        "Zoom out": "Wed 18 Nov 09:30 – 11:30",
        "Later": "Wed 18 Nov 11:30 – 13:30",
    }.items():
        next(b for b in shown.button if b.label == label).click().run()
        assert f"{line} UTC" in said(shown)
    assert shown.query_params["from"] == "2026-11-18T11:30:00Z"
    shown.get("button_group")[0].set_value("1 h").run()
    assert shown.query_params["window"] == "1 h"
    assert "from" not in shown.query_params
    next(b for b in shown.button if b.label == "Keep these times").click().run()
    assert shown.query_params["from"] == "2026-11-18T11:00:00Z"
    shown.get("button_group")[0].set_value("yesterday").run()
    assert "Tue 17 Nov 00:00 – Wed 18 Nov 00:00 UTC" in said(shown)


def test_times_of_the_calendar(page: Page, furnished: Any) -> None:
    shown = page("expressions", camera="hall")
    since, until = shown.datetime_input
    since.set_value(datetime(2026, 11, 18, 12, 0))
    until.set_value(datetime(2026, 11, 18, 11, 0))
    next(b for b in shown.button if b.label == "Show").click().run()
    assert "Wed 18 Nov 11:00 – 12:00 UTC" in said(shown)
    assert shown.query_params["to"] == "2026-11-18T12:00:00Z"


def test_compare(page: Page, furnished: Any) -> None:
    shown = page("compare", window="1 h", camera="hall")
    assert len(shown.get("echarts_chart")) == 3
    text = said(shown)
    assert "Negative labels: sadness, anger, disgust, fear, contempt." in text
    assert "valence" not in " ".join(selector(shown, "Measure").options)
    shown.checkbox[0].check().run()
    assert "valence (derived)" in selector(shown, "Measure").options
    assert "nothing about what a person feels" in said(shown)
    assert shown.query_params["valence"] == "on"
    selector(shown, "Measure").select("valence").run()
    assert len(shown.get("echarts_chart")) == 3


def test_how_often_a_label_is_right(page: Page, furnished: Any, now: int) -> None:
    text = said(page("tracks", track="trk:door:e1:1"))
    assert re.search(r"Where it says happiness , it is right in \d\d% of the cases", text)
    assert "A resnet18-w32 fast – 100%" in text
    assert "Blur, 0 sharp to 1 0.10" in text
    assert "This installation has no card" not in text


def test_a_selected_track(page: Page, furnished: Any) -> None:
    shown = page("tracks", track="trk:door:e1:1")
    assert "happiness 60.0% 3" in said(shown)
    assert "unknown 20.0% 1" in said(shown)
    assert len(shown.get("echarts_chart")) == 1
    [listed] = shown.get("bidi_component")
    assert listed.proto.json.count("aria-current") == 1


def test_a_selected_track_that_is_gone(page: Page, furnished: Any) -> None:
    assert "No track is selected." in said(page("tracks", track="trk:x:e1:1"))


def test_no_face_in_the_window(page: Page, furnished: Any) -> None:
    text = said(page("tracks", camera="lab"))
    assert "lab had no video in this time range. It is offline: <b>no frame</b>." in text


def test_health(page: Page, furnished: Any, now: int) -> None:
    lost = EventsLost(
        id=EventsLost.make_id("hall", "e1", 1),
        camera="hall",
        run="e1",
        since_ms=now - 90_000,
        until_ms=now - 30_000,
        events=612,
        reason="outbox was full",
    )
    furnished.lose(lost)
    furnished.misread("observations/0/7")
    shown = page("health")
    text = said(shown)
    assert numbers(shown)["Dead letters"] == "1"
    assert re.search(r"arrival from .* 1 min 5 480 ms 880 ms 10 min 10", text)
    assert re.search(r"rtcp from .* 1 min 2 80 ms 280 ms", text)
    assert f"newest {LATENCY_ROWS:,} observations" in text
    assert "hall Wed 18 Nov 11:58:30 1 min 612 outbox was full" in text


@pytest.mark.parametrize("far", [253_402_300_799_999, 2**53 - 1])
def test_times_that_no_calendar_has(page: Page, furnished: Any, now: int, far: int) -> None:
    """As rows of earlier versions may hold them: every page is drawn."""
    furnished.lose(EventsLost(**LOSS | {"since_ms": now - 1, "until_ms": now}))
    with furnished._engine.execution_options(writes=True).begin() as connection:
        for change in (
            "tracks SET ended_ms = :far",
            "tracks SET started_ms = :far WHERE camera = 'hall'",
            "observations SET captured_ms = :far WHERE camera = 'film'",
            "runs SET last_ms = :far",
            "camera_status SET since_ms = :far",
            "gaps SET until_ms = :far",
        ):
            connection.execute(text(f"UPDATE {change}"), {"far": far})
    for name in ("overview", "expressions", "tracks", "compare", "health"):
        assert said(page(name))
    assert said(page("expressions", camera="film"))
    for camera in ("hall", "film"):
        assert said(page("tracks", camera=camera, track=f"trk:{camera}:e1:1"))


LOSS: dict[str, Any] = {
    "id": EventsLost.make_id("hall", "e1", 1),
    "camera": "hall",
    "run": "e1",
    "events": 612,
    "reason": "outbox was full",
}


def test_display_names_stand_beside_the_ids(page: Page, furnished: Any, now: int) -> None:
    settings = CameraSettings(url="rtsp://10.0.0.7/live", display_name="Front *door* <b>")
    register(furnished._engine, "door", settings)
    furnished.lose(EventsLost(**LOSS | {"camera": "door", "since_ms": now - 1, "until_ms": now}))
    assert "Front *door* <b> door online" in said(page("overview"))
    shown = page("expressions", camera="door")
    assert selector(shown, "Camera").value == "door"
    assert selector(shown, "Camera").options[0] == "Front *door* <b> (door)"
    assert "Expressions seen by Front \\*door\\*" in " ".join(s.value for s in shown.subheader)
    assert "Front *door* <b> (door)" in said(shown)
    assert "Front *door* <b> · 1 door, in view" in said(page("tracks", track="trk:door:e1:1"))
    assert numbers(page("expressions", camera="hall"))["Observations"] == "2"
    assert "Front *door* <b> (door) Wed 18 Nov 11:59:59" in said(page("health"))


def test_about(page: Page) -> None:
    text = said(page("about"))
    for part in ("does not read feelings", "Article 5(1)(f)", "FER2013", "consent", "workplaces"):
        assert part in text


def test_the_statement_is_on_the_first_page(furnished: Any) -> None:
    shown = AppTest.from_file(app.__file__, default_timeout=60).run()
    assert app.STATEMENT in said(shown)
    assert "Cameras online" in said(shown)


def test_settings_that_cannot_be_read(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERCAM_DASHBOARD__REFRESH_S", "soon")
    shown = AppTest.from_file(app.__file__, default_timeout=60).run()
    assert "Bad value for 'dashboard.refresh_s'" in said(shown)


def absent(file: Path) -> None:
    pass


def garbage(file: Path) -> None:
    file.write_bytes(b"not a database" * 100)


def without_tables(file: Path) -> None:
    sqlite3.connect(file).close()
    file.touch()


def newer(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("name", LIVE)
@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (absent, "No such database"),
        (garbage, "Not a SQLite database"),
        (without_tables, "Database has no tables yet"),
        (newer, "Schema 9999 is newer than this version of Undercam"),
    ],
)
def test_broken(
    page: Page, url: str, name: str, break_it: Callable[[Path], None], sentence: str
) -> None:
    break_it(Path(url.removeprefix("sqlite:///")))
    text = said(page(name))
    assert sentence in text
    assert "This page keeps trying." in text
    assert "Traceback" not in text


def test_unreachable_without_its_password(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = "postgresql+psycopg://mara:s3cret@127.0.0.1:9/house"
    monkeypatch.setenv("UNDERCAM_STORE__URL", hidden)
    text = said(page("overview"))
    assert "Database cannot be reached: postgresql://127.0.0.1:9/house" in text
    assert "s3cret" not in text
    assert "mara" not in text


def test_locked_then_free(page: Page, furnished: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERCAM_STORE__BUSY_TIMEOUT_S", "0")
    furnished.close()
    file = furnished.url.removeprefix("sqlite:///")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    shown = page("overview")
    assert "Database is locked" in said(shown)
    other.close()
    assert "Cameras online" in said(shown.run())


def test_recovers_when_the_database_comes_goes_and_is_another(
    page: Page, url: str, house_of: Callable[[str], Any], now: int
) -> None:
    file = Path(url.removeprefix("sqlite:///"))
    shown = page("overview")
    assert "No such database" in said(shown)
    house_of(url).close()
    assert "No camera has reported yet." in said(shown.run())
    st.cache_data.clear()  # as after a refresh
    for path in file.parent.glob("undercam.db*"):
        path.unlink()
    assert "No such database" in said(shown.run())
    other = house_of(url)
    other.face("attic", ["neutral"], now - 1_000)
    assert "attic" in said(shown.run())
    other.close()
