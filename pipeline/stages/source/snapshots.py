"""A camera that answers each HTTP request with one picture: asked again and again."""

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
from pipeline.stages.source.decoder import GiveUp
from pipeline.stages.source.frame_decoder import FrameDecoder, FrameTooLarge, decoder_options
from pipeline.stages.source.http_client import HttpClient, LeadsElsewhere
from pipeline.stages.source.lost import (
    ELSEWHERE,
    HUNG_UP,
    NOT_DECODED,
    TOO_MUCH,
    UNKNOWN_HOST,
    Lost,
    for_status,
    frame_too_large,
    late,
    silent,
    unreachable,
)
from pipeline.stages.source.meter import MOST_BYTES
from pipeline.stages.source.shot import ReceivedFrame
from pipeline.stages.source.trust import check_tls

POLL_FPS = 5.0
"""How often it is asked where all of its pictures are wanted: few cameras make more."""
CHUNK_BYTES = 1 << 16
HEAD_BYTES = 12
RAW_MJPEG = "mjpeg"
HEADERS = {"Accept": "*/*", "User-Agent": "undercam"}
_BY_MAGIC = {b"\xff\xd8\xff": "jpeg_pipe", b"\x89PNG\r\n\x1a\n": "png_pipe"}
_JOINT = b"\xff\xd9\xff\xd8"
"""Where one JPEG ends and another begins."""


class IsStream(Exception):
    """What answers is not one picture; whatever it is, it is for FFmpeg, which needs to be told its
    `format` where it is not ""."""

    def __init__(self, format: str = "") -> None:
        super().__init__(format)
        self.format = format


@dataclass(frozen=True)
class _Picture:
    """An answer: the bytes, and FFmpeg's name of their format."""

    data: bytes
    format: str


class Snapshots(Closing):
    """A context manager that asks for the first picture; `shots` then gives one for each that is
    another than the last, asked for `fps` times a second (0: POLL_FPS). Both raise Lost, and
    IsStream where the answer is no single JPEG, PNG or WebP picture.

    Their time is that of arrival; media time goes by the beat at which they are asked for.
    """

    def __init__(
        self,
        address: SplitResult,
        settings: SourceSettings,
        fps: float,
        give_up: GiveUp,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = HttpClient(address, settings)
        self._address, self._settings, self._now = address, settings, now
        self._period_s, self._give_up = 1 / (fps or POLL_FPS), give_up
        self._digest, self._etag = b"", ""
        self._hung_up = Event()

    def __enter__(self) -> Self:
        self._due_s = self._now()
        try:
            self._first = self._poll(is_first=True)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def hang_up(self) -> None:
        """End what another thread waits for in here, as soon as can be."""
        self._hung_up.set()
        self._client.hang_up()

    def shots(self) -> Generator[ReceivedFrame]:
        """The pictures as they come, until the connection is lost."""
        picture, good_s = self._first, self._now()
        while not self._hung_up.is_set():
            frame = picture and _decoded(picture, self._settings.frame_limit)
            if frame:
                yield ReceivedFrame(frame, self._due_s)
            elif picture:
                self._give_up(UNDECODABLE, 1)
            if frame or not picture:
                good_s = self._now()
            elif self._now() - good_s > self._settings.open_timeout_s:
                raise Lost("refused", NOT_DECODED)
            # On a beat, and not so long after the last: else every other one were not due.
            beats = max((self._now() - self._due_s) // self._period_s, 0) + 1
            self._due_s += beats * self._period_s
            self._hung_up.wait(self._due_s - self._now())
            picture = self._poll()

    def _poll(self, is_first: bool = False) -> _Picture | None:
        """A picture, or None where it is still the last one."""
        if self._hung_up.is_set():
            return None
        headers = HEADERS | ({"If-None-Match": self._etag} if self._etag else {})
        until_s = self._now() + self._settings.open_timeout_s
        try:
            answer = self._client.get(headers)
            if answer.status == 304 and self._etag:
                answer.read()
                return None
            if answer.status >= 300:
                raise for_status(answer.status)
            return self._picture(answer, until_s)
        except LeadsElsewhere:
            raise Lost("refused", ELSEWHERE) from None
        except TimeoutError:
            open_timeout_s, read_timeout_s = (
                self._settings.open_timeout_s,
                self._settings.read_timeout_s,
            )
            raise Lost(
                "offline", late(open_timeout_s) if is_first else silent(read_timeout_s)
            ) from None
        except socket.gaierror:
            raise Lost("offline", UNKNOWN_HOST) from None
        except OSError as error:
            if self._address.scheme == "https":
                port = self._address.port or 443
                check_tls(str(self._address.hostname), port, self._settings)
            raise unreachable(error) from None
        except (http.client.HTTPException, ValueError):
            if is_first:
                raise IsStream from None
            raise Lost("offline", HUNG_UP) from None

    def _picture(self, answer: http.client.HTTPResponse, until_s: float) -> _Picture | None:
        kind = answer.headers.get_content_type() if answer.headers["Content-Type"] else ""
        if not kind.startswith("image/") and kind not in ("", "application/octet-stream"):
            is_mjpeg = kind == "multipart/x-mixed-replace"
            raise IsStream("" if not is_mjpeg or _has_boundary(answer) else RAW_MJPEG)
        length = answer.length
        head = _read(answer, HEAD_BYTES)
        picture_format = _format(head)
        if not picture_format:
            raise IsStream
        data = bytearray(head)
        while chunk := _more(answer, length, len(data)):
            data += chunk
            if length is None and _JOINT in data[-len(chunk) - len(_JOINT) :]:
                raise IsStream(RAW_MJPEG)
            if len(data) > MOST_BYTES:
                raise Lost("refused", TOO_MUCH)
            if self._now() > until_s:
                raise TimeoutError
        if length is not None and len(data) < length:
            raise Lost("offline", HUNG_UP)
        answer.close()
        self._etag = answer.headers["ETag"] or ""
        digest = hashlib.sha256(data).digest()
        if digest == self._digest:
            return None
        self._digest = digest
        return _Picture(bytes(data), picture_format)


def _has_boundary(answer: http.client.HTTPResponse) -> bool:
    """Some cameras begin with the head of the first picture; FFmpeg then finds no picture at all,
    but finds each when it takes the heads for rubbish between pictures."""
    head = _read(answer, HEAD_BYTES).lstrip()
    return not head or b"--".startswith(head[:2])


def _more(answer: http.client.HTTPResponse, length: int | None, got: int) -> bytes:
    """What is there of a body of known or unknown length."""
    # Python 3.11's read1 forgets what it has read before, and would wait at the end for more.
    most = CHUNK_BYTES if length is None else min(CHUNK_BYTES, length - got)
    return answer.read1(most) if most > 0 else b""


def _read(answer: http.client.HTTPResponse, most: int) -> bytes:
    length, data = answer.length, b""
    most = most if length is None else min(most, length)
    while len(data) < most and (chunk := answer.read1(most - len(data))):
        data += chunk
    return data


def _format(head: bytes) -> str:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp_pipe"
    return next((name for magic, name in _BY_MAGIC.items() if head.startswith(magic)), "")


def _decoded(picture: _Picture, limit: FrameLimit) -> VideoFrame | None:
    """The image, None where it is damaged; raises Lost for one that is too large."""
    options = decoder_options(limit)
    try:
        with av.open(
            io.BytesIO(picture.data), "r", format=picture.format, options=options
        ) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            decoder = FrameDecoder(stream, limit)
            frames = (
                frame for packet in container.demux(stream) for frame in decoder.decode(packet)
            )
            frame = next(frames, None)
    except FrameTooLarge as error:
        raise frame_too_large(str(error)) from None
    except (av.FFmpegError, IndexError):
        return None
    return None if frame is None or frame.is_corrupt else frame
