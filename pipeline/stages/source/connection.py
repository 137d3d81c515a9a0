"""One connection to a live camera: opened, read until it is lost, closed.

FFmpeg may use the protocols and formats named here and no others, so that neither a redirect nor a
playlist makes it read a file or call another service.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.closing import Closing
from pipeline.errors import InputError
from pipeline.redact import redacted
from pipeline.settings import SourceSettings
from pipeline.stages.source.address import kind_of
from pipeline.stages.source.frame_decoder import FrameDecoder, FrameTooLarge, decoder_options
from pipeline.stages.source.line import Line
from pipeline.stages.source.lost import (
    HUNG_UP,
    NO_VIDEO,
    NOT_DECODED,
    UNKNOWN_HOST,
    Lost,
    broken,
    frame_too_large,
    not_called,
    not_heard,
    silent,
)
from pipeline.stages.source.trust import check_tls, trust_options

PROBE_BYTES = 32_000
"""Read before the first picture; FFmpeg's own 5 MB make opening twelve times slower."""
NO_STAMPS = 0x80
"""FFmpeg's flag of a format without time stamps: what it calls one is a count of pictures."""


@dataclass(frozen=True)
class _Scheme:
    """How FFmpeg opens an address: default port, protocols that it may use, further options."""

    port: int
    protocols: str
    format: str | None = "rtsp"
    options: dict[str, str] = field(default_factory=dict)


_CALL = {"rtsp_transport": "tcp", "allowed_media_types": "video"}
# Seconds, more than open_s may be: who calls nobody is waited for by open_s.
_HEAR = {"rtsp_flags": "listen", "listen_timeout": "600", "allowed_media_types": "video"}
_FORMATS = "mpjpeg,mjpeg,mpegts,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,flv,h264,hevc"
_HTTP = {"format_whitelist": _FORMATS}
_SCHEMES = {
    "rtsp": _Scheme(554, "tcp", options=_CALL),
    "rtsps": _Scheme(322, "tls,tcp", options=_CALL),
    "listen": _Scheme(554, "tcp", options=_HEAR),
    "http": _Scheme(80, "http,https,tls,tcp", format=None, options=_HTTP),
    "https": _Scheme(443, "https,tls,tcp", format=None, options=_HTTP),
}


@dataclass(frozen=True)
class Shot:
    """A decoded picture; `stamp_s`, seconds of the camera's media time, and `camera_ms`, UTC by the
    camera's own clock, where they are known."""

    picture: VideoFrame
    stamp_s: float | None
    camera_ms: float | None = None


class Connection(Closing):
    """A context manager that connects; `shots` then gives the pictures. Both raise Lost.

    `url`: `rtsp(s)://` and `http(s)://` call the camera; `listen://HOST:PORT/NAME` waits until one
    camera calls and pushes RTSP, whatever name it gives. Raises InputError for any other.
    """

    def __init__(
        self, url: str, settings: SourceSettings, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = _address(url)
        self._scheme = _SCHEMES[self._address.scheme]
        self._port = self._address.port or self._scheme.port
        self._settings, self._now = settings, now
        self._line: Line | None = None
        self._camera_ahead_ms: float | None = None

    def __enter__(self) -> Self:
        self._line = self._new_line()
        self._container = self._open()
        self._line.opened()
        try:
            self._stream = _video_stream(self._container)
            self._decoder = FrameDecoder(self._stream, self._settings.frame_limit)
        except (Lost, FrameTooLarge) as error:
            self._container.close()
            raise error if isinstance(error, Lost) else frame_too_large(str(error)) from None
        return self

    def close(self) -> None:
        """Hang up."""
        self._container.close()

    def hang_up(self) -> None:
        """End what another thread waits for in here, as soon as can be."""
        if self._line:
            self._line.cut()

    def shots(self) -> Iterator[Shot]:
        """The pictures as they come, until the connection is lost."""
        due_s = self._now() + self._settings.open_s
        for packet in self._packets():
            for picture in self._decoded(packet):
                due_s = self._now() + self._settings.open_s
                yield self._shot(picture)
            if self._now() > due_s:
                raise Lost("refused", NOT_DECODED)
        raise Lost("offline", HUNG_UP)

    def _decoded(self, packet: Packet[Any]) -> list[VideoFrame]:
        try:
            return self._decoder.decode(packet)
        except FrameTooLarge as error:
            raise frame_too_large(str(error)) from None
        except av.FFmpegError:
            return []

    def _packets(self) -> Iterator[Packet[Any]]:
        asked_s = self._now()
        try:
            for packet in self._container.demux():
                # When FFmpeg has waited in vain it first gives what its parser still held.
                if self._now() - asked_s >= self._settings.read_s:
                    raise Lost("offline", silent(self._settings.read_s))
                # Sound is read as well, and left, so that it alone keeps no camera online.
                if packet.stream is self._stream:
                    self._learn_clock(packet)
                    yield packet
                    asked_s = self._now()
        except av.FFmpegError as error:
            raise broken(error, self._settings.read_s) from None

    def _learn_clock(self, packet: Packet[Any]) -> None:
        """From an RTSP packet whose time the camera's RTCP reports tell, UTC microseconds."""
        if self._scheme.format != "rtsp" or not packet.has_sidedata("prft"):
            return
        if packet.pts is not None and packet.time_base:
            told = bytes(packet.get_sidedata("prft"))
            camera_us = int.from_bytes(told[:8], sys.byteorder, signed=True)
            self._camera_ahead_ms = camera_us / 1000 - float(packet.pts * packet.time_base) * 1000

    def _shot(self, picture: VideoFrame) -> Shot:
        if self._container.format.flags & NO_STAMPS:
            return Shot(picture, self._now())
        stamp_s = picture.time
        if stamp_s is None or self._camera_ahead_ms is None:
            return Shot(picture, stamp_s)
        return Shot(picture, stamp_s, stamp_s * 1000 + self._camera_ahead_ms)

    def _new_line(self) -> Line:
        if self._address.scheme == "listen":
            return Line(port=self._port)
        try:
            places = socket.getaddrinfo(self._address.hostname, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise Lost("offline", UNKNOWN_HOST) from None
        return Line(frozenset((str(place[0]), int(place[1])) for *_, place in places))

    def _open(self) -> InputContainer:
        open_s, read_s = self._settings.open_s, self._settings.read_s
        options = {
            "protocol_whitelist": self._scheme.protocols,
            "probesize": str(PROBE_BYTES),
            # FFmpeg's own limit, microseconds: the other one, below, does not hold for good-byes.
            "timeout": str(round(2e6 * max(open_s, read_s))),
            **decoder_options(self._settings.frame_limit),
            **self._scheme.options,
            **(trust_options(self._settings) if "tls" in self._scheme.protocols else {}),
        }
        listens = self._address.scheme == "listen"
        began_s = self._now()
        address = self._address._replace(scheme="rtsp") if listens else self._address
        try:
            return av.open(
                address.geturl(),
                "r",
                format=self._scheme.format,
                options=options,
                metadata_errors="replace",
                timeout=(open_s, read_s),
            )
        except av.FFmpegError as error:
            if listens:
                raise not_heard(error) from None
            after_s, is_http = self._now() - began_s, self._scheme.format is None
            if self._address.scheme in ("rtsps", "https"):
                check_tls(str(self._address.hostname), self._port, self._settings)
            raise not_called(error, after_s, open_s, is_http) from None


def _address(url: str) -> SplitResult:
    remedy = "write SCHEME://USER:PASSWORD@HOST:PORT/PATH, odd characters as % codes"
    try:
        address = urlsplit(url)
        if kind_of(url) in ("stream", "listen") and address.hostname and address.port != 0:
            return address
    except ValueError as error:
        raise InputError("not an address", redacted(url), remedy) from error
    raise InputError("not the address of a live camera", redacted(url), remedy)


def _video_stream(container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise Lost("refused", NO_VIDEO)
    if stream.codec_context is None:
        raise Lost("refused", NOT_DECODED)
    stream.thread_count = 1
    return stream
