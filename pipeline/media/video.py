"""Frames into a file: a video that every player and browser shows (H.264, yuv420p, BT.709), or one
image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from models.atomic_files import writing
from pipeline.errors import ConfigError, UndercamError
from pipeline.frames import Frame
from pipeline.records import Event, FaceObserved

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Container by the ending of the file's name."""
TICKS = 90_000
"""Time stamps count 1/90000 s, as MPEG does: 24, 25, 30 and 30000/1001 a second are exact in it."""
PRESET = "veryfast"
"""Of x264. On two clips superfast gave twice the bytes, medium as many in 2.5 times the time."""


class VideoWriter:
    """A context manager: the file appears, whole, when the block ends well, and not otherwise.

    Beside it grows `.NAME.PID.part`, which replaces it at the end or is removed. Without a frame no
    file is made. One encoding thread, and no algorithm chosen by the processor, so that the same
    frames give the same bytes everywhere: x264's choice for AVX-512 differs from run to run.

    `width`, `height`: of the frames, pixels; odd ones are padded to even by repeating the last row
    or column. `fps`: frames a second, where their times are not given.
    `crf`: 0 lossless .. 51 worst.

    Raises ConfigError for an unknown ending; UndercamError where nothing can be written, also
    from `write` and at the end of the block, when the disk is full.
    """

    def __init__(
        self, path: str | Path, width: int, height: int, fps: float, crf: int = 18
    ) -> None:
        self._path = Path(path)
        self._part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        if self._path.suffix.lower() not in FORMATS:
            raise ConfigError(
                "unknown kind of video", str(path), f"end its name in {', '.join(FORMATS)}"
            )
        self._shape = (height, width, 3)
        self._fps = fps
        self._crf = crf
        self._last_s: float | None = None
        self._reformatter = VideoReformatter()

    def __enter__(self) -> Self:
        try:
            if self._path.is_dir():
                raise IsADirectoryError(None, "a directory")
            self._part.touch()
        except OSError as error:
            raise self._to_error(error) from error
        kind = FORMATS[self._path.suffix.lower()]
        options = {"movflags": "+faststart"} if kind != "matroska" else {}
        self._container = av.open(str(self._part), "w", format=kind, options=options)
        self._stream = self._new_stream(self._container)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self._last_s is not None:
                self._finish()
        finally:
            with suppress(av.FFmpegError):
                self._container.close()
            self._part.unlink(missing_ok=True)

    def write(self, rgb: NDArray[np.uint8], pts_s: float | None = None) -> None:
        """Append one frame, (height, width, 3) uint8 RGB, shown from `pts_s` seconds on.

        None: 1/fps after the one before. Raises ValueError for another shape, or a time that is not
        later than the one before.
        """
        if rgb.shape != self._shape or rgb.dtype != np.uint8:
            raise ValueError(f"rgb: expected {self._shape} uint8, got {rgb.shape} {rgb.dtype}")
        last_s = self._last_s
        if pts_s is None:
            pts_s = 0.0 if last_s is None else last_s + 1 / self._fps
        if last_s is not None and round(pts_s * TICKS) <= round(last_s * TICKS):
            raise ValueError(f"pts_s: expected more than {last_s}, got {pts_s}")
        self._encode(self._to_yuv(rgb, pts_s))
        self._last_s = pts_s

    def _new_stream(self, container: OutputContainer) -> VideoStream:
        height, width, _ = self._shape
        options = {"crf": str(self._crf), "preset": PRESET, "x264-params": "cpu-independent=1"}
        rate = Fraction(self._fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        codec = stream.codec_context
        codec.time_base = Fraction(1, TICKS)
        codec.colorspace = 1  # AVCOL_SPC_BT709; av's own enum counts as swscale does
        codec.color_range = ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        return stream

    def _to_yuv(self, rgb: NDArray[np.uint8], pts_s: float) -> VideoFrame:
        height, width, _ = self._shape
        even = cv2.copyMakeBorder(rgb, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        frame = self._reformatter.reformat(
            VideoFrame.from_ndarray(even, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        frame.pts, frame.time_base = round(pts_s * TICKS), Fraction(1, TICKS)
        return frame

    def _encode(self, frame: VideoFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except av.FFmpegError as error:
            raise self._to_error(error) from error

    def _finish(self) -> None:
        self._encode(None)
        try:
            self._container.close()
            self._part.replace(self._path)
        except (av.FFmpegError, OSError) as error:
            raise self._to_error(error) from error

    def _to_error(self, error: OSError | av.FFmpegError) -> UndercamError:
        return UndercamError(
            f"cannot write the video ({error.strerror})",
            str(self._path),
            "give a path in a folder that this user may write to, with room left",
        )


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class ImageWriter:
    """A context manager with the interface of VideoWriter: the image appears, whole, when the block
    ends well, and not otherwise.

    Raises ConfigError for a second image; UndercamError at the end where nothing can be written.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._image: NDArray[np.uint8] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._image is not None:
            bgr = cv2.cvtColor(self._image, cv2.COLOR_RGB2BGR)
            _, encoded = cv2.imencode(self._path.suffix.lower(), bgr)
            with writing(self._path) as unfinished:
                unfinished.write_bytes(encoded.tobytes())

    def write(self, rgb: NDArray[np.uint8], pts_s: float | None = None) -> None:
        """Take the image, (height, width, 3) uint8 RGB."""
        if self._image is not None:
            raise _not_an_image(self._path)
        self._image = rgb


def open_writer(path: str | Path, width: int, height: int, fps: float) -> VideoWriter | ImageWriter:
    """An image or a video writer, by the suffix of the path; raises what VideoWriter raises."""
    return ImageWriter(path) if is_image_path(path) else VideoWriter(path, width, height, fps)


def is_image_path(path: str | Path) -> bool:
    """Whether a file of this name holds one image.

    >>> is_image_path("face.PNG"), is_image_path("face.mp4")
    (True, False)
    """
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def check_image_output(path: Path | None, frames: int | None) -> None:
    """Raise ConfigError where a clip is to be written to an image file; `frames`: of a short clip,
    as `Source.short_clip_frames`."""
    if path and is_image_path(path) and frames != 1:
        raise _not_an_image(path)


def _not_an_image(path: Path) -> ConfigError:
    return ConfigError(
        "the input is a clip, not an image", str(path), "end its name in .mp4, .mov or .mkv"
    )


@dataclass(frozen=True)
class FrameFit:
    """Scales the frames of a stream that changes its size to `width` by `height` pixels, whole,
    with black bars where the aspect ratio differs; and the boxes in them."""

    width: int
    height: int

    def frame(self, frame: Frame) -> Frame:
        """The frame in this size; the same object where it has this size already."""
        header = frame.header
        if (header.width, header.height) == (self.width, self.height):
            return frame
        left, top, width, height = self._place(header.width, header.height)
        image = np.zeros((self.height, self.width, 3), np.uint8)
        smaller = width < header.width
        image[top : top + height, left : left + width] = cv2.resize(
            frame.image,
            (width, height),
            interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR,
        )
        return Frame(replace(header, width=self.width, height=self.height), image)

    def events(self, events: Sequence[Event], frame: Frame) -> list[Event]:
        """The records of a frame, their boxes as shares of the fitted one."""
        left, top, width, height = self._place(frame.header.width, frame.header.height)
        origin = np.array([left, top] * 2) / ([self.width, self.height] * 2)
        scale = np.array([width, height] * 2) / ([self.width, self.height] * 2)
        return [
            event.model_copy(update={"box": tuple((origin + scale * event.box).tolist())})
            if isinstance(event, FaceObserved)
            else event
            for event in events
        ]

    def _place(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, width and height of a scaled frame in the fitted one."""
        scale = min(self.width / width, self.height / height)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        return (self.width - size[0]) // 2, (self.height - size[1]) // 2, *size
