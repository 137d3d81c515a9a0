"""Why there is no connection to a live camera: one sentence that names the remedy, and never the
address, so that no credential can be in it."""

from __future__ import annotations

import errno
from typing import Literal

from av import FFmpegError, error


class ConnectionLost(Exception):
    """A connection could not be made, or has ended.

    `state`: "offline" where the camera may come back by itself, "refused" where a person has to
    change something. `retry_at_once`: the next attempt need not wait.
    """

    def __init__(
        self, state: Literal["offline", "refused"], reason: str, retry_at_once: bool = False
    ) -> None:
        super().__init__(reason)
        self.state, self.reason, self.retry_at_once = state, reason, retry_at_once


CONNECTION_CLOSED = (
    "the camera closed the connection: check whether it restarts, or has too many viewers"
)
NO_VIDEO = "no video in it: choose another stream of the camera"
NOT_DECODED = "its video cannot be decoded: set the camera to H.264 or H.265"
NO_FRAME_IN_DATA = "it sends data without end but no frame: give the url of a camera's video"
REDIRECTED = "it redirects elsewhere, as a playlist does: give the stream's own url"
UNKNOWN_HOST = "unknown host: correct the camera's address, or check the network's DNS"
MEANINGS: tuple[tuple[type[FFmpegError], Literal["offline", "refused"], str], ...] = (
    (
        error.HTTPUnauthorizedError,
        "refused",
        "wrong user or password: correct them in the camera's url",
    ),
    (
        error.HTTPForbiddenError,
        "refused",
        "the camera denies access: allow this user to view the stream",
    ),
    (
        error.HTTPNotFoundError,
        "refused",
        "no stream at this path: correct the path in the camera's url",
    ),
    (
        error.HTTPClientError,
        "refused",
        "the camera has no video there, or denies access to it: correct its url",
    ),
    (
        error.HTTPServerError,
        "offline",
        "the camera reports an internal error: restart it if that persists",
    ),
    (
        error.ConnectionRefusedError,
        "offline",
        "connection refused: switch the camera on, or correct address and port",
    ),
)
"""What the answer of a camera, or of its host, means: error, state, reason."""


def explain_open_error(
    fault: FFmpegError, after_s: float, open_timeout_s: float, is_http: bool
) -> ConnectionLost:
    """Why connecting to a camera failed, `after_s` seconds after it began."""
    for kind, state, reason in MEANINGS:
        if isinstance(fault, kind):
            return ConnectionLost(state, reason)
    # RTSP turns a time-out into "invalid data".
    if _is_timeout(fault) or after_s >= open_timeout_s:
        return ConnectionLost("offline", no_answer_within(open_timeout_s))
    if isinstance(fault, OSError) and fault.errno not in (errno.EIO, errno.EPERM):
        return explain_os_error(fault)
    if not is_http:
        return ConnectionLost(
            "offline", "it closed the connection, or does not speak RTSP: check address and port"
        )
    if isinstance(fault, error.ArgumentError):
        # Refused by the whitelists of protocols and formats.
        return ConnectionLost("refused", REDIRECTED)
    return ConnectionLost(
        "refused", "not a video: give the url of an MJPEG, MPEG-TS, mp4 or mkv stream"
    )


def explain_listen_error(fault: FFmpegError) -> ConnectionLost:
    """Why no camera is pushing to an address that we listen on."""
    if _is_timeout(fault):
        return ConnectionLost(
            "offline", "no camera has connected yet: let it push to this port", retry_at_once=True
        )
    if isinstance(fault, OSError) and fault.errno != errno.EIO:
        return ConnectionLost(
            "offline", f"cannot listen there ({fault.strerror}): choose another port"
        )
    return ConnectionLost(
        "offline",
        "a client closed the connection, or pushed no video: check what the camera pushes",
    )


def refuse_frame_size(what: str) -> ConnectionLost:
    """A frame larger than the settings allow; it is not decoded."""
    remedy = "set the camera to fewer pixels, or raise source.max_side_px and max_megapixels"
    return ConnectionLost("refused", f"it sends {what}: {remedy}")


def explain_read_error(fault: FFmpegError, read_timeout_s: float) -> ConnectionLost:
    """Why a connection that had delivered frames broke."""
    if _is_timeout(fault):
        return ConnectionLost("offline", no_frame_within(read_timeout_s))
    return ConnectionLost("offline", f"the connection broke ({fault.strerror}): check the network")


def explain_status(status: int) -> ConnectionLost:
    """What an HTTP status other than success means."""
    known = {401: error.HTTPUnauthorizedError, 403: error.HTTPForbiddenError}
    kind = error.HTTPServerError if status >= 500 else error.HTTPClientError
    kind = (known | {404: error.HTTPNotFoundError}).get(status, kind)
    return next(
        ConnectionLost(state, reason) for answer, state, reason in MEANINGS if answer is kind
    )


def explain_os_error(fault: OSError) -> ConnectionLost:
    """What the system's error about a connection means."""
    if isinstance(fault, ConnectionRefusedError):
        return next(
            ConnectionLost(s, why) for kind, s, why in MEANINGS if issubclass(kind, type(fault))
        )
    if isinstance(fault, ConnectionError):
        return ConnectionLost("offline", CONNECTION_CLOSED)
    return ConnectionLost("offline", f"cannot be reached ({fault.strerror}): check the network")


def no_answer_within(open_timeout_s: float) -> str:
    """The reason when nobody answered for so long."""
    return f"no answer within {open_timeout_s:g} s: check the camera and the network"


def no_frame_within(read_timeout_s: float) -> str:
    """The reason when no frame came for so long."""
    return f"no frame for {read_timeout_s:g} s: check the camera and the network"


def _is_timeout(fault: FFmpegError) -> bool:
    return isinstance(fault, error.ExitError | error.TimeoutError)
