"""The charts' options, before any browser draws them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboard import charts, selection, time_axis
from dashboard.no_data import KINDS, LOST, NO_STATUS, NO_VIDEO, NoData
from dashboard.selection import TimeRange
from dashboard.tables import LABELS
from dashboard.time_format import DAY_MS, HOUR_MS, MINUTE_MS, load_zone
from dashboard.track_chart import name_ways, track_timeline
from models.emotions import EMOTIONS
from pipeline.palette import EMOTION_COLOURS
from pipeline.store.queries import (
    GapRow,
    MinuteRows,
    Observation,
    Shares,
    StateInterval,
    Timeline,
    TimelinePoint,
)

T0 = 1_795_003_200_000
"""12:00:00 UTC."""


@pytest.fixture(autouse=True)
def _somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "viewer_zone", lambda: load_zone("Asia/Kolkata"))
    monkeypatch.setattr(time_axis, "viewer_zone", lambda: load_zone("Asia/Kolkata"))
    monkeypatch.setattr(selection, "now_ms", lambda: T0)


def labels_of(axis: dict[str, Any]) -> list[str]:
    """The labels along the axis."""
    return [axis["data"][number] for number in axis["axisLabel"]["customValues"]]


def shares(**counts: int) -> Shares:
    return Shares(sum(counts.values()), counts, (0.0,) * 8)


def test_a_bucket_is_whole_or_empty() -> None:
    points = (
        TimelinePoint(T0 - 15_000, shares(happiness=3, unknown=1)),
        TimelinePoint(T0 - 5_000, shares(fear=2)),
    )
    option = charts.expression_timeline(Timeline(5_000, points), TimeRange(T0 - 15_000, T0))
    by_name = {series["name"]: series["data"] for series in option["series"]}
    assert list(by_name) == [*EMOTIONS, "unknown", "observations", *KINDS]
    assert by_name["observations"] == [4, None, 2]
    assert by_name["happiness"] == [75.0, None, 0.0]
    sums = [sum(by_name[label][i] for label in LABELS) for i in (0, 2)]
    assert sums == [100.0, 100.0]
    assert option["series"][0]["itemStyle"]["color"] == EMOTION_COLOURS["neutral"]
    assert option["animation"] is False


@pytest.mark.parametrize(
    ("window_ms", "bucket_ms", "labels"),
    [
        (10 * MINUTE_MS, 5_000, ["17:20\nWed 18 Nov", "17:22", "17:24", "17:26", "17:28"]),
        (HOUR_MS, MINUTE_MS, ["16:30\nWed 18 Nov", "16:40", "16:50", "17:00", "17:10", "17:20"]),
        (
            DAY_MS,
            15 * MINUTE_MS,
            [
                *("18:00\nTue 17 Nov", "21:00", "00:00\nWed 18 Nov"),
                *("03:00", "06:00", "09:00", "12:00", "15:00"),
            ],
        ),
        (
            7 * DAY_MS,
            2 * HOUR_MS,
            [f"00:00\n{day} Nov" for day in ("Thu 12", "Fri 13", "Sat 14", "Sun 15")]
            + [f"00:00\n{day} Nov" for day in ("Mon 16", "Tue 17", "Wed 18")],
        ),
    ],
)
def test_buckets_and_labels_are_round(window_ms: int, bucket_ms: int, labels: list[str]) -> None:
    """In a zone that is half an hour off."""
    drawn, chosen = TimeRange(T0 - window_ms, T0).align_to_buckets(120)
    assert chosen == bucket_ms
    timeline = Timeline(bucket_ms, (TimelinePoint(T0 - bucket_ms, shares(neutral=1)),))
    option = charts.expression_timeline(timeline, drawn)
    assert labels_of(option["xAxis"][-1]) == labels
    names = option["xAxis"][0]["data"]
    assert len(names) <= 122
    assert all(re.match(r"[A-Z][a-z]{2} \d+ Nov \d", name) for name in names), "the day is said"
    assert not any(axis["axisLabel"].get("show", True) for axis in option["xAxis"][:-1])


def face(ms: int, label: str) -> Observation:
    return Observation(ms, ms, (0.3, *[0.1] * 7), "neutral", label, 0.5, 0.2)


def test_areas_of_labels_touch() -> None:
    seen = [
        face(0, "fear"),
        face(40, "fear"),
        face(90, "unknown"),
        face(300, "fear"),
    ]
    option = track_timeline(seen, TimeRange(0, 301, is_recording=True))
    areas = option["series"][len(EMOTIONS) + 1]["markArea"]["data"]
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
    option = charts.minute_bars(minutes, TimeRange(T0 - 3 * MINUTE_MS, T0))
    assert option["series"][0]["data"] == [7, 0, 9]


def test_a_range_up_to_now_moves_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = []
    for late in (0, 2_000, 58_000, 60_000):
        monkeypatch.setattr(selection, "now_ms", lambda late=late: T0 + late)
        spans.append(TimeRange(T0 + late - HOUR_MS, T0 + late).align_to_buckets(120)[0])
    assert [span.until_ms - T0 for span in spans] == [0, 0, 0, 60_000]
    assert {span.until_ms - span.since_ms for span in spans} == {HOUR_MS}
    past = TimeRange(T0 - HOUR_MS - 1_234, T0 - 1_234)
    drawn, bucket_ms = past.align_to_buckets(120)
    assert drawn.until_ms == past.until_ms, "what was chosen is shown to its end"
    assert past.since_ms - bucket_ms < drawn.since_ms <= past.since_ms
    recording = TimeRange(0, 61_001, is_recording=True)
    assert recording.align_to_buckets(120)[0] == recording


def gap(since_ms: int, until_ms: int) -> GapRow:
    return GapRow("door", "e1", since_ms, until_ms, 9, "outbox was full")


NO_DATA = NoData(
    [
        StateInterval(T0, T0 + 10_000, "online"),
        StateInterval(T0 + 10_000, T0 + 19_000, "offline", "no answer"),
        StateInterval(T0 + 19_000, T0 + 25_000, "lagging"),
        StateInterval(T0 + 25_000, T0 + 30_000, "unknown"),
    ],
    [gap(T0 + 20_000, T0 + 25_000)],
)


def marks(option: dict[str, Any], grid: int) -> dict[str, list[Any]]:
    """What is marked in a grid, by kind."""
    found = [one for one in option["series"] if one["name"] in KINDS and one["xAxisIndex"] == grid]
    assert all("decal" in one["itemStyle"] for one in found), "by more than a colour"
    return {one["name"]: one["data"] for one in found}


def test_outage_loss_and_nobody_in_view_are_drawn_differently() -> None:
    points = (TimelinePoint(T0, shares(fear=1)),)
    option = charts.expression_timeline(
        Timeline(5_000, points), TimeRange(T0, T0 + 30_000), NO_DATA
    )
    full, strip = marks(option, 0), marks(option, 2)
    assert full[NO_VIDEO] == [None, None, 100, 100, None, None]
    assert full[LOST] == [None, None, None, None, 100, None]
    assert full[NO_STATUS] == [None, None, None, None, None, 100]
    assert strip[NO_VIDEO] == [None, None, 100, 80, None, None]
    assert strip[LOST] == [None, None, None, None, 100, 0.1 * 100]
    assert strip[NO_STATUS] == [None, None, None, None, None, 90]


def test_an_outage_that_is_shorter_than_a_bucket_is_marked_in_the_strip() -> None:
    short = NoData(
        [StateInterval(T0, T0 + 59_000, "online"), StateInterval(T0 + 59_000, T0 + 60_000, "x")]
    )
    points = (TimelinePoint(T0, shares(fear=1)),)
    option = charts.expression_timeline(
        Timeline(MINUTE_MS, points), TimeRange(T0, T0 + 60_000), short
    )
    assert marks(option, 0)[NO_VIDEO] == [None]
    assert marks(option, 2)[NO_VIDEO] == [1.7]


def test_a_loss_without_a_duration_is_seen() -> None:
    assert NoData((), [gap(T0 + 5, T0 + 5)]).share(LOST, T0, T0 + 5_000) == 0.1
    assert NoData((), [gap(T0 + 5, T0 + 5)]).share(LOST, T0 + 6, T0 + 5_000) == 0


def test_a_track_is_interrupted_where_events_are_lost() -> None:
    seen = [face(0, "fear"), face(40, "fear"), face(90, "fear")]
    lost = NoData((), [gap(50, 80)])
    option = track_timeline(seen, TimeRange(0, 91, is_recording=True), lost)
    assert option["series"][0]["data"] == [[0, 30.0], [40, 30.0], [50, None], [90, 30.0]]
    areas = option["series"][len(EMOTIONS)]["markArea"]["data"]
    assert [(area[0]["xAxis"], area[1]["xAxis"]) for area in areas] == [(0, 50)]
    assert [line["data"][2] for line in option["series"] if line.get("symbol")] == [[50, None]] * 13
    for marked in option["series"][-7:]:
        [[start, end]] = marked["markArea"]["data"]
        assert (start["name"], start["xAxis"], end["xAxis"]) == (LOST, 50, 80)


def test_the_strip_shows_the_share_without_video() -> None:
    span = TimeRange(T0, T0 + 2 * MINUTE_MS)
    cameras = [
        NoData([StateInterval(T0, T0 + 2 * MINUTE_MS, "online")]),
        NoData(
            [
                StateInterval(T0, T0 + MINUTE_MS, "refused"),
                StateInterval(T0 + MINUTE_MS, 2**60, "online"),
            ]
        ),
    ]
    option = charts.minute_bars([MinuteRows(T0, 7)], span, cameras)
    assert marks(option, 1)[NO_VIDEO] == [50, None]


def test_a_track_says_what_classified_it() -> None:
    ways = [("w36", "fast", "noise 0.031"), ("w36", "fast", "noise 0.04"), ("dc", "robust", "")]
    seen = [
        Observation(n, n, (0.3, *[0.1] * 7), "fear", "anger", 0.5, 0.2, 0.1, 0.6, 90.0, *way)
        for n, way in enumerate(ways)
    ]
    assert name_ways(seen) == {("w36", "fast", "noise …"): "A", ("dc", "robust", ""): "B"}
    option = track_timeline(seen, TimeRange(0, 3, is_recording=True))
    raw, label = (option["series"][len(EMOTIONS) + n]["markArea"]["data"] for n in (0, 1))
    assert raw[0][0]["itemStyle"]["color"] == EMOTION_COLOURS["fear"]
    assert label[0][0]["itemStyle"]["color"] == EMOTION_COLOURS["anger"]
    lines = {line["name"]: line["data"] for line in option["series"] if line.get("symbol")}
    assert lines["blur"] == [[n, 0.1] for n in range(3)]
    assert lines["light"] == [[n, 0.6] for n in range(3)]
    assert lines["size"] == [[n, 90.0] for n in range(3)]
    by = next(one for one in option["series"] if one.get("xAxisIndex") == 6)
    assert [(area[0]["name"], area[1]["xAxis"]) for area in by["markArea"]["data"]] == [
        ("A", 2),
        ("B", 3),
    ]


def test_many_ways_still_have_letters() -> None:
    seen = [
        Observation(n, n, (0.3, *[0.1] * 7), "fear", "fear", 0.5, 0.2, model=f"w{n}")
        for n in range(40)
    ]
    assert set(name_ways(seen).values()) == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    track_timeline(seen, TimeRange(0, 41))
