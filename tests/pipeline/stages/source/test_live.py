"""Live cameras that speak RTSP, real ones: a server that is killed, frozen, locked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError, StageFailed
from pipeline.frames import ConnectionState, Frame
from pipeline.settings import SourceSettings
from pipeline.stages.source.live import LiveSource
from pipeline.stages.source.timing import LiveTime
from tests.pipeline.stages.source.cameras import (
    QUICK,
    RtspCamera,
    Viewer,
    open_files,
    threads,
    until,
    watch,
)

Encode = Callable[..., Path]
PASSWORD = "p@ss/w0rd"
LOGIN = "ann:p%40ss%2Fw0rd@"


@pytest.fixture
def clip(encode: Encode) -> Path:
    return encode("clip.mkv", 1000)


@pytest.fixture
def camera(clip: Path) -> Iterator[RtspCamera]:
    with RtspCamera(clip) as camera:
        yield camera


def is_balanced(source: LiveSource, given: int) -> bool:
    received = source.counts().received
    undecodable = source.counts().shed.get("undecodable", 0)
    accounted = given + source.counts().skipped + sum(source.counts().shed.values())
    return received == accounted == source.counts().decoded + undecodable


@pytest.mark.needs("rtsp")
def test_frames_come_in_order_with_their_times(camera: RtspCamera) -> None:
    with watch(camera.url("clip")) as viewer:
        assert viewer.source.connection_state.state == "connecting"
        viewer.sees(40)
        assert viewer.source.connection_state == ConnectionState(
            "online", viewer.source.connection_state.since_ms
        )
    frames = viewer.frames
    assert is_balanced(viewer.source, len(frames))
    assert [viewer.numbers[i] for i in range(40)] == [frames[i].index % 256 for i in range(40)]
    times = np.array([frame.pts_s for frame in frames])
    np.testing.assert_allclose(times, np.array([frame.index for frame in frames]) / 25, atol=1e-3)
    assert {(f.camera, f.run, f.width, f.height) for f in frames} == {("door", "e1", 128, 96)}
    assert viewer.source.counts().reconnects == 0


@pytest.mark.needs("rtsp")
@pytest.mark.parametrize("decode_skipped", [False, True])
def test_frames_that_nobody_needs_are_not_decoded_and_counted(
    camera: RtspCamera, decode_skipped: bool
) -> None:
    """The clip has two B frames between others: a third is left at two frames a second."""
    settings = QUICK.model_copy(update={"decode_skipped": decode_skipped})
    with watch(camera.url("clip"), settings, fps=2.0) as viewer:
        viewer.sees(7)
    times = np.array([frame.pts_s for frame in viewer.frames])
    assert np.diff(times).mean() == pytest.approx(0.5, abs=0.06)
    counts = viewer.source.counts()
    assert (counts.left_out > 8) is not decode_skipped
    assert (counts.left_out == 0) is decode_skipped
    assert counts.received == counts.decoded + counts.left_out + counts.shed.get("undecodable", 0)
    assert counts.received == len(viewer.frames) + counts.skipped + sum(counts.shed.values())


@pytest.mark.needs("rtsp")
def test_killed_and_started_again(camera: RtspCamera) -> None:
    with watch(camera.url("live")) as viewer:
        viewer.sees(10)
        camera.kill()
        assert viewer.finds("offline") < 3
        assert viewer.finds("offline", "connection refused: switch the camera on") < 3
        until(lambda: viewer.links and viewer.links[-1].state == "offline")
        before, gap_ms = len(viewer.frames), viewer.source.connection_state.since_ms
        camera.start()
        viewer.finds("online")
        gap_s = (viewer.source.connection_state.since_ms - gap_ms) / 1000
        viewer.sees(10)
        assert viewer.source.counts().reconnects == 1
    last, first = viewer.frames[before - 1], viewer.frames[before]
    assert gap_s - 0.1 < first.pts_s - last.pts_s < gap_s + 2  # what waited while it opened
    assert [f.index for f in viewer.frames] == sorted({f.index for f in viewer.frames})
    assert np.all(np.diff([f.pts_s for f in viewer.frames]) > 0)
    assert is_balanced(viewer.source, len(viewer.frames))


@pytest.mark.needs("rtsp")
def test_frozen_and_thawed(camera: RtspCamera) -> None:
    with watch(camera.url("live")) as viewer:
        viewer.sees(5)
        camera.freeze()
        assert viewer.finds("offline", "no frame for 1 s") < QUICK.read_timeout_s + 1
        camera.thaw()
        viewer.finds("online")
        viewer.sees(5)


@pytest.mark.needs("rtsp")
@pytest.mark.parametrize("way", [[], ["--digest"]], ids=["basic", "digest"])
def test_password(clip: Path, way: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with RtspCamera(clip, "--user", "ann", "--password", PASSWORD, *way) as camera:
        with watch(camera.url("clip", LOGIN)) as viewer:
            viewer.sees(2)
        for login in ("", "ann:s3cret@", "bob:p%40ss%2Fw0rd@"):
            with watch(camera.url("clip", login)) as viewer:
                viewer.finds("refused", "wrong user or password")
                until(lambda viewer=viewer: viewer.links)
            told = " ".join(map(repr, [*viewer.links, viewer.source]))
            assert not any(secret in told for secret in ("s3cret", "p%40", "bob", "ann"))
    assert "s3cret" not in "".join(capfd.readouterr())


@pytest.mark.needs("rtsp")
@pytest.mark.parametrize(
    ("mount", "state", "reason"),
    [
        ("nowhere", "refused", "no stream at this path"),
        ("sound", "refused", "no video there"),
    ],
)
def test_no_such_picture(camera: RtspCamera, mount: str, state: str, reason: str) -> None:
    with watch(camera.url(mount)) as viewer:
        viewer.finds(state, reason)


def test_nobody_there() -> None:
    with watch("rtsp://nosuchhost.invalid/live") as viewer:
        viewer.finds("offline", "unknown host")
    with watch("rtsp://127.0.0.1:9/live") as viewer:
        viewer.finds("offline", "connection refused")


def test_one_who_listens_and_says_nothing() -> None:
    quick = QUICK.model_copy(update={"open_timeout_s": 0.5})
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"rtsp://127.0.0.1:{mute.getsockname()[1]}/live"
        with watch(url, quick) as viewer:
            assert viewer.finds("offline", "no answer within 0.5 s") < 2


@pytest.mark.parametrize(
    "url",
    [
        "clip.mp4",
        "webcam:0",
        "file:///etc/passwd",
        "rtmp://ann:s3cret@host/live",
        "rtsp:///live",
        "rtsp://ann:s3cret@host:99999/live",
        "rtsp://ann:s3c[ret@host/live",
        "concat:rtsp://ann:s3cret@host/live",
    ],
)
def test_what_is_no_address_of_a_live_camera(url: str) -> None:
    with pytest.raises(InputError) as caught:
        LiveSource(url, "door", "e1", QUICK)
    assert "s3c" not in str(caught.value)


@pytest.mark.needs("rtsp")
def test_who_is_slow_gets_the_newest(camera: RtspCamera) -> None:
    with watch(camera.url("live"), pause_s=0.2) as viewer:
        viewer.sees(10)
    frames = viewer.frames
    assert viewer.source.counts().shed.get("newer", 0) >= 9 * 3
    assert is_balanced(viewer.source, len(frames))
    assert viewer.source.counts().decoded > frames[-1].index
    assert max(np.diff([f.index for f in frames])) >= 4


@pytest.mark.needs("rtsp")
def test_frames_that_are_not_due(camera: RtspCamera) -> None:
    with watch(camera.url("live"), fps=5) as viewer:
        viewer.sees(8)
    steps = np.diff([f.pts_s for f in viewer.frames])
    assert 0.15 < np.median(steps) < 0.25
    assert viewer.source.counts().skipped >= 7 * 3
    assert is_balanced(viewer.source, len(viewer.frames))


@pytest.mark.needs("rtsp")
def test_stale_frames_are_not_given(camera: RtspCamera) -> None:
    settings = QUICK.model_copy(update={"max_age_s": 0.3})
    with LiveSource(camera.url("live"), "door", "e1", settings) as source:
        frames = iter(source)
        until(lambda: isinstance(next(frames), Frame))
        newer = source.counts().shed.get("newer", 0)
        until(lambda: source.counts().shed.get("newer", 0) > newer)
        camera.freeze()
        until(
            lambda: source.connection_state.state == "offline"
        )  # a second later than the last picture
        assert isinstance(next(frames), ConnectionState)
        # The one that waited here, and the one that FFmpeg's parser still held.
        assert source.counts().shed.get("stale", 0) == 2


@pytest.mark.needs("rtsp")
def test_the_cameras_own_clock(camera: RtspCamera) -> None:
    """Captured when it was taken, and not when it came, as soon as RTCP has told."""
    with watch(camera.url("live")) as viewer:
        assert viewer.finds("online") < 10
        until(lambda: viewer.frames and viewer.frames[-1].clock == "rtcp")
        viewer.sees(20)
    told = [frame for frame in viewer.frames if frame.clock == "rtcp"]
    assert viewer.frames[0].clock == "arrival"
    late = [frame.captured_ms - camera.taken_ms[frame.index] for frame in told]
    assert max(map(abs, late)) < 500
    assert np.ptp(np.diff([frame.captured_ms for frame in told]) / 40) < 40
    assert all(frame.captured_ms <= frame.received_ms + 5 for frame in told)


@pytest.mark.needs("rtsp")
@pytest.mark.parametrize("ours_ms", [-3_600_000, 30_000], ids=["ahead", "behind"])
def test_a_camera_whose_clock_is_wrong(camera: RtspCamera, ours_ms: int) -> None:
    from pipeline.clock import wall_clock

    with watch(camera.url("live"), clock=lambda: wall_clock() + ours_ms) as viewer:
        camera_clock = viewer.source._camera_clock
        until(lambda: camera_clock._good_ms is not None)
        viewer.sees(3)
    assert {frame.clock for frame in viewer.frames} == {"arrival"}
    assert all(frame.captured_ms == frame.received_ms for frame in viewer.frames)


@pytest.mark.needs("rtsp")
def test_no_picture_is_older_than_the_last_when_the_cameras_word_begins_to_count(
    camera: RtspCamera,
) -> None:
    from pipeline.clock import wall_clock

    with watch(camera.url("live"), clock=lambda: wall_clock() + 3_000) as viewer:
        until(lambda: any(frame.clock == "rtcp" for frame in viewer.frames))
        viewer.sees(3)
    assert np.all(np.diff([frame.captured_ms for frame in viewer.frames]) >= 0)


@pytest.mark.needs("rtsp")
def test_our_own_clock_is_set_back(camera: RtspCamera) -> None:
    from pipeline.clock import wall_clock

    behind_ms = 0
    with watch(camera.url("live"), clock=lambda: wall_clock() - behind_ms) as viewer:
        until(lambda: any(frame.clock == "arrival" for frame in viewer.frames))
        behind_ms = 3_600_000
        viewer.sees(3)
    last = viewer.frames[-1]
    assert last.captured_ms == last.received_ms < viewer.frames[0].captured_ms - 3_000_000


@pytest.mark.slow
@pytest.mark.needs("rtsp")
def test_a_camera_whose_stamps_stand_still(encode: Encode, clip: Path) -> None:
    raw = encode("stuck.h264", 100)
    with RtspCamera(clip, "--raw", str(raw)) as camera, watch(camera.url("stuck")) as viewer:
        until(lambda: viewer.frames and viewer.frames[-1].pts_s > 8)
    late = viewer.frames[-25:]
    elapsed_s = (late[-1].received_ms - late[0].received_ms) / 1000
    assert late[-1].pts_s - late[0].pts_s == pytest.approx(elapsed_s, abs=0.1)
    assert {frame.clock for frame in late} == {"arrival"}


@pytest.mark.needs("rtsp")
@pytest.mark.parametrize("state", ["online", "frozen", "opening", "waiting", "refused"])
def test_closing(camera: RtspCamera, state: str) -> None:
    patient = SourceSettings(open_timeout_s=60, read_timeout_s=60)
    urls = {
        "opening": camera.url("live"),
        "refused": camera.url("nowhere"),
        "waiting": "rtsp://127.0.0.1:9/x",
    }
    if state == "opening":
        camera.freeze()
    before = open_files(), threads()
    with watch(urls.get(state, camera.url("live")), patient) as viewer:
        match state:
            case "waiting":
                viewer.finds("offline")
            case "refused":
                viewer.finds("refused")
            case "opening":
                until(lambda: open_files() > before[0])
            case _:
                viewer.sees(1)
        if state == "frozen":
            camera.freeze()
        assert until_closed(viewer) < 1
        until(lambda: (open_files(), threads()) == before, 1)


@pytest.mark.slow
@pytest.mark.needs("rtsp")
def test_reconnects_leave_nothing_behind(clip: Path) -> None:
    hasty = QUICK.model_copy(update={"retry_min_s": 0.01, "retry_max_s": 0.05})
    with RtspCamera(clip, "--hang-up", "0.5") as camera, watch(camera.url("clip"), hasty) as viewer:
        until(lambda: viewer.source.counts().reconnects >= 2)
        viewer.finds("online")
        before = open_files(), threads()
        until(lambda: viewer.source.counts().reconnects >= 20, 60)
        until(lambda: (open_files(), threads()) == before, 20)


def until_closed(viewer: Viewer) -> float:
    """Close; how long it takes until both threads have ended, seconds."""
    viewer.source.close()
    return until(lambda: not (viewer.source._reader.is_alive() or viewer._thread.is_alive()))


@pytest.mark.needs("rtsp")
def test_hanging_up_on_one_leaves_its_neighbours(camera: RtspCamera) -> None:
    with watch(camera.url("clip")) as older:
        older.sees(1)
        with watch(camera.url("clip")) as viewer:
            viewer.sees(1)
            with watch(camera.url("clip")) as younger:
                younger.sees(1)
                viewer.source.close()
                younger.sees(20)
                older.sees(20)
    assert older.source.counts().reconnects == younger.source.counts().reconnects == 0


def test_a_fault_of_our_own_reaches_whoever_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("lost rtsp://ann:s3cret@host/")

    monkeypatch.setattr("pipeline.stages.source.connection.Connection.__enter__", broken)
    source = LiveSource("rtsp://127.0.0.1:9/x", "door", "e1", QUICK)
    with source, pytest.raises(StageFailed, match=r"RuntimeError: lost rtsp://\*\*\*@host/.*door"):
        list(source)


def test_a_fault_does_not_tell_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(f"cannot read {url}")

    url = "rtsp://127.0.0.1:9/live"
    monkeypatch.setattr("pipeline.stages.source.connection.Connection.__enter__", broken)
    source = LiveSource(url, "door", "e1", QUICK)
    with source, pytest.raises(StageFailed, match="RuntimeError: cannot read its address"):
        list(source)


def test_time_goes_by_arrival_where_stamps_cannot_be_true() -> None:
    times = LiveTime()
    stuck = [times.of(0.0, arrived_s=100 + n / 25) for n in range(500)]
    assert not times.is_stamp_used
    assert stuck[-1] - stuck[-101] == pytest.approx(4.0)
    times.start_connection()
    assert times.of(7.0, arrived_s=130.0) == pytest.approx(stuck[-1] + 130.0 - 119.96)
    good = [times.of(7.04 + n / 25, arrived_s=130.04 + n / 25 * 1.0001) for n in range(90_000)]
    assert times.is_stamp_used  # a clock that is wrong by 100 ppm, for an hour
    assert good[-1] - good[0] == pytest.approx(89_999 / 25)
