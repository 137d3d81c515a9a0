"""Whether Ray still lives."""

from __future__ import annotations

import socket

from pipeline.live.ray.health import RayHealth


def test_a_part_that_is_silent_for_too_long_is_gone() -> None:
    now_s = 0.0
    with (
        socket.create_server(("127.0.0.1", 0)) as head,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as part,
    ):
        parts = {"head": head.getsockname()[:2], "part": part.getsockname()[:2]}
        vitals = RayHealth(parts, 8.0, lambda: now_s)
        now_s = 20.0
        assert vitals.find_lost_part() == ""
        part.close()
        now_s = 27.9
        assert vitals.find_lost_part() == ""
        now_s = 28.0
        assert vitals.find_lost_part() == "part"


def test_a_part_that_comes_back_in_time_was_not_gone() -> None:
    now_s = 0.0
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = head.getsockname()
    vitals = RayHealth({"head": address}, 8.0, lambda: now_s)
    now_s = 7.0
    assert vitals.find_lost_part() == ""
    with socket.create_server(address):
        assert vitals.find_lost_part() == ""
    now_s = 14.0
    assert vitals.find_lost_part() == ""
    now_s = 15.0
    assert vitals.find_lost_part() == "head"
