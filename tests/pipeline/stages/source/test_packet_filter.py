"""What is left out undecoded changes no other frame, and enough frames remain at any rate."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any, TypeAlias

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame

from pipeline.stages.source.packet_filter import PacketFilter, read_h264, read_hevc

FPS = 25
Packets: TypeAlias = "list[Packet[Any]]"


def encode(codec: str, seconds: float, muxer: str, **options: str) -> Packets:
    """Packets of a moving pattern, as a live stream of that format has them."""
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as container:
        stream: Any = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        y, x = np.mgrid[:48, :64]
        for index in range(round(seconds * FPS)):
            wave = 127 + 120 * np.sin((x + 3 * index) / 5) * np.cos((y - index) / 7)
            grey = np.repeat(wave[..., None], 3, axis=2).astype(np.uint8)
            frame = VideoFrame.from_ndarray(grey, "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r", format=muxer) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def h264(bframes: int, seconds: float = 12, keys: int = 25) -> Packets:
    parameters = (
        f"bframes={bframes}:b-adapt=0:b-pyramid=none:keyint={keys}:min-keyint={keys}:scenecut=0"
    )
    return encode("libx264", seconds, "h264", **{"x264-params": parameters, "preset": "fast"})


def left_out(packets: Packets, codec: str, analyse_fps: float) -> list[bool]:
    made = PacketFilter(codec, analyse_fps)
    return [made.leaves_out(packet, number / FPS) for number, packet in enumerate(packets)]


def decode(packets: Packets, codec: str) -> list[bytes]:
    """Every frame that comes out, by its bytes."""
    decoder: Any = av.CodecContext.create(codec, "r")
    frames = [frame for packet in packets for frame in decoder.decode(Packet(bytes(packet)))]
    return [frame.to_ndarray().tobytes() for frame in [*frames, *decoder.decode(None)]]


def test_frames_that_no_other_needs_are_left_out_and_the_others_are_the_same() -> None:
    packets = h264(bframes=3)
    out = left_out(packets, "h264", analyse_fps=2)
    rate = 1 - sum(out[100:]) / len(out[100:])
    assert rate * FPS == pytest.approx(25 / 4, abs=1)
    kept = [packet for packet, is_out in zip(packets, out, strict=True) if not is_out]
    everything, remaining = decode(packets, "h264"), decode(kept, "h264")
    assert len(everything) == len(packets)
    assert len(remaining) == len(kept)
    assert set(remaining) <= set(everything)


@pytest.mark.parametrize("analyse_fps", [4.0, 5.0, 25.0, 0.0])
def test_where_too_few_would_remain_everything_is_decoded(analyse_fps: float) -> None:
    assert not any(left_out(h264(bframes=3), "h264", analyse_fps))


def test_a_stream_without_such_frames_is_decoded() -> None:
    assert not any(left_out(h264(bframes=0), "h264", 2))


@pytest.mark.parametrize(("codec", "name"), [("libx264", "h264"), ("libx265", "hevc")])
def test_at_a_low_rate_key_frames_are_enough(codec: str, name: str) -> None:
    if codec == "libx264":
        packets = h264(bframes=2, keys=20)
    else:
        parameters = "keyint=20:min-keyint=20:scenecut=0:open-gop=0:log-level=none:pools=1"
        packets = encode(codec, 12, "hevc", **{"x265-params": parameters, "preset": "ultrafast"})
    out = left_out(packets, name, analyse_fps=0.5)
    keys = [not packet.is_keyframe for packet in packets]
    assert out[100:] == keys[100:]
    kept = [packet for packet, is_out in zip(packets[100:], out[100:], strict=True) if not is_out]
    assert len(decode(kept, name)) == len(kept) >= 9


def test_rare_key_frames_are_not_enough() -> None:
    assert not any(left_out(h264(bframes=0, keys=75), "h264", 0.3))


@pytest.mark.parametrize("analyse_fps", [1.0, 5.0, 20.0])
def test_where_each_frame_stands_for_itself_twice_as_many_remain(analyse_fps: float) -> None:
    packets = encode("mjpeg", 12, "mjpeg")
    out = left_out(packets, "mjpeg", analyse_fps)
    remain = (len(out) - 50 - sum(out[50:])) / ((len(out) - 50) / FPS)
    assert remain == pytest.approx(min(2 * analyse_fps, FPS), rel=0.1)


def test_stamps_that_jump_begin_a_new_judgement() -> None:
    made = PacketFilter("h264", 2)
    packets = h264(bframes=3, seconds=8)
    for number, packet in enumerate(packets):
        made.leaves_out(packet, number / FPS)
    assert not any(made.leaves_out(p, 1000 + n / FPS) for n, p in enumerate(packets[:40]))


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x01", b"\x00\x00\x01\x41", b"\xff" * 50])
def test_what_cannot_be_read_is_needed(data: bytes) -> None:
    assert read_h264(data) == (True, 0)
    assert read_hevc(data) == (True, 0)


def test_a_frame_of_a_lower_layer_may_be_needed_by_a_higher_one() -> None:
    made = PacketFilter("hevc", 1)
    low, high = (bytes([0, 0, 1, 0, layer + 1, 0]) for layer in (0, 1))
    assert [made._find_needed(data) for data in (low, high, low)] == [False, False, True]
