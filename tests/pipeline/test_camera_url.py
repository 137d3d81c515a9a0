from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.camera_url import find_address_fault, find_live_url_fault, suggest_scheme

ODD = "#/?@[]\\ "


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("rtps", "rtsp"),
        ("rtspt", "rtsp"),
        ("rstp", "rtsp"),
        ("rtp s", None),
        ("htpp", "http"),
        ("htttps", "https"),
        ("lisen", "listen"),
        ("rtmp", None),
        ("srt", None),
        ("gopher", None),
    ],
)
def test_an_unknown_scheme_and_the_nearest(name: str, near: str | None) -> None:
    remedy = suggest_scheme(name)
    assert (f"did you mean {near}://?" in remedy) == bool(near)
    assert ("did you mean" in remedy) == bool(near)
    assert "rtsp(s)://" in remedy


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://10.0.0.7/live",
        "RTSP://10.0.0.7/live",
        "rtsp://ann:p%40ss%2Fw0rd@10.0.0.7/live",
        "rtsp://ann:a:b!$&'()*+,;=~@10.0.0.7/live",
        "rtsp://ann@10.0.0.7/live",
        "rtsp://10.0.0.7:554/live@main",
        "rtsp://[::1]:554/live@main",
        "http://host/video?mail=a@b&at=12:30",
        "listen://0.0.0.0:8554/door",
    ],
)
def test_what_can_be_read(url: str) -> None:
    assert find_live_url_fault(url) is None
    assert find_address_fault(url) is None


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("clip.mp4", "not the address of a live camera"),
        ("/etc/passwd", "not the address of a live camera"),
        ("file:///etc/passwd", "not the address of a live camera"),
        ("webcam:0", "not the address of a live camera"),
        ("concat:rtsp://host/live", "not the address of a live camera"),
        ("rtps://host/live", "not the address of a live camera"),
        ("rtsp://", "not a usable address"),
        ("rtsp:///live", "not a usable address"),
        ("rtsp://host:0/live", "not a usable address"),
        ("rtsp://host:99999/live", "not a usable address"),
        ("rtsp://[::1/live", "not a usable address"),
        ("rtsp://host/my live", "spaces"),
        ("rtsp://host/live\n", "spaces"),
        ("rtsp://ann@home.example:pw@host/live", "percent-encoded"),
        ("rtsp://ann#1@host/live", "percent-encoded"),
        ("rtsp://ann:100%@host/live", "percent-encoded"),
        ("rtsp://ann:12/34@10.0.0.7:554/live", "percent-encoded"),
    ],
)
def test_what_cannot(url: str, what: str) -> None:
    fault = find_live_url_fault(url)
    assert fault is not None
    assert what in fault[0]


@given(
    st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1),
    st.sampled_from(["10.0.0.7", "cam.local:554", "[::1]:554", "host"]),
)
def test_a_password_with_an_odd_character_is_said_to_need_encoding(
    user: str, password: str, host: str
) -> None:
    fault = find_live_url_fault(f"rtsp://{user}:{password}@{host}/live")
    if any(sign in password for sign in ODD):
        assert fault
        assert "percent-encoded" in fault[0]
        assert "%23" in fault[1]
    elif "%" not in password:
        assert fault is None


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("rtsp:/10.0.0.7/live", "write rtsp://HOST/PATH"),
        ("HTTP:10.0.0.7/live", "write http://HOST/PATH"),
        ("listen;//0.0.0.0/door", "write listen://HOST/PATH"),
        (" rtsp://10.0.0.7/live", "without spaces"),
        ("rtmp://10.0.0.7/live", "give rtsp(s)://"),
    ],
)
def test_a_slip_in_what_was_written(url: str, remedy: str) -> None:
    fault = find_address_fault(url)
    assert fault is not None
    assert remedy in fault[1]


@pytest.mark.parametrize(
    "url",
    [" my clip.mp4", "clip.mp4", "file:///a%20b.mp4", "webcam:0", "env:DOOR_URL", "rtsp/clip.mp4"],
)
def test_files_webcams_and_references_are_not_looked_into(url: str) -> None:
    assert find_address_fault(url) is None
