"""One connection to a live camera: opened, read until it is lost, closed.

FFmpeg may use the protocols and formats named here and no others, so that neither a redirect nor a
playlist makes it read a file or call another service.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import SplitResult

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.closing import Closing
from pipeline.settings import SourceSettings
from pipeline.stages.source.decoder import Decoder, GiveUp
from pipeline.stages.source.frame_decoder import FrameTooLarge, decoder_options
from pipeline.stages.source.line import Line
from pipeline.stages.source.lost import (
    HUNG_UP,
    NO_VIDEO,
    NOT_DECODED,
    TOO_MUCH,
    UNKNOWN_HOST,
    Lost,
    broken,
    frame_too_large,
    not_called,
    not_heard,
    silent,
)
from pipeline.stages.source.meter import Meter
from pipeline.stages.source.shot import ReceivedFrame
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
# Seconds, more than open_timeout_s may be: who calls nobody is waited for by open_timeout_s.
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


class Connection(Closing):
    """A context manager that connects; `shots` then gives the pictures. Both raise Lost.

    `address`: `rtsp(s)://` and `http(s)://` call the camera; `listen://HOST:PORT/NAME` waits until
    one camera calls and pushes RTSP, whatever name it gives. `http_format`: FFmpeg's name of what
    HTTP brings, where it cannot find it out.
    """

    def __init__(
        self,
        address: SplitResult,
        settings: SourceSettings,
        give_up: GiveUp = lambda cause, pictures: None,
        now: Callable[[], float] = time.monotonic,
        http_format: str = "",
    ) -> None:
        self._http_format = http_format
        self._address = address
        self._scheme = _SCHEMES[self._address.scheme]
        self._port = self._address.port or self._scheme.port
        self._settings, self._give_up, self._now = settings, give_up, now
        self._line: Line | None = None

    def __enter__(self) -> Self:
        self._line = self._new_line()
        self._meter = Meter(self._line)
        try:
            self._container = self._open()
            self._line.opened()
            try:
                self._stream = _video_stream(self._container)
                self._decoder = Decoder(self._stream, self._give_up, self._settings.frame_limit)
            except (Lost, FrameTooLarge) as error:
                self._container.close()
                raise error if isinstance(error, Lost) else frame_too_large(str(error)) from None
        except BaseException:
            self._meter.stop()
            raise
        return self

    def close(self) -> None:
        """Hang up."""
        self._meter.stop()
        self._container.close()

    def hang_up(self) -> None:
        """End what another thread waits for in here, as soon as can be."""
        if self._line:
            self._line.cut()

    def shots(self) -> Generator[ReceivedFrame]:
        """The pictures as they come, until the connection is lost."""
        try:
            yield from self._shots()
        except Lost:
            for picture, camera_ms in self._decoder.flush():
                yield self._shot(picture, camera_ms)
            raise
        finally:
            self._decoder.end("stopped")

    def _shots(self) -> Iterator[ReceivedFrame]:
        due_s = self._now() + self._settings.open_timeout_s
        for packet in self._packets():
            for picture, camera_ms in self._decoded(packet):
                due_s = self._now() + self._settings.open_timeout_s
                yield self._shot(picture, camera_ms)
            if self._now() > due_s:
                raise Lost("refused", NOT_DECODED)
        raise Lost("refused", TOO_MUCH) if self._meter.is_over else Lost("offline", HUNG_UP)

    def _decoded(self, packet: Packet[Any]) -> Iterator[tuple[VideoFrame, float | None]]:
        try:
            yield from self._decoder.decode(packet, self._camera_ms(packet))
        except FrameTooLarge as error:
            raise frame_too_large(str(error)) from None

    def _packets(self) -> Iterator[Packet[Any]]:
        asked_s = self._now()
        try:
            for packet in self._container.demux():
                is_video = packet.stream is self._stream
                self._meter.packet()
                # When FFmpeg has waited in vain it first gives what its parser still held.
                if self._now() - asked_s >= self._settings.read_timeout_s:
                    self._give_up("stale", int(is_video and packet.size > 0))
                    raise Lost("offline", silent(self._settings.read_timeout_s))
                # Sound is read as well, and left, so that it alone keeps no camera online.
                if is_video:
                    yield packet
                    asked_s = self._now()
        except av.FFmpegError as error:
            if self._meter.is_over:
                raise Lost("refused", TOO_MUCH) from None
            raise broken(error, self._settings.read_timeout_s) from None

    def _camera_ms(self, packet: Packet[Any]) -> float | None:
        """What the camera's RTCP reports tell of an RTSP packet's time."""
        if self._scheme.format != "rtsp" or not packet.has_sidedata("prft"):
            return None
        told = bytes(packet.get_sidedata("prft"))
        return int.from_bytes(told[:8], sys.byteorder, signed=True) / 1000

    def _shot(self, picture: VideoFrame, camera_ms: float | None) -> ReceivedFrame:
        if self._container.format.flags & NO_STAMPS:
            return ReceivedFrame(picture, self._now())
        return ReceivedFrame(picture, picture.time, camera_ms)

    def _new_line(self) -> Line:
        if self._address.scheme == "listen":
            return Line(port=self._port)
        try:
            places = socket.getaddrinfo(self._address.hostname, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise Lost("offline", UNKNOWN_HOST) from None
        return Line(frozenset((str(place[0]), int(place[1])) for *_, place in places))

    def _open(self) -> InputContainer:
        open_timeout_s, read_timeout_s = (
            self._settings.open_timeout_s,
            self._settings.read_timeout_s,
        )
        options = {
            "protocol_whitelist": self._scheme.protocols,
            "probesize": str(PROBE_BYTES),
            # FFmpeg's own limit, microseconds: the other one, below, does not hold for good-byes.
            "timeout": str(round(2e6 * max(open_timeout_s, read_timeout_s))),
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
                format=self._scheme.format or self._http_format or None,
                options=options,
                metadata_errors="replace",
                timeout=(open_timeout_s, read_timeout_s),
            )
        except av.FFmpegError as error:
            if self._meter.is_over:
                raise Lost("refused", TOO_MUCH) from None
            if listens:
                raise not_heard(error) from None
            after_s, is_http = self._now() - began_s, self._scheme.format is None
            if self._address.scheme in ("rtsps", "https"):
                check_tls(str(self._address.hostname), self._port, self._settings)
            raise not_called(error, after_s, open_timeout_s, is_http) from None


def _video_stream(container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise Lost("refused", NO_VIDEO)
    if stream.codec_context is None:
        raise Lost("refused", NOT_DECODED)
    stream.thread_count = 1
    return stream
