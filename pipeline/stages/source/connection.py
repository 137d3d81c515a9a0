"""One connection to a live camera: opened, read until it is lost, closed.

FFmpeg may use the protocols and formats named here and no others, so that neither a redirect nor a
playlist makes it read a file or connect to another service.
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
from pipeline.stages.source.base import ReceivedFrame
from pipeline.stages.source.connection_errors import (
    CONNECTION_CLOSED,
    NO_FRAME_IN_DATA,
    NO_VIDEO,
    NOT_DECODED,
    UNKNOWN_HOST,
    ConnectionLost,
    explain_listen_error,
    explain_open_error,
    explain_read_error,
    no_frame_within,
    refuse_frame_size,
)
from pipeline.stages.source.decoding import FrameTooLarge, LiveDecoder, OnShed, decoder_options
from pipeline.stages.source.packet_filter import PacketFilter
from pipeline.stages.source.sockets import ByteLimit, CameraSockets
from pipeline.stages.source.tls import check_tls, tls_options

PROBE_BYTES = 32_000
"""Read before the first frame; FFmpeg's own 5 MB make opening twelve times slower."""
NO_STAMPS = 0x80
"""FFmpeg's flag of a format without time stamps: what it calls one is a count of frames."""


@dataclass(frozen=True)
class _Scheme:
    """How FFmpeg opens an address: default port, protocols that it may use, further options."""

    port: int
    protocols: str
    format: str | None = "rtsp"
    options: dict[str, str] = field(default_factory=dict)


_CLIENT = {"rtsp_transport": "tcp", "allowed_media_types": "video"}
# Seconds; longer than any open_timeout_s, which is the one that ends the wait.
_LISTEN = {"rtsp_flags": "listen", "listen_timeout": "600", "allowed_media_types": "video"}
_FORMATS = "mpjpeg,mjpeg,mpegts,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,flv,h264,hevc"
_HTTP = {"format_whitelist": _FORMATS}
_SCHEMES = {
    "rtsp": _Scheme(554, "tcp", options=_CLIENT),
    "rtsps": _Scheme(322, "tls,tcp", options=_CLIENT),
    "listen": _Scheme(554, "tcp", options=_LISTEN),
    "http": _Scheme(80, "http,https,tls,tcp", format=None, options=_HTTP),
    "https": _Scheme(443, "https,tls,tcp", format=None, options=_HTTP),
}


class Connection(Closing):
    """A context manager that connects; `frames` then gives the frames. Both raise ConnectionLost.

    `address`: `rtsp(s)://` and `http(s)://` connect to the camera; `listen://HOST:PORT/NAME` waits
    until one camera connects and pushes RTSP, under any name. `http_format`: FFmpeg's name of the
    format that HTTP delivers, where FFmpeg cannot detect it. `on_left_out` is called for each frame
    that is not decoded because it would be skipped (see `packet_filter`).
    """

    def __init__(
        self,
        address: SplitResult,
        settings: SourceSettings,
        on_shed: OnShed = lambda cause, frames: None,
        on_left_out: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
        http_format: str = "",
    ) -> None:
        self._http_format = http_format
        self._address = address
        self._scheme = _SCHEMES[self._address.scheme]
        self._port = self._address.port or self._scheme.port
        self._settings, self._on_shed, self._now = settings, on_shed, now
        self._on_left_out = on_left_out
        self._sockets: CameraSockets | None = None

    def __enter__(self) -> Self:
        self._sockets = self._new_sockets()
        self._byte_limit = ByteLimit(self._sockets)
        try:
            self._container = self._open()
            self._sockets.freeze()
            try:
                self._stream = _video_stream(self._container)
                self._decoder = LiveDecoder(self._stream, self._on_shed, self._settings.frame_limit)
                self._filter = self._new_filter(self._stream)
            except ConnectionLost:
                self._container.close()
                raise
            except FrameTooLarge as error:
                self._container.close()
                raise refuse_frame_size(str(error)) from None
        except BaseException:
            self._byte_limit.stop()
            raise
        return self

    def close(self) -> None:
        """Close the connection."""
        self._byte_limit.stop()
        self._container.close()

    def abort(self) -> None:
        """End, as soon as possible, what another thread waits for in here."""
        if self._sockets:
            self._sockets.shut_down()

    def frames(self) -> Generator[ReceivedFrame]:
        """The frames as they come, until the connection is lost."""
        try:
            yield from self._received_frames()
        except ConnectionLost:
            for frame, camera_ms in self._decoder.flush():
                yield self._receive(frame, camera_ms)
            raise
        finally:
            self._decoder.end("stopped")

    def _received_frames(self) -> Iterator[ReceivedFrame]:
        decoded_by_s = self._now() + self._settings.open_timeout_s
        for packet in self._packets():
            if self._leaves_out(packet):
                self._on_left_out()
                continue
            for frame, camera_ms in self._decode(packet):
                decoded_by_s = self._now() + self._settings.open_timeout_s
                yield self._receive(frame, camera_ms)
            if self._now() > decoded_by_s:
                raise ConnectionLost("refused", NOT_DECODED)
        if self._byte_limit.is_exceeded:
            raise ConnectionLost("refused", NO_FRAME_IN_DATA)
        raise ConnectionLost("offline", CONNECTION_CLOSED)

    def _new_filter(self, stream: VideoStream) -> PacketFilter:
        settings = self._settings
        wanted_fps = 0.0 if settings.decode_skipped else settings.analyse_fps
        return PacketFilter(stream.codec_context.name, wanted_fps)

    def _leaves_out(self, packet: Packet[Any]) -> bool:
        has_stamp = packet.dts is not None and not self._container.format.flags & NO_STAMPS
        at_s = float(packet.dts * packet.time_base) if has_stamp else self._now()  # type: ignore[operator]
        return self._filter.leaves_out(packet, at_s)

    def _decode(self, packet: Packet[Any]) -> Iterator[tuple[VideoFrame, float | None]]:
        try:
            yield from self._decoder.decode(packet, self._camera_ms(packet))
        except FrameTooLarge as error:
            raise refuse_frame_size(str(error)) from None

    def _packets(self) -> Iterator[Packet[Any]]:
        waiting_since_s = self._now()
        try:
            for packet in self._container.demux():
                is_video = packet.stream is self._stream
                self._byte_limit.reset()
                # After a time-out FFmpeg first returns what its parser still held.
                if self._now() - waiting_since_s >= self._settings.read_timeout_s:
                    self._on_shed("stale", int(is_video and packet.size > 0))
                    raise ConnectionLost("offline", no_frame_within(self._settings.read_timeout_s))
                # Audio is read too, and dropped: a camera that sends nothing else is not online.
                if is_video:
                    yield packet
                    waiting_since_s = self._now()
        except av.FFmpegError as error:
            if self._byte_limit.is_exceeded:
                raise ConnectionLost("refused", NO_FRAME_IN_DATA) from None
            raise explain_read_error(error, self._settings.read_timeout_s) from None

    def _camera_ms(self, packet: Packet[Any]) -> float | None:
        """Capture time of an RTSP packet by the camera's RTCP reports, UTC."""
        if self._scheme.format != "rtsp" or not packet.has_sidedata("prft"):
            return None
        prft = bytes(packet.get_sidedata("prft"))
        return int.from_bytes(prft[:8], sys.byteorder, signed=True) / 1000

    def _receive(self, frame: VideoFrame, camera_ms: float | None) -> ReceivedFrame:
        if self._container.format.flags & NO_STAMPS:
            return ReceivedFrame(frame, self._now())
        return ReceivedFrame(frame, frame.time, camera_ms)

    def _new_sockets(self) -> CameraSockets:
        if self._address.scheme == "listen":
            return CameraSockets(port=self._port)
        try:
            places = socket.getaddrinfo(self._address.hostname, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise ConnectionLost("offline", UNKNOWN_HOST) from None
        return CameraSockets(frozenset((str(place[0]), int(place[1])) for *_, place in places))

    def _open(self) -> InputContainer:
        open_timeout_s, read_timeout_s = (
            self._settings.open_timeout_s,
            self._settings.read_timeout_s,
        )
        options = {
            "protocol_whitelist": self._scheme.protocols,
            "probesize": str(PROBE_BYTES),
            # FFmpeg's own limit, microseconds: av's, below, does not cover closing the connection.
            "timeout": str(round(2e6 * max(open_timeout_s, read_timeout_s))),
            **decoder_options(self._settings.frame_limit),
            **self._scheme.options,
            **(tls_options(self._settings) if "tls" in self._scheme.protocols else {}),
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
            if self._byte_limit.is_exceeded:
                raise ConnectionLost("refused", NO_FRAME_IN_DATA) from None
            if listens:
                raise explain_listen_error(error) from None
            after_s, is_http = self._now() - began_s, self._scheme.format is None
            if self._address.scheme in ("rtsps", "https"):
                check_tls(str(self._address.hostname), self._port, self._settings)
            raise explain_open_error(error, after_s, open_timeout_s, is_http) from None


def _video_stream(container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise ConnectionLost("refused", NO_VIDEO)
    if stream.codec_context is None:
        raise ConnectionLost("refused", NOT_DECODED)
    stream.thread_count = 1
    return stream
