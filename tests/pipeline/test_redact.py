from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.redact import redacted

WORD = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://10.0.0.7:554/live", "rtsp://10.0.0.7:554/live"),
        ("rtsp://admin:pw@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("rtsp://admin@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("rtsp://a:p@ss/w:rd@host/live", "rtsp://***@host/live"),
        ("http://host/x?channel=2&password=pw&x=1", "http://host/x?channel=2&password=***&x=1"),
        ("http://host/x?AccessToken=pw", "http://host/x?AccessToken=***"),
        ("rtsp://host/user=me_password=pw_channel=1.sdp", "rtsp://host/user=***"),
        (
            "lost rtsp://u:p@host/a and rtsp://u:p@host/b",
            "lost rtsp://***@host/a and rtsp://***@host/b",
        ),
        ("rtsp:/admin:pw@10.0.0.7/live", "rtsp:/***@10.0.0.7/live"),
        ("rtsp://admin:my pw@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("admin:pw@10.0.0.7/live", "***@10.0.0.7/live"),
        ("no such file: admin:p/w@host/live: check", "no such file: ***@host/live: check"),
        ("clips/me@home.mp4", "clips/me@home.mp4"),
        ("C:/clips/me@home.mp4", "C:/clips/me@home.mp4"),
        ("file:///clips/me@home.mp4", "file:///clips/me@home.mp4"),
        ("file:/run/secrets/door@home", "file:/run/secrets/door@home"),
        ("kafka://a:9092,b:9092", "kafka://a:9092,b:9092"),
        ("", ""),
    ],
)
def test_table(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown


@given(WORD, WORD)
def test_no_password_survives(user: str, password: str) -> None:
    assert redacted(f"rtsp://{user}:{password}@host/live") == "rtsp://***@host/live"


@given(
    st.from_regex(r"[a-z]{5,8}", fullmatch=True), WORD.filter(lambda word: not word.startswith("/"))
)
def test_nor_one_without_a_scheme(user: str, password: str) -> None:
    assert redacted(f"{user}:{password}@host/live") == "***@host/live"
