"""A camera that answers each HTTP request with one image: polled at the rate of analysis."""

from __future__ import annotations

import hashlib
import http.client
import io
import socket
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from threading import Event
from typing import Self
from urllib.parse import SplitResult

import av
from av.video.frame import VideoFrame

from models.frame_size import FrameLimit
from pipeline.closing import Closing
from pipeline.frames import UNDECODABLE
from pipeline.settings import SourceSettings
from pipeline.stages.source.base import ReceivedFrame
from pipeline.stages.source.connection_errors import (
    CONNECTION_CLOSED,
    NO_FRAME_IN_DATA,
    NOT_DECODED,
    REDIRECTED,
    UNKNOWN_HOST,
    ConnectionLost,
    explain_os_error,
    explain_status,
    no_answer_within,
    no_frame_within,
    refuse_frame_size,
)
from pipeline.stages.source.decoding import FrameDecoder, FrameTooLarge, OnShed, decoder_options
from pipeline.stages.source.http_client import HttpClient, RedirectRefused
from pipeline.stages.source.sockets import MAX_BYTES
from pipeline.stages.source.tls import check_tls

POLL_FPS = 5.0
"""Requests a second where every frame is to be analysed: few cameras make more images."""
CHUNK_BYTES = 1 << 16
HEAD_BYTES = 12
RAW_MJPEG = "mjpeg"
HEADERS = {"Accept": "*/*", "User-Agent": "undercam"}
_BY_MAGIC = {b"\xff\xd8\xff": "jpeg_pipe", b"\x89PNG\r\n\x1a\n": "png_pipe"}
_JOINT = b"\xff\xd9\xff\xd8"
"""Where one JPEG ends and another begins."""


class NotASnapshot(Exception):
    """The response is not one image but perhaps a stream: FFmpeg is to read it, as `format` unless
    that is ""."""

    def __init__(self, format: str = "") -> None:
        super().__init__(format)
        self.format = format


@dataclass(frozen=True)
class _Image:
    """An encoded image: the bytes, and FFmpeg's name of their format."""

    data: bytes
    format: str


class SnapshotConnection(Closing):
    """A context manager that requests the first image; `frames` then gives one for each that
    differs from the last, requested `settings.analyse_fps` times a second (0: POLL_FPS). Both raise
    ConnectionLost, and NotASnapshot where the response is no single JPEG, PNG or WebP image.

    Capture time is the time of arrival; media time follows the beat of the requests.
    """

    def __init__(
        self,
        address: SplitResult,
        settings: SourceSettings,
        on_shed: OnShed,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = HttpClient(address, settings)
        self._address, self._settings, self._now = address, settings, now
        self._period_s, self._on_shed = 1 / (settings.analyse_fps or POLL_FPS), on_shed
        self._digest, self._etag = b"", ""
        self._aborted = Event()

    def __enter__(self) -> Self:
        self._due_s = self._now()
        try:
            self._first = self._poll(is_first=True)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def abort(self) -> None:
        """End, as soon as possible, what another thread waits for in here."""
        self._aborted.set()
        self._client.abort()

    def frames(self) -> Generator[ReceivedFrame]:
        """The images as they come, until the connection is lost."""
        image, decoded_s = self._first, self._now()
        while not self._aborted.is_set():
            frame = image and _decode(image, self._settings.frame_limit)
            if frame:
                yield ReceivedFrame(frame, self._due_s)
            elif image:
                self._on_shed(UNDECODABLE, 1)
            if frame or not image:
                decoded_s = self._now()
            elif self._now() - decoded_s > self._settings.open_timeout_s:
                raise ConnectionLost("refused", NOT_DECODED)
            # On the beat, not a period after the last response: else the sampler would skip every
            # other.
            beats = max((self._now() - self._due_s) // self._period_s, 0) + 1
            self._due_s += beats * self._period_s
            self._aborted.wait(self._due_s - self._now())
            image = self._poll()

    def _poll(self, is_first: bool = False) -> _Image | None:
        """The next image, or None where it is still the last one."""
        if self._aborted.is_set():
            return None
        headers = HEADERS | ({"If-None-Match": self._etag} if self._etag else {})
        until_s = self._now() + self._settings.open_timeout_s
        try:
            response = self._client.get(headers)
            if response.status == 304 and self._etag:
                response.read()
                return None
            if response.status >= 300:
                raise explain_status(response.status)
            return self._image(response, until_s)
        except RedirectRefused:
            raise ConnectionLost("refused", REDIRECTED) from None
        except TimeoutError:
            open_timeout_s, read_timeout_s = (
                self._settings.open_timeout_s,
                self._settings.read_timeout_s,
            )
            raise ConnectionLost(
                "offline",
                no_answer_within(open_timeout_s) if is_first else no_frame_within(read_timeout_s),
            ) from None
        except socket.gaierror:
            raise ConnectionLost("offline", UNKNOWN_HOST) from None
        except OSError as error:
            if self._address.scheme == "https":
                port = self._address.port or 443
                check_tls(str(self._address.hostname), port, self._settings)
            raise explain_os_error(error) from None
        except (http.client.HTTPException, ValueError):
            if is_first:
                raise NotASnapshot from None
            raise ConnectionLost("offline", CONNECTION_CLOSED) from None

    def _image(self, response: http.client.HTTPResponse, until_s: float) -> _Image | None:
        kind = response.headers.get_content_type() if response.headers["Content-Type"] else ""
        if not kind.startswith("image/") and kind not in ("", "application/octet-stream"):
            is_mjpeg = kind == "multipart/x-mixed-replace"
            raise NotASnapshot("" if not is_mjpeg or _has_boundary(response) else RAW_MJPEG)
        length = response.length
        head = _read(response, HEAD_BYTES)
        image_format = _format(head)
        if not image_format:
            raise NotASnapshot
        data = bytearray(head)
        while chunk := _more(response, length, len(data)):
            data += chunk
            if length is None and _JOINT in data[-len(chunk) - len(_JOINT) :]:
                raise NotASnapshot(RAW_MJPEG)
            if len(data) > MAX_BYTES:
                raise ConnectionLost("refused", NO_FRAME_IN_DATA)
            if self._now() > until_s:
                raise TimeoutError
        if length is not None and len(data) < length:
            raise ConnectionLost("offline", CONNECTION_CLOSED)
        response.close()
        self._etag = response.headers["ETag"] or ""
        digest = hashlib.sha256(data).digest()
        if digest == self._digest:
            return None
        self._digest = digest
        return _Image(bytes(data), image_format)


def _has_boundary(response: http.client.HTTPResponse) -> bool:
    """Whether multipart MJPEG begins with a boundary. Some cameras begin with the header of the
    first image; FFmpeg's demuxer for multipart then finds no image, but its raw MJPEG demuxer,
    which skips the headers as garbage, finds every one."""
    head = _read(response, HEAD_BYTES).lstrip()
    return not head or b"--".startswith(head[:2])


def _more(response: http.client.HTTPResponse, length: int | None, got: int) -> bytes:
    """What is available of a body of known or unknown length."""
    # Python 3.11's read1 forgets what it has read before, and would wait at the end for more.
    most = CHUNK_BYTES if length is None else min(CHUNK_BYTES, length - got)
    return response.read1(most) if most > 0 else b""


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    length, data = response.length, b""
    most = most if length is None else min(most, length)
    while len(data) < most and (chunk := response.read1(most - len(data))):
        data += chunk
    return data


def _format(head: bytes) -> str:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp_pipe"
    return next((name for magic, name in _BY_MAGIC.items() if head.startswith(magic)), "")


def _decode(image: _Image, limit: FrameLimit) -> VideoFrame | None:
    """The image, None where it is damaged; raises ConnectionLost for one that is too large."""
    options = decoder_options(limit)
    try:
        with av.open(
            io.BytesIO(image.data), "r", format=image.format, options=options
        ) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            decoder = FrameDecoder(stream, limit)
            frames = (
                frame for packet in container.demux(stream) for frame in decoder.decode(packet)
            )
            frame = next(frames, None)
    except FrameTooLarge as error:
        raise refuse_frame_size(str(error)) from None
    except (av.FFmpegError, IndexError):
        return None
    return None if frame is None or frame.is_corrupt else frame
