"""Parses and checks the address of a camera by its text alone; nothing is opened."""

from __future__ import annotations

import difflib
import re
from typing import Literal
from urllib.parse import urlsplit

from pipeline.errors import InputError
from pipeline.redact import redact

Kind = Literal["file", "webcam", "stream", "listen"]
STREAMS = ("rtsp", "rtsps", "http", "https")
SCHEMES = (*STREAMS, "listen")
"""Schemes of live cameras."""

_WEBCAM = re.compile(r"webcam:(\d+)|(/dev/video\d+)")
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_TYPO = re.compile(rf"\s*({'|'.join(SCHEMES)})(?:;|:/?(?!/))", re.IGNORECASE)
"""A known scheme whose two slashes are missing or mistyped."""
_OTHERS = ("ftp", "mms", "onvif", "rtmp", "rtmps", "rtp", "srt", "udp")
"""Schemes that exist, so not a misspelling of ours."""
_LIVE = "give rtsp(s)://, http(s):// or listen://HOST:PORT/NAME"
_READ = "give rtsp(s)://, http(s)://, listen://HOST:PORT/NAME, a file or webcam:N"
_WRITTEN = "write SCHEME://USER:PASSWORD@HOST:PORT/PATH, special characters percent-encoded"
_ENCODED = "percent-encode its special characters: # is %23, / %2F, ? %3F, @ %40, % %25, space %20"
_UNENCODED = re.compile(r"[/?#@\[\]\\\s]|%(?![0-9A-Fa-f]{2})")
_OWN_HOST = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[^\]]*\]|localhost):\d+[/?#]", re.IGNORECASE)


def kind_of(url: str) -> Kind:
    """The kind of source: a file, a webcam, a stream that we connect to, or one pushed to us.

    Raises InputError for an unknown scheme, suggesting the nearest known one.

    >>> kind_of("rtsp://10.0.0.7/live"), kind_of("listen://0.0.0.0:8554/door"), kind_of("clip.mp4")
    ('stream', 'listen', 'file')
    """
    scheme = SCHEME.match(url)
    match scheme and scheme[1].lower():
        case None:
            return "webcam" if webcam_device(url) else "file"
        case "file":
            return "file"
        case "listen":
            return "listen"
        case name if name in STREAMS:
            return "stream"
        case name:
            raise InputError(f"cannot read from {name}://", redact(url), suggest_scheme(name))


def webcam_device(url: str) -> str | None:
    """The device of `webcam:N` or `/dev/videoN`; None for any other address.

    >>> webcam_device("webcam:0")
    '/dev/video0'
    """
    match = _WEBCAM.fullmatch(url)
    return match and (match[2] or f"/dev/video{match[1]}")


def suggest_scheme(name: str, read: str = _READ) -> str:
    """The remedy for an unknown scheme `name`, given in lower case.

    >>> suggest_scheme("rtps")[:28]
    'did you mean rtsp://? give r'
    """
    swapped = [scheme for scheme in SCHEMES if sorted(scheme) == sorted(name)]
    near = swapped or difflib.get_close_matches(name, SCHEMES, n=1, cutoff=0.7)
    return f"did you mean {near[0]}://? {read}" if near and name not in _OTHERS else read


def find_live_url_fault(url: str) -> tuple[str, str] | None:
    """Why an address cannot be that of a live camera, and the remedy; None where it can.

    Neither text quotes the address, so that no credential can be in it; only the known scheme
    nearest to its own may be named.

    >>> find_live_url_fault("rtsp://ann:12#34@10.0.0.7/live")[0]
    'a user or password that must be percent-encoded'
    """
    scheme = SCHEME.match(url)
    name = scheme[1].lower() if scheme else ""
    if name not in SCHEMES:
        return "not the address of a live camera", suggest_scheme(name, _LIVE)
    if _is_login_unencoded(url.partition("://")[2]):
        return "a user or password that must be percent-encoded", _ENCODED
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        return "an address with spaces or control characters", _WRITTEN
    try:
        address = urlsplit(url)
        if address.hostname and address.port != 0:
            return None
    except ValueError:
        pass
    return "not a usable address", _WRITTEN


def find_address_fault(url: str) -> tuple[str, str] | None:
    """As `find_live_url_fault`, for any kind of address: files, webcams and references too.

    A file need not exist.
    """
    typo = _TYPO.match(url)
    if typo or (url != url.strip() and SCHEME.match(url.strip())):
        name = typo[1].lower() if typo else "SCHEME"
        return "not a usable address", f"write {name}://HOST/PATH, without spaces"
    scheme = SCHEME.match(url)
    if not scheme or scheme[1].lower() == "file":
        return None
    if scheme[1].lower() not in SCHEMES:
        return "an unknown scheme", suggest_scheme(scheme[1].lower())
    return find_live_url_fault(url)


def _is_login_unencoded(rest: str) -> bool:
    """Whether the part after the scheme has a login with a character that must be encoded, because
    it ends the login early.

    An @ may also be part of a path: what begins with an IP address and a port has no login.
    """
    login, sign, _ = rest.rpartition("@")
    if not sign or _OWN_HOST.match(rest):
        return False
    user, colon, password = login.partition(":")
    if colon and not re.search(r"[/?#]", user):
        return bool(_UNENCODED.search(user) or _UNENCODED.search(password))
    return "@" in re.split(r"[/?]", login)[0] or "#" in user
