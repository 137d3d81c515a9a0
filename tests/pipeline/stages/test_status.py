from __future__ import annotations

import pytest

from pipeline.camera_states import CameraState
from pipeline.frames import ClockName, ConnectionState, FrameHeader
from pipeline.stages.status import LAGGING_MS, SILENT_MS, StatusMonitor


def header(pts_s: float, clock: ClockName = "arrival") -> FrameHeader:
    ms = round(pts_s * 1000)
    return FrameHeader("door", "e1", round(pts_s * 30), pts_s, ms, ms, clock, 64, 48)


def test_a_status_at_the_start_at_every_change_and_every_two_seconds() -> None:
    now_ms = [0]
    watch = StatusMonitor("door", "e1", lambda: now_ms[0])
    told = []
    for index in range(60):
        pts_s = index / 10
        now_ms[0] = round(pts_s * 1000) + (3 * LAGGING_MS if 2.5 <= pts_s < 3.5 else 100)
        told += [(pts_s, status) for status in watch.note_frame(header(pts_s))]
    told += [(6.0, status) for status in watch.end("unplugged")]
    assert [(pts_s, status.state) for pts_s, status in told] == [
        (0.0, "online"),
        (2.0, "online"),
        (2.5, "lagging"),
        (3.5, "online"),
        (5.5, "online"),
        (6.0, "offline"),
    ]
    assert [status.seq for _, status in told] == list(range(6))
    assert [status.since_ms for _, status in told] == [0, 0, 2500, 3500, 3500, 5900]
    assert told[1][1].fps == pytest.approx(10, abs=0.6)
    assert told[2][1].lag_ms == 3 * LAGGING_MS
    assert told[-1][1].reason == "unplugged"


def test_a_file_never_lags() -> None:
    watch = StatusMonitor("door", "e1", lambda: 10**12, wall_time=True)
    (status,) = watch.note_frame(header(0.0, "media"))
    assert (status.state, status.lag_ms, status.since_ms) == ("online", 0, 10**12)
    (ended,) = watch.end("end of file", "ended")
    assert (ended.state, ended.reason) == ("offline", "ended: end of file")
    assert ended.since_ms == 10**12, "since when it is over, not where in the file"


def test_a_file_that_is_analysed_tells_its_own_time() -> None:
    watch = StatusMonitor("door", "e1", lambda: 10**12)
    told = [
        watch.note_frame(header(0.0, "media")),
        watch.note_frame(header(3.0, "media")),
        watch.end("", "ended"),
    ]
    assert [status.since_ms for [status] in told] == [0, 0, 3000]


def test_a_run_without_a_frame_says_nothing() -> None:
    assert StatusMonitor("door", "e1").end("end of file") == []


def test_a_silent_camera_is_told_at_once_then_seldom_until_it_is_back() -> None:
    now_ms = [1000]
    watch = StatusMonitor("door", "e1", lambda: now_ms[0])
    lost = ConnectionState("offline", 900, "no frame for 3 s")
    (first,) = watch.report_silence(ConnectionState("connecting", 500))
    assert (first.state, first.reason, first.since_ms) == ("offline", "connecting", 500)
    assert watch.report_silence(ConnectionState("connecting", 500)) == []
    assert [told.state for told in watch.report_silence(lost)] == ["offline"]
    now_ms[0] += SILENT_MS - 1
    assert watch.report_silence(lost) == []
    now_ms[0] += 1
    (again,) = watch.report_silence(lost, {"stale": 2})
    assert (again.seq, again.since_ms, again.reason) == (2, 900, lost.reason)
    assert again.shed == {"stale": 2}
    (refused,) = watch.report_silence(ConnectionState("refused", 12_000, "wrong user or password"))
    assert (refused.state, refused.since_ms) == ("refused", 12_000)
    (back,) = watch.note_frame(header(12.5))
    assert (back.state, back.since_ms, back.reason, back.seq) == ("online", 12_500, "", 4)
    assert watch.report_silence(ConnectionState("online", 12_500)) == []


def test_a_state_that_goes_on_keeps_its_start() -> None:
    before = CameraState("refused", 7, "no such file")
    assert (
        StatusMonitor("door", "e2", lambda: 50, before=before).report("refused", "other").since_ms
        == 7
    )
    watch = StatusMonitor("door", "e2", lambda: 50, before=before)
    assert [watch.report(state, "").since_ms for state in ("offline", "refused")] == [50, 50]


def test_a_quarantined_camera_stays_so_until_its_link_is_known() -> None:
    now_ms = [1000]
    watch = StatusMonitor("door", "e1", lambda: now_ms[0])
    watch.report("quarantined", "died twice")
    assert watch.report_silence(ConnectionState("connecting", 1000)) == []
    now_ms[0] += SILENT_MS
    (again,) = watch.report_silence(ConnectionState("connecting", 1000))
    assert (again.state, again.since_ms, again.fps, again.lag_ms) == ("quarantined", 1000, 0, 0)
    (away,) = watch.report_silence(ConnectionState("offline", 11_500, "no answer"))
    assert (away.state, away.since_ms) == ("offline", 11_500)
