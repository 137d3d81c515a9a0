"""Removes credentials from camera addresses, for messages, logs and pages.

Places where a secret may be cannot be enumerated, so an allow list says what is shown: the host and
the port of an address, the values of HARMLESS_NAMES in its query, and its path up to the first
segment that is not made of PATH_WORDS and small numbers, as what follows an unknown word may be its
value. Paths of local files and names of databases are shown.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HARMLESS_NAMES = _words(
    """
    action audio bitrate cam camera ch channel channels chn codec color compression fps framerate
    height live mirror profile proto protocol quality resolution rotation stream streamtype
    substream subtype trackid transmode transport transportmode unicast video videocodec width x y
    """
)
"""Query parameters whose values select a stream; compared without case, - and _."""
PATH_WORDS = _words(
    """
    amp asp aspx av avc axis back bin cam camera cameras cgi ch channel channels chn default
    device door driveway encoder entrance feed front garage garden gate h264 h265 hall hd hevc
    high hls image images img index input ipcam isapi jpeg jpg kitchen live lobby low m3u8 main
    media mjpeg mjpg mp4 mpeg mpeg4 multicast nphmjpeg office onvif picture play porch preview
    primary profile profiles proxy psia realmonitor rtp rtsp sav sd sdp secondary server service
    smp snap snapshot source src stream streaming streams sub subtype tcp track trackid trackids
    tracks ts tunnel udp unicast video videos videostream view webcam yard
    """
)
"""Words that are usual in the paths of cameras."""
CREDENTIAL_WORDS = _words(
    """
    access apikey auth code credential credentials hash jwt key login pass passwd password pin pw
    pwd secret session sid sig signature ticket token user username usr
    """
)
"""Path segments that are usually followed by a credential."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}:/{1,2}")
_NEXT = re.compile(r"\s['\"(]*(?=[A-Za-z][A-Za-z0-9+.-]{1,30}:/)")
_LOCAL = ("file", "kafka", "postgres", "postgresql", "sqlite")
"""Schemes whose paths hold no credential."""
_HOST = re.compile(r"(?:\[[0-9A-Za-z:.%]*\]|[\w.-]*)(?::\d{1,5})?|\*\*\*")
_SEGMENT = re.compile(
    r"(?:(?:{})|(?<!\d)\d{{1,3}}(?!\d)|[._=-]){{0,8}}".format(
        "|".join(sorted(PATH_WORDS, key=len, reverse=True))
    ),
    re.IGNORECASE,
)
_MAX_NUMBERS = 4
_VALUE = re.compile(r"[A-Za-z0-9._*-]{0,24}")
_CLOSING = ".,:;!)>}'\""
"""Punctuation that may follow an address in a sentence."""

_ENCODED = re.compile(r"(?<!\S)\S*%(?:25)*3a(?:%(?:25)*2f)+\S*", re.IGNORECASE)
"""A whole address whose `://` is percent-encoded."""
_BARE = re.compile(r"(?<![^\s'\"(=,])(:?//)?(?!file:|env:)[^\s/@:'\"(=,]+:(?!/)\S*@(\S*)")
"""USER:PASSWORD@ without a scheme before it."""
_NUMERIC = re.compile(r"(?<![\w./])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?[/?]\S*")
"""An address without a scheme that begins with an IPv4 address."""
_QUERY = re.compile(r"\?([^\s?]*=\S*)")
_CREDENTIAL_PARTS = "user|usr|login|pass|pwd|pw|jwt|token|key|secret|auth|sig|credential"
_SECRET = re.compile(rf"((?:{_CREDENTIAL_PARTS})\w{{0,40}}?=)[^&;\s]*", re.IGNORECASE)
_NAMED = re.compile(rf"[a-z_-]{{0,20}}(?:{_CREDENTIAL_PARTS})[a-z_-]{{0,20}}", re.IGNORECASE)
_PREFIXED = re.compile(r"(?:user|usr|login|pass|passwd|password|pwd|token|secret|jwt)[-_.]", re.I)


def redact(text: str) -> str:
    """Hide all that may be a credential in an address, or in any text with addresses in it.

    When in doubt it hides: a password may contain `/` or `@` without being percent-encoded.

    >>> redact("rtsp://admin:pa@ss@10.0.0.7/live?channel=1&t=s3cret")
    'rtsp://***@10.0.0.7/live?channel=1&***'
    >>> redact("rtsp://10.0.0.7/Streaming/Channels/101, rtsp://10.0.0.7/user/ann/s3cret")
    'rtsp://10.0.0.7/Streaming/Channels/101, rtsp://10.0.0.7/***'
    >>> redact("no such file: admin:s3cret@10.0.0.7/live")
    'no such file: ***@10.0.0.7/live'
    """
    shown, at = [], 0
    while scheme := _SCHEME.search(text, at):
        shown += [_redact_plain(text[at : scheme.start()]), scheme[0]]
        at = scheme.end()
        name = scheme[0].partition(":")[0].lower()
        if name == "file":
            continue
        following = _NEXT.search(text, at)
        rest = text[at : following.start() if following else len(text)]
        at += len(rest)
        _, sign, rest = rest.rpartition("@")
        address = rest.split(maxsplit=1)[0] if rest[:1].strip() else ""
        sentence = rest[len(address) :]
        is_local = name.partition("+")[0] in _LOCAL or not scheme[0].endswith("//")
        redact = _redact_address(address, is_local)
        shown += [HIDDEN * bool(sign), sign, redact, _redact_plain(sentence)]
    return "".join([*shown, _redact_plain(text[at:])])


def may_hold_credential(address: str) -> bool:
    """Whether one address, as a person wrote it, holds a credential, or something that may be one.

    Used to refuse an address, so it is less strict than `redact`: an unknown parameter of the query
    counts, an unknown word in the path (`/hall-2`) does not, unless it looks like a token or
    follows a word such as `token`.

    >>> may_hold_credential("rtsp://nvr/east-wing"), may_hold_credential("rtsp://nvr/x?t=1")
    (False, True)
    """
    scheme = _SCHEME.match(address)
    if not scheme or scheme[0].lower().startswith("file:") or not scheme[0].endswith("//"):
        return redact(address) != address
    rest = address[scheme.end() :]
    host, path, query, fragment = _split(rest)
    return (
        "@" in rest
        or not _are_hosts(host)
        or bool(fragment)
        or _redact_query(query) != query
        or _suggests_credential(path.split("/"))
    )


def _redact_address(text: str, is_local: bool) -> str:
    """Redact what follows a scheme and a login, up to the next space."""
    core = text.rstrip(_CLOSING)
    host, path, query, fragment = _split(core)
    return "".join(
        [
            host if _are_hosts(host) else HIDDEN,
            _SECRET.sub(rf"\1{HIDDEN}", path) if is_local else _redact_path(path),
            _redact_query(query),
            f"#{HIDDEN}" if fragment else "",
            text[len(core) :],
        ]
    )


def _split(address: str) -> tuple[str, str, str, str]:
    """Hosts, path, query with its question mark, and fragment, of what follows a scheme."""
    whole, sign, fragment = address.partition("#")
    whole, mark, query = whole.partition("?")
    hosts = re.split(r"[/\\]", whole)[0]
    return hosts, whole[len(hosts) :], mark + query, sign + fragment


def _are_hosts(text: str) -> bool:
    return all(_HOST.fullmatch(host) for host in text.split(","))


def _redact_path(path: str) -> str:
    if re.fullmatch(r"/[A-Za-z]/?", path):
        return path
    segments = path.split("/")
    for number, segment in enumerate(segments):
        if not _is_harmless(segment):
            assignment = _SECRET.match(segment)
            # A path that begins with a backslash has no empty first segment.
            hidden = f"{assignment[1]}{HIDDEN}" if assignment else HIDDEN
            return "/".join([*(segments[:number] or [""]), hidden])
    return path


def _is_harmless(segment: str) -> bool:
    few_numbers = len(re.findall(r"\d+", segment)) <= _MAX_NUMBERS
    return segment == HIDDEN or bool(_SEGMENT.fullmatch(segment) and few_numbers)


def _redact_query(query: str) -> str:
    """Redact a query, given with its question mark."""
    parts = re.split(r"([?&;])", query)
    return "".join(part if part in ("?", "&", ";") else _redact_parameter(part) for part in parts)


def _redact_parameter(text: str) -> str:
    name, sign, value = text.partition("=")
    plain = re.sub(r"[_-]", "", name).lower()
    if not text or (plain in HARMLESS_NAMES and sign and _VALUE.fullmatch(value)):
        return text
    is_name_shown = sign and (plain in HARMLESS_NAMES or _NAMED.fullmatch(name))
    return f"{name}={HIDDEN}" if is_name_shown else HIDDEN


def _redact_plain(text: str) -> str:
    """Redact text in which no scheme marks the beginning of an address."""
    text = _ENCODED.sub(HIDDEN, text)
    text = _BARE.sub(
        lambda bare: f"{bare[1] or ''}{HIDDEN}@{_redact_address(bare[2], False)}", text
    )
    text = _NUMERIC.sub(lambda found: _redact_address(found[0], False), text)
    text = _QUERY.sub(lambda found: _redact_query(found[0]), text)
    return _SECRET.sub(rf"\1{HIDDEN}", text)


def _suggests_credential(segments: list[str]) -> bool:
    """Whether the form of a path suggests a credential in it."""
    for segment, following in zip(segments, [*segments[1:], ""], strict=True):
        plain = _decode(segment)
        if _is_harmless(segment):
            continue
        is_name = re.sub(r"[\W_]", "", plain).lower() in CREDENTIAL_WORDS
        if (is_name and following) or _is_token(plain) or _PREFIXED.match(plain):
            return True
    return False


def _is_token(segment: str) -> bool:
    if re.search(r"[=%@;:?#\\\s]", segment):
        return True
    run = max(re.findall(r"[^\W_]+", segment), key=len, default="")
    turns = len(re.findall(r"(?<=\d)[^\W\d_]|(?<=[^\W\d_])\d", run))
    return len(run) >= 20 or (len(run) >= 8 and turns >= 2)


def _decode(text: str) -> str:
    """Percent-decoded, however often it was encoded."""
    for _ in range(8):
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    return text
