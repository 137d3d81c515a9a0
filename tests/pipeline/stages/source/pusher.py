"""A camera that calls: pushes numbered pictures by RTSP, 25 a second. Arguments: address, pictures.

In a process of its own: PyAV holds the interpreter while it shakes hands.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from tests.pipeline.numbered import numbered

PATIENCE_S = 20


def connected(url: str) -> tuple[OutputContainer, VideoStream]:
    """Call until somebody listens."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        container = av.open(url, "w", format="rtsp", options={"rtsp_transport": "tcp"})
        options = {"tune": "zerolatency", "preset": "ultrafast", "g": "10"}
        stream = container.add_stream("libx264", rate=25, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, _ = numbered(0).shape
        stream.pix_fmt = "yuv420p"
        try:
            container.start_encoding()
        # Nobody listens, or the listener gave up while they shook hands: as a camera, call again.
        except (av.error.ConnectionRefusedError, av.error.InvalidDataError):
            if time.monotonic() > until_s:
                raise
            time.sleep(0.1)
        else:
            return container, stream


def main(url: str, pictures: int) -> None:
    container, stream = connected(url)
    begin_s = time.monotonic()
    for number in range(pictures):
        frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        container.mux(stream.encode(frame))
        time.sleep(max(begin_s + number / 25 - time.monotonic(), 0))
    container.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
