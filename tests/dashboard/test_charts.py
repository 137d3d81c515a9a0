"""The charts' options, before any browser draws them."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard import charts, choices
from dashboard.absence import KINDS, LOST, NO_VIDEO, NOT_HEARD, Absence
from dashboard.choices import Span
from dashboard.tables import LABELS
from dashboard.times import DAY_MS, HOUR_MS, MINUTE_MS, zone_of
from models.emotions import EMOTIONS
from pipeline.palette import EMOTION_COLOURS
from pipeline.store.queries import (
    GapRow,
    Look,
    MinuteRows,
    Shares,
    Stretch,
    Timeline,
    TimelinePoint,
)

T0 = 1_795_003_200_000
"""12:00:00 UTC."""


@pytest.fixture(autouse=True)
def _somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "zone", lambda: zone_of("Asia/Kolkata"))
    monkeypatch.setattr(choices, "now_ms", lambda: T0)


def told(axis: dict[str, Any]) -> list[str]:
    """What the axis writes."""
    return [axis["data"][number] for number in axis["axisLabel"]["customValues"]]


def shares(**counts: int) -> Shares:
    return Shares(sum(counts.values()), counts, (0.0,) * 8)


def test_a_bucket_is_whole_or_empty() -> None:
    points = (
        TimelinePoint(T0 - 15_000, shares(happiness=3, unknown=1)),
        TimelinePoint(T0 - 5_000, shares(fear=2)),
    )
    option = charts.expression_timeline(Timeline(5_000, points), Span(T0 - 15_000, T0))
    by_name = {series["name"]: series["data"] for series in option["series"]}
    assert list(by_name) == [*EMOTIONS, "unknown", "looks", *KINDS]
    assert by_name["looks"] == [4, None, 2]
    assert by_name["happiness"] == [75.0, None, 0.0]
    sums = [sum(by_name[label][i] for label in LABELS) for i in (0, 2)]
    assert sums == [100.0, 100.0]
    assert option["series"][0]["itemStyle"]["color"] == EMOTION_COLOURS["neutral"]
    assert option["animation"] is False


@pytest.mark.parametrize(
    ("window_ms", "bucket_ms", "first"),
    [
        (10 * MINUTE_MS, 5_000, "17:22:00"),
        (HOUR_MS, MINUTE_MS, "16:40:00"),
        (DAY_MS, 12 * MINUTE_MS, "17 Nov 18:06:00"),
        (7 * DAY_MS, 84 * MINUTE_MS, "12 Nov 01:18:00"),
    ],
)
def test_the_axis_tells_a_few_round_times(window_ms: int, bucket_ms: int, first: str) -> None:
    timeline = Timeline(bucket_ms, (TimelinePoint(T0 - bucket_ms, shares(neutral=1)),))
    axis = charts.expression_timeline(timeline, Span(T0 - window_ms, T0))["xAxis"][-1]
    assert 4 <= len(told(axis)) <= charts.TICKS
    assert told(axis)[0] == first


def look(ms: int, label: str) -> Look:
    return Look(ms, ms, (0.3, *[0.1] * 7), "neutral", label, 0.5, 0.2)


def test_stretches_of_a_label_touch() -> None:
    looks = [look(0, "fear"), look(40, "fear"), look(90, "unknown"), look(300, "fear")]
    option = charts.track_timeline(looks, Span(0, 301, recorded=True))
    areas = option["series"][len(EMOTIONS)]["markArea"]["data"]
    assert [(area[0]["xAxis"], area[1]["xAxis"]) for area in areas] == [
        (0, 90),
        (90, 300),
        (300, 301),
    ]
    assert areas[1][0]["itemStyle"]["color"] == EMOTION_COLOURS["unknown"]
    assert option["useUTC"] is True
    assert option["series"][0]["data"][0] == [0, 30.0]


def test_a_minute_without_rows_is_zero() -> None:
    minutes = [MinuteRows(T0 - 3 * MINUTE_MS, 7), MinuteRows(T0 - MINUTE_MS, 9)]
    option = charts.minute_bars(minutes, Span(T0 - 3 * MINUTE_MS, T0))
    assert option["series"][0]["data"] == [7, 0, 9]


def test_a_settled_span_moves_in_steps() -> None:
    spans = [Span(T0 + ms - HOUR_MS, T0 + ms).settled() for ms in (0, 2_000, 58_000, 60_000)]
    assert [span.until_ms - T0 for span in spans] == [0, 0, 0, 60_000]
    assert {span.until_ms - span.since_ms for span in spans} == {HOUR_MS}
    recording = Span(0, 61_001, recorded=True)
    assert recording.settled() == recording


def gap(since_ms: int, until_ms: int) -> GapRow:
    return GapRow("door", "e1", since_ms, until_ms, 9, "outbox was full")


ABSENCE = Absence(
    [
        Stretch(T0, T0 + 10_000, "online"),
        Stretch(T0 + 10_000, T0 + 19_000, "offline", "no answer"),
        Stretch(T0 + 19_000, T0 + 25_000, "lagging"),
        Stretch(T0 + 25_000, T0 + 30_000, "unknown"),
    ],
    [gap(T0 + 20_000, T0 + 25_000)],
)


def marks(option: dict[str, Any], grid: int) -> dict[str, list[Any]]:
    """What is marked in a grid, by kind."""
    found = [one for one in option["series"] if one["name"] in KINDS and one["xAxisIndex"] == grid]
    assert all("decal" in one["itemStyle"] for one in found), "by more than a colour"
    return {one["name"]: one["data"] for one in found}


def test_outage_loss_and_an_empty_room_are_drawn_differently() -> None:
    looks = (TimelinePoint(T0, shares(fear=1)),)
    option = charts.expression_timeline(Timeline(5_000, looks), Span(T0, T0 + 30_000), ABSENCE)
    full, strip = marks(option, 0), marks(option, 2)
    assert full[NO_VIDEO] == [None, None, 100, 100, None, None]
    assert full[LOST] == [None, None, None, None, 100, None]
    assert full[NOT_HEARD] == [None, None, None, None, None, 100]
    assert strip[NO_VIDEO] == [None, None, 100, 80, None, None]
    assert strip[LOST] == [None, None, None, None, 100, 0.1 * 100]
    assert strip[NOT_HEARD] == [None, None, None, None, None, 90]


def test_an_outage_that_is_shorter_than_a_bucket_is_marked_in_the_strip() -> None:
    short = Absence([Stretch(T0, T0 + 59_000, "online"), Stretch(T0 + 59_000, T0 + 60_000, "x")])
    looks = (TimelinePoint(T0, shares(fear=1)),)
    option = charts.expression_timeline(Timeline(MINUTE_MS, looks), Span(T0, T0 + 60_000), short)
    assert marks(option, 0)[NO_VIDEO] == [None]
    assert marks(option, 2)[NO_VIDEO] == [1.7]


def test_a_loss_without_a_duration_is_seen() -> None:
    assert Absence((), [gap(T0 + 5, T0 + 5)]).part(LOST, T0, T0 + 5_000) == 0.1
    assert Absence((), [gap(T0 + 5, T0 + 5)]).part(LOST, T0 + 6, T0 + 5_000) == 0


def test_a_track_breaks_off_where_rows_are_lost() -> None:
    looks = [look(0, "fear"), look(40, "fear"), look(90, "fear")]
    lost = Absence((), [gap(50, 80)])
    option = charts.track_timeline(looks, Span(0, 91, recorded=True), lost)
    assert option["series"][0]["data"] == [[0, 30.0], [40, 30.0], [50, None], [90, 30.0]]
    areas = option["series"][len(EMOTIONS)]["markArea"]["data"]
    assert [(area[0]["xAxis"], area[1]["xAxis"]) for area in areas] == [(0, 50)]
    for marked in option["series"][-2:]:
        [[start, end]] = marked["markArea"]["data"]
        assert (start["name"], start["xAxis"], end["xAxis"]) == (LOST, 50, 80)


def test_the_rows_a_minute_tell_how_much_was_without_video() -> None:
    span = Span(T0, T0 + 2 * MINUTE_MS)
    cameras = [
        Absence([Stretch(T0, T0 + 2 * MINUTE_MS, "online")]),
        Absence([Stretch(T0, T0 + MINUTE_MS, "refused"), Stretch(T0 + MINUTE_MS, 2**60, "online")]),
    ]
    option = charts.minute_bars([MinuteRows(T0, 7)], span, cameras)
    assert marks(option, 1)[NO_VIDEO] == [50, None]
