"""A camera that publishes: pushes the H.264 of a clip by RTSP as it is, in its own time, over and
over. Arguments: address, clip. It ends with exit code 3 where it is refused."""

from __future__ import annotations

import sys
import time
from itertools import count

import av
from av.video.stream import VideoStream

REFUSED = 3


def main(url: str, clip: str) -> None:
    options = {"rtsp_transport": "tcp"}
    with av.open(clip) as source, av.open(url, "w", format="rtsp", options=options) as target:
        video = source.streams.video[0]
        assert isinstance(video, VideoStream)
        sent = target.add_stream_from_template(video)
        try:
            target.start_encoding()
        except av.error.HTTPUnauthorizedError:
            sys.exit(REFUSED)
        assert source.duration
        assert video.time_base
        length_s = source.duration / av.time_base
        begin_s = time.monotonic()
        for turn in count():
            source.seek(0)
            shift = round(turn * length_s / video.time_base)
            for packet in source.demux(video):
                if packet.dts is None or packet.pts is None:
                    continue
                packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
                due_s = begin_s + float(packet.dts * video.time_base)
                packet.stream = sent
                time.sleep(max(due_s - time.monotonic(), 0))
                target.mux(packet)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
