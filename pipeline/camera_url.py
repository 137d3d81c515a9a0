"""What the address of a camera means, by its text alone: nothing is opened here."""

from __future__ import annotations

import difflib
import re
from typing import Literal
from urllib.parse import urlsplit

from pipeline.errors import InputError
from pipeline.redact import redacted

Kind = Literal["file", "webcam", "stream", "listen"]
STREAMS = ("rtsp", "rtsps", "http", "https")
SCHEMES = (*STREAMS, "listen")
"""Of addresses of live cameras."""

_WEBCAM = re.compile(r"webcam:(\d+)|(/dev/video\d+)")
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SLIP = re.compile(rf"\s*({'|'.join(SCHEMES)})(?:;|:/?(?!/))", re.IGNORECASE)
"""A known scheme without its two slashes."""
_OTHERS = ("ftp", "mms", "onvif", "rtmp", "rtmps", "rtp", "srt", "udp")
"""Schemes that are no misspelling of ours."""
_LIVE = "give rtsp(s)://, http(s):// or listen://HOST:PORT/NAME"
_READ = "give rtsp(s)://, http(s)://, listen://HOST:PORT/NAME, a file or webcam:N"
_WRITTEN = "write SCHEME://USER:PASSWORD@HOST:PORT/PATH, odd characters as % codes"
_ENCODED = "write its odd characters as % codes: # is %23, / %2F, ? %3F, @ %40, % %25, space %20"
_ODD = re.compile(r"[/?#@\[\]\\\s]|%(?![0-9A-Fa-f]{2})")
_OWN_HOST = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[^\]]*\]|localhost):\d+[/?#]", re.IGNORECASE)


def kind_of(url: str) -> Kind:
    """What an address means: a file, a webcam, a camera that is called, or one that calls us.

    Raises InputError for a scheme that is none of ours, with the nearest that is.

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
            raise InputError(f"cannot read from {name}://", redacted(url), scheme_remedy(name))


def webcam_device(url: str) -> str | None:
    """The device of `webcam:N` or `/dev/videoN`; None for any other address.

    >>> webcam_device("webcam:0")
    '/dev/video0'
    """
    match = _WEBCAM.fullmatch(url)
    return match and (match[2] or f"/dev/video{match[1]}")


def scheme_remedy(name: str, read: str = _READ) -> str:
    """What to write instead of an unknown scheme, in lower case.

    >>> scheme_remedy("rtps")[:28]
    'did you mean rtsp://? give r'
    """
    swapped = [scheme for scheme in SCHEMES if sorted(scheme) == sorted(name)]
    near = swapped or difflib.get_close_matches(name, SCHEMES, n=1, cutoff=0.7)
    return f"did you mean {near[0]}://? {read}" if near and name not in _OTHERS else read


def url_fault(url: str) -> tuple[str, str] | None:
    """Why an address cannot be that of a live camera, and the remedy; None where it can.

    Neither says anything of what the address holds, but for the known scheme nearest to its own.

    >>> url_fault("rtsp://ann:12#34@10.0.0.7/live")[0]
    'a user or password that must be percent-encoded'
    """
    scheme = SCHEME.match(url)
    name = scheme[1].lower() if scheme else ""
    if name not in SCHEMES:
        return "no address of a live camera", scheme_remedy(name, _LIVE)
    if _is_login_odd(url.partition("://")[2]):
        return "a user or password that must be percent-encoded", _ENCODED
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        return "an address with spaces or control characters", _WRITTEN
    try:
        address = urlsplit(url)
        if address.hostname and address.port != 0:
            return None
    except ValueError:
        pass
    return "no usable address", _WRITTEN


def written_fault(url: str) -> tuple[str, str] | None:
    """As `url_fault`, for any address that a person wrote: files, webcams and references too.

    A file need not be there.
    """
    slip = _SLIP.match(url)
    if slip or (url != url.strip() and SCHEME.match(url.strip())):
        name = slip[1].lower() if slip else "SCHEME"
        return "no usable address", f"write {name}://HOST/PATH, without spaces"
    scheme = SCHEME.match(url)
    if not scheme or scheme[1].lower() == "file":
        return None
    if scheme[1].lower() not in SCHEMES:
        return "an unknown scheme", scheme_remedy(scheme[1].lower())
    return url_fault(url)


def _is_login_odd(rest: str) -> bool:
    """Whether what follows a scheme holds a login with a character that ends it too early.

    An @ can also stand in a path: what begins with an IP address and a port holds no login.
    """
    login, sign, _ = rest.rpartition("@")
    if not sign or _OWN_HOST.match(rest):
        return False
    user, colon, password = login.partition(":")
    if colon and not re.search(r"[/?#]", user):
        return bool(_ODD.search(user) or _ODD.search(password))
    return "@" in re.split(r"[/?]", login)[0] or "#" in user
