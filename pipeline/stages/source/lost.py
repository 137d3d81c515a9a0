"""Why there is no connection to a live camera, in one sentence that names the remedy and no
address: so no credential can be in it."""

from __future__ import annotations

import errno
from typing import Literal

from av import FFmpegError, error


class Lost(Exception):
    """A connection could not be made, or has ended.

    `state`: "offline" where the camera may come back by itself, "refused" where a person has to
    change something. `at_once`: the next try need not wait.
    """

    def __init__(
        self, state: Literal["offline", "refused"], reason: str, at_once: bool = False
    ) -> None:
        super().__init__(reason)
        self.state, self.reason, self.at_once = state, reason, at_once


HUNG_UP = "the camera hung up: look whether it restarts, or has too many viewers"
NO_VIDEO = "no video in it: choose another stream of the camera"
NOT_DECODED = "its pictures cannot be decoded: set the camera to H.264 or H.265"
TOO_MUCH = "it sends on and on, and no picture: give the url of a camera's video"
ELSEWHERE = "it leads elsewhere, as a playlist does: give the stream's own url"
UNKNOWN_HOST = "unknown host: correct the camera's address, or see to the network's DNS"
ANSWERS: tuple[tuple[type[FFmpegError], Literal["offline", "refused"], str], ...] = (
    (
        error.HTTPUnauthorizedError,
        "refused",
        "wrong user or password: correct them in the camera's url",
    ),
    (error.HTTPForbiddenError, "refused", "the camera forbids it: allow this user to watch"),
    (error.HTTPNotFoundError, "refused", "nothing at this path: correct the camera's url"),
    (
        error.HTTPClientError,
        "refused",
        "the camera has no video there, or refuses to show it: correct its url",
    ),
    (
        error.HTTPServerError,
        "offline",
        "the camera reports a fault of its own: restart it if that lasts",
    ),
    (
        error.ConnectionRefusedError,
        "offline",
        "nobody listens there: switch the camera on, or correct address and port",
    ),
)
"""What a camera, or its host, answers."""


def not_called(fault: FFmpegError, after_s: float, open_timeout_s: float, is_http: bool) -> Lost:
    """A camera that we called could not be opened, as it turned out after so many seconds."""
    for kind, state, reason in ANSWERS:
        if isinstance(fault, kind):
            return Lost(state, reason)
    # RTSP turns a time-out into "invalid data".
    if _is_late(fault) or after_s >= open_timeout_s:
        return Lost("offline", late(open_timeout_s))
    if isinstance(fault, OSError) and fault.errno not in (errno.EIO, errno.EPERM):
        return unreachable(fault)
    if not is_http:
        return Lost("offline", "it hung up, or speaks no RTSP: check address and port")
    if isinstance(fault, error.ArgumentError):
        # By the white lists of protocols and formats.
        return Lost("refused", ELSEWHERE)
    return Lost("refused", "not a video: give the url of an MJPEG, MPEG-TS, mp4 or mkv stream")


def not_heard(fault: FFmpegError) -> Lost:
    """No camera called us, or not as it should."""
    if _is_late(fault):
        return Lost("offline", "no camera has called yet: let it push to this port", at_once=True)
    if isinstance(fault, OSError) and fault.errno != errno.EIO:
        return Lost("offline", f"cannot listen there ({fault.strerror}): choose another port")
    return Lost("offline", "a caller hung up, or pushed no video: check what the camera pushes")


def frame_too_large(what: str) -> Lost:
    """A frame that the settings forbid; it is not decoded."""
    remedy = "set the camera to fewer pixels, or raise source.max_side_px and max_megapixels"
    return Lost("refused", f"it sends {what}: {remedy}")


def broken(fault: FFmpegError, read_timeout_s: float) -> Lost:
    """Nothing more comes over a connection that was good."""
    if _is_late(fault):
        return Lost("offline", silent(read_timeout_s))
    return Lost("offline", f"the connection broke ({fault.strerror}): check the network")


def for_status(status: int) -> Lost:
    """What an HTTP status other than success means."""
    known = {401: error.HTTPUnauthorizedError, 403: error.HTTPForbiddenError}
    kind = error.HTTPServerError if status >= 500 else error.HTTPClientError
    kind = (known | {404: error.HTTPNotFoundError}).get(status, kind)
    return next(Lost(state, reason) for answer, state, reason in ANSWERS if answer is kind)


def unreachable(fault: OSError) -> Lost:
    """The system's own word on a connection that could not be made, or broke."""
    if isinstance(fault, ConnectionRefusedError):
        return next(Lost(s, why) for kind, s, why in ANSWERS if issubclass(kind, type(fault)))
    if isinstance(fault, ConnectionError):
        return Lost("offline", HUNG_UP)
    return Lost("offline", f"cannot be reached ({fault.strerror}): check the network")


def late(open_timeout_s: float) -> str:
    """Nobody answered for so long."""
    return f"no answer within {open_timeout_s:g} s: check the camera and the network"


def silent(read_timeout_s: float) -> str:
    """Nothing came for so long."""
    return f"no picture for {read_timeout_s:g} s: check the camera and the network"


def _is_late(fault: FFmpegError) -> bool:
    return isinstance(fault, error.ExitError | error.TimeoutError)
