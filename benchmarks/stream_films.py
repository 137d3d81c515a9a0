"""Films for the benchmark of live cameras: a face in every frame, and empty rooms; 720p, 25 frames
a second, H.264 without B frames and a key frame every two seconds, as most cameras send it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS, KEY_FRAMES = 1280, 720, 25, 50
BUSY_S = ((1.6, 7.6), (12.4, 18.4))
"""Seconds of the built-in sample in which two to four faces are in view, six and six."""
EMPTY_S = 12.0
GRAIN = 2.0
"""Noise of the empty room, in grey levels."""


def film_frames(kind: str) -> Iterator[NDArray[np.uint8]]:
    """Twelve seconds of frames (720, 1280, 3) uint8 RGB; `kind` is faces or empty."""
    from pipeline.media.sample_clip import SCRIPT_S, generate_frames

    rng = np.random.default_rng(0)
    empty = next(iter(generate_frames(1 / FPS, FPS, (WIDTH, HEIGHT))))
    if kind == "empty":
        for _ in range(round(EMPTY_S * FPS)):
            grain = rng.normal(0, GRAIN, (HEIGHT, WIDTH, 1)).astype(np.float32)
            yield np.clip(empty + grain, 0, 255).astype(np.uint8)
        return
    for index, frame in enumerate(generate_frames(SCRIPT_S, FPS, (WIDTH, HEIGHT))):
        if any(begin <= index / FPS < end for begin, end in BUSY_S):
            yield frame


def write_scene(path: Path, kind: str) -> None:
    """Encode the twelve seconds once."""
    import av

    with av.open(str(path), "w", format="matroska") as container:
        parameters = f"bframes=0:keyint={KEY_FRAMES}:min-keyint={KEY_FRAMES}:scenecut=0"
        options = {"crf": "23", "preset": "veryfast", "x264-params": parameters}
        stream: Any = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.thread_count = 1
        for index, image in enumerate(film_frames(kind)):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_films(scene: Path, folder: Path, cameras: int, seconds: float) -> list[Path]:
    """A film for each camera, the scene again and again from another key frame on: their packets
    are copied, not encoded again."""
    import av

    films = []
    with av.open(str(scene)) as container:
        stream = container.streams.video[0]
        packets = [(bytes(p), p.is_keyframe) for p in container.demux(stream) if p.size]
        keys = [number for number, (_, is_key) in enumerate(packets) if is_key]
        for camera in range(cameras):
            films.append(folder / f"{scene.stem}-{camera}.mkv")
            start = keys[camera % len(keys)]
            with av.open(str(films[-1]), "w", format="matroska") as film:
                out = film.add_stream_from_template(stream)
                for index in range(round(seconds * FPS)):
                    data, is_key = packets[(start + index) % len(packets)]
                    packet: Any = av.Packet(data)
                    packet.stream, packet.is_keyframe = out, is_key
                    packet.pts = packet.dts = index
                    packet.time_base = Fraction(1, FPS)
                    film.mux(packet)
    return films
