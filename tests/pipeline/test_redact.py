from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.redact import HARMLESS_NAMES, HIDDEN, may_hold_credential, redact

WORD = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=12)
SECRET = st.builds("q7z{}".format, WORD.filter(lambda word: not set(word) & set("&;?#/@=")))
"""Something that no word of ours begins like."""
NAMES = """
    u p usr pw jwt access code hash sid ticket pin pwd password Token AUTH key x-api-key _ user id
    passwd pass login sessionid auth_token signature X-Amz-Signature nonce a streamkey
"""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://10.0.0.7:554/live", "rtsp://10.0.0.7:554/live"),
        ("rtsp://admin:pw@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("rtsp://admin@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("rtsp://a:p@ss/w:rd@host/live", "rtsp://***@host/live"),
        ("rtsp://ann:12#34@host/live", "rtsp://***@host/live"),
        ("rtsp://ann:12\n34@host/live", "rtsp://***@host/live"),
        ("rtsp://ann:abhttp://q@host/live", "rtsp://***@host/live"),
        ("rtsp://ann:1234pw/live", "rtsp://***/live"),
        ("http://host/x?channel=2&password=pw&x=1", "http://host/x?channel=2&password=***&x=1"),
        ("http://host/x?AccessToken=pw", "http://host/x?AccessToken=***"),
        ("rtsp://host/user=me_password=pw_channel=1.sdp", "rtsp://host/user=***"),
        ("rtsp://host/live?u=ann&p=pw&channel=1", "rtsp://host/live?***&***&channel=1"),
        ("rtsp://host/live?channel=1;jwt=pw", "rtsp://host/live?channel=1;jwt=***"),
        ("rtsp://host/live?%70ass=pw", "rtsp://host/live?***"),
        ("rtsp://host/live?channel=%70w", "rtsp://host/live?channel=***"),
        ("rtsp://host/live?stream=rtsp%3A%2F%2Fa%3Apw%40b", "rtsp://host/live?stream=***"),
        ("rtsp://host/live?s3cret", "rtsp://host/live?***"),
        ("rtsp://host/live?channel=1?token=pw", "rtsp://host/live?channel=1?token=***"),
        ("rtsp://host/live#pw", "rtsp://host/live#***"),
        ("RTSP://HOST/LIVE?CHANNEL=1&PWD=x", "RTSP://HOST/LIVE?CHANNEL=1&PWD=***"),
        ("rtsp://host/user/a/pass/b", "rtsp://host/***"),
        ("rtsp://host/user/main/pass/live", "rtsp://host/***"),
        ("rtsp://host/live/a8f3c9d27be1", "rtsp://host/live/***"),
        ("rtsp://host/live;token=pw", "rtsp://host/***"),
        ("rtsp://host/%75ser/ann", "rtsp://host/***"),
        ("rtsp://10.0.0.7\\s3cret", "rtsp://10.0.0.7/***"),
        (
            "lost rtsp://u:p@host/a and rtsp://u:p@host/b",
            "lost rtsp://***@host/a and rtsp://***@host/b",
        ),
        ("rtsp:/admin:pw@10.0.0.7/live", "rtsp:/***@10.0.0.7/live"),
        ("rtsp://admin:my pw@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("admin:pw@10.0.0.7/live", "***@10.0.0.7/live"),
        ("rtsp ://admin:pw@10.0.0.7/live", "rtsp ://***@10.0.0.7/live"),
        ("//admin:pw@10.0.0.7/live", "//***@10.0.0.7/live"),
        ("admin:pw@10.0.0.7/user/ann", "***@10.0.0.7/***"),
        ("10.0.0.7:554/user/ann/pass/pw", "10.0.0.7:554/***"),
        ("camera.local/live?p=pw", "camera.local/live?***"),
        ("see rtsp%3A%2F%2Fann%3Apw%40host%2Flive", "see ***"),
        ("no such file: admin:p/w@host/live: check", "no such file: ***@host/live: check"),
        ("postgresql+psycopg://ann:pw@host/undercam", "postgresql+psycopg://***@host/undercam"),
    ],
)
def test_what_may_be_a_credential_is_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://10.0.0.7/Streaming/Channels/101",
        "rtsp://10.0.0.7:554/cam/realmonitor?channel=1&subtype=0",
        "rtsp://10.0.0.7/h264Preview_01_main",
        "rtsp://10.0.0.7/axis-media/media.amp?videocodec=h264&resolution=640x480&fps=12",
        "rtsp://10.0.0.7/ISAPI/Streaming/channels/102",
        "rtsp://10.0.0.7/h264/ch1/main/av_stream",
        "rtsp://10.0.0.7/onvif1",
        "rtsp://10.0.0.7/videoMain",
        "rtsp://10.0.0.7/rtsp_tunnel",
        "rtsp://10.0.0.7/profile2/media.smp",
        "rtsp://10.0.0.7/MediaInput/h264/stream_1",
        "rtsp://10.0.0.7/live/ch00_0",
        "rtsp://10.0.0.7/11",
        "rtsp://[fe80::1]:8554/live",
        "http://10.0.0.7/cgi-bin/mjpg/video.cgi?channel=0",
        "http://10.0.0.7/axis-cgi/mjpg/video.cgi",
        "listen://0.0.0.0:8554/hall",
        "(rtsp://10.0.0.7/live) is away: look",
        "tried rtsp://10.0.0.7/live, rtsp://10.0.0.8/live; both refuse",
        "no such file: clips/user/Front Door (2).mp4: check the path",
        "clips/me@home.mp4",
        "C:/clips/me@home.mp4",
        "file:///clips/me@home.mp4",
        "file:/run/secrets/door@home",
        "env:DOOR_URL",
        "webcam:0",
        "sqlite:////var/lib/undercam/undercam.db",
        "kafka://a:9092,b:9092",
        "what next? threads=2 and fps=5",
        "",
    ],
)
def test_what_is_harmless_stays_readable(text: str) -> None:
    assert redact(text) == text
    assert not may_hold_credential(text)


def left(text: str) -> str:
    return re.sub(r"[\W_]", "", redact(text))


@given(WORD, WORD)
def test_no_password_survives(user: str, password: str) -> None:
    assert redact(f"rtsp://{user}:{password}@host/live") == "rtsp://***@host/live"


@given(
    st.from_regex(r"[a-z]{5,8}", fullmatch=True), WORD.filter(lambda word: not word.startswith("/"))
)
def test_nor_one_without_a_scheme(user: str, password: str) -> None:
    assert redact(f"{user}:{password}@host/live") == "***@host/live"


@given(st.sampled_from(NAMES.split()) | WORD, SECRET, st.booleans(), st.sampled_from("?&;"))
def test_nor_a_value_in_a_query(name: str, secret: str, is_encoded: bool, sign: str) -> None:
    if re.sub(r"[_-]", "", name).lower() in HARMLESS_NAMES:
        return
    name = quote(name, safe="") if is_encoded else re.sub(r"[&;?#/@=]", "", name)
    url = f"rtsp://host/live?channel=1{sign}{name}={secret}&{name}={quote(secret)}"
    assert "q7z" not in redact(url)
    assert redact(url).startswith(f"rtsp://host/live?channel=1{sign}")
    assert may_hold_credential(url)


@given(SECRET, st.sampled_from(["stream", "profile", "CHANNEL"]))
def test_nor_an_address_in_a_harmless_value(secret: str, name: str) -> None:
    for nested in (f"http://a/?t={secret}", f"rtsp://u:{secret}@b/live", f"/user/{secret}"):
        for value in (nested, quote(nested, safe=""), quote(quote(nested, safe=""), safe="")):
            assert "q7z" not in redact(f"rtsp://host/live?{name}={value}")
            assert may_hold_credential(f"rtsp://host/live?{name}={value}")


@given(st.sampled_from(NAMES.split()), SECRET, WORD)
def test_nor_a_segment_of_a_path(name: str, secret: str, after: str) -> None:
    for path in (f"{name}/{secret}", f"{name}={secret}", secret, f"{secret}/{name}", f";{secret}"):
        assert "q7z" not in redact(f"rtsp://host/live/{path}/main")
    assert left(f"rtsp://host/live/{secret}/{after.replace('@', '')}") == "rtsphostlive"


@given(SECRET)
def test_nor_a_fragment(secret: str) -> None:
    assert redact(f"rtsp://host/live#{secret}x") == "rtsp://host/live#***"


@given(st.text())
def test_any_text_can_be_redacted_again(text: str) -> None:
    assert redact(redact(text)) == redact(text)
    assert HIDDEN in redact(text) or redact(text) == text


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("rtsp://nvr/east-wing", False),
        ("rtsp://nvr:8554/building2-floor3-cam12", False),
        ("listen://0.0.0.0:8554/reception", False),
        ("http://nvr/door/access", False),
        ("rtsp://nvr/%6Bueche", False),
        ("rtsp://nvr/user/ann", True),
        ("rtsp://nvr/token-abc", True),
        ("rtsp://nvr/%74oken/abc", True),
        ("rtsp://nvr/a8f3c9d27be1", True),
        ("rtsp://nvr/AbCdEfGhIjKlMnOpQrStUv", True),
        ("rtsp://nvr/live?timeout=5", True),
        ("rtsp://nvr/live?enableSrtp", True),
        ("rtsp://ann@nvr/live", True),
        ("rtsp://ann:pw/live", True),
    ],
)
def test_what_is_kept_out_of_the_database(url: str, is_refused: bool) -> None:
    assert may_hold_credential(url) == is_refused
