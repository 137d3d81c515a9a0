"""FFmpeg's own filters on single frames."""

from __future__ import annotations

from fractions import Fraction

from av.filter import Graph
from av.video.frame import VideoFrame


class FrameFilter:
    """A chain of FFmpeg's filters, each a name and its arguments, that gives one frame for one.

    Time stamps, and what is attached to a frame, pass unchanged. Frames may change in size and
    format.
    """

    def __init__(self, *steps: tuple[str, str]) -> None:
        self._steps = steps
        self._shape: tuple[int, int, str] | None = None
        self._graph = Graph()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The filtered frame."""
        shape = frame.width, frame.height, frame.format.name
        if shape != self._shape:
            self._graph, self._shape = self._new_graph(frame), shape
        self._graph.vpush(frame)
        filtered = self._graph.vpull()
        filtered.pts, filtered.dts, filtered.duration = frame.pts, frame.dts, frame.duration
        # FFmpeg hands on `opaque`; set twice, av would forget it when the first frame goes.
        # av knows no time base for a frame that is flushed, and cannot set none.
        if frame.time_base is not None:
            filtered.time_base = frame.time_base
        return filtered

    def _new_graph(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        # One thread, as for decoding: cameras share the cores.
        graph.threads = 1
        # No stamp is changed by it; a stream without stamps has no time base either.
        nodes = [
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
            ),
            *(graph.add(name, arguments) for name, arguments in self._steps),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes)
        graph.configure()
        return graph
