"""Numbers of several processes, as one page for Prometheus."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics import CameraMetrics, Families, PoolMetrics, Tally, listed, serve


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_processes_are_merged_and_told_apart() -> None:
    cameras = [CameraMetrics(), CameraMetrics()]
    cameras[0].decoded.labels("door").inc(3)
    cameras[1].decoded.labels("hall").inc(4)
    cameras[0].stage_seconds.labels("detect").observe(0.02)
    pool = PoolMetrics()
    pool.pending.set(2)

    def processes() -> Iterator[tuple[str, Families]]:
        yield "cameras-0", cameras[0].families()
        yield "cameras-1", cameras[1].families()
        yield "classifier-fast-0", pool.families()

    with urllib.request.urlopen(serve("127.0.0.1", 0, processes), timeout=10) as answer:
        families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}
    decoded = {
        tuple(s.labels.values()): s.value for s in families["undercam_frames_decoded"].samples
    }
    assert decoded == {("door", "cameras-0"): 3, ("hall", "cameras-1"): 4}
    (waiting,) = families["undercam_pool_pending_crops"].samples
    assert (waiting.labels, waiting.value) == ({"process": "classifier-fast-0"}, 2)
    counts = [
        s.value for s in families["undercam_stage_seconds"].samples if s.name.endswith("count")
    ]
    assert counts == [1]
    assert families.keys() <= {row.name.removesuffix("_total") for row in listed()}


def test_every_metric_is_listed_once_with_its_meaning() -> None:
    names = [row.name for row in listed()]
    assert len(names) == len(set(names))
    assert "undercam_frames_shed_total" in names
    assert all(row.meaning.endswith(".") and row.of for row in listed())


def test_a_tally_grows_a_counter_by_what_is_new() -> None:
    metrics, tally = CameraMetrics(), Tally()
    for total in (3, 3, 8):
        tally.bring(metrics.decoded.labels("door"), total)
    another = Tally()
    another.bring(metrics.decoded.labels("door"), 2)
    value = metrics.registry.get_sample_value("undercam_frames_decoded_total", {"camera": "door"})
    assert value == 10
