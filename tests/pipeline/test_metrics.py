"""The metrics of several processes on one page for Prometheus, also under their old names."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics import (
    OLD_NAMES,
    CameraMetrics,
    Families,
    PoolMetrics,
    Tally,
    describe_metrics,
    serve,
)


def scrape(processes: dict[str, CameraMetrics | PoolMetrics]) -> str:
    """The page that Prometheus reads."""

    def families() -> Iterator[tuple[str, Families]]:
        yield from ((name, metrics.families()) for name, metrics in processes.items())

    with urllib.request.urlopen(serve("127.0.0.1", 0, families), timeout=10) as answer:
        page: str = answer.read().decode()
    return page


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_processes_are_merged_and_labelled() -> None:
    cameras = [CameraMetrics(), CameraMetrics()]
    cameras[0].decoded.labels("door").inc(3)
    cameras[1].decoded.labels("hall").inc(4)
    cameras[0].stage_seconds.labels("detect").observe(0.02)
    pool = PoolMetrics()
    pool.pending.set(2)
    page = scrape({"cameras-0": cameras[0], "cameras-1": cameras[1], "classifier-fast-0": pool})
    families = {family.name: family for family in text_string_to_metric_families(page)}
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
    assert families.keys() <= {row.name.removesuffix("_total") for row in describe_metrics()}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_renamed_metrics_are_exported_under_both_names() -> None:
    camera, pool = CameraMetrics(), PoolMetrics()
    for counter in (camera.skipped, camera.observations, camera.unanswered):
        counter.labels("door").inc(7)
    pool.batch_crops.observe(5)
    pool.batch_seconds.observe(0.25)
    page = scrape({"cameras-0": camera, "classifier-fast-0": pool})
    labels = '{camera="door",process="cameras-0"} 7.0'
    for new, old in OLD_NAMES.items():
        if "pool" in new:
            assert f'{old}_count{{process="classifier-fast-0"}} 1.0' in page
            assert f'{new}_sum{{process="classifier-fast-0"}}' in page
            assert f"# HELP {old} deprecated: use {new}." in page
        else:
            assert f"{old}_total{labels}" in page
            assert f"{new}_total{labels}" in page
            assert f"# HELP {old}_total deprecated: use {new}_total." in page
    assert page.count("# HELP undercam_pool_batch_crops ") == 1


def test_every_metric_is_described_once() -> None:
    names = [row.name for row in describe_metrics()]
    assert len(names) == len(set(names))
    assert "undercam_frames_shed_total" in names
    assert all(row.meaning.endswith(".") and row.of for row in describe_metrics())
    deprecated = {row.name for row in describe_metrics() if row.meaning.startswith("deprecated")}
    assert {name.removesuffix("_total") for name in deprecated} == set(OLD_NAMES.values())


def test_a_tally_adds_the_growth_of_a_total() -> None:
    metrics, tally = CameraMetrics(), Tally()
    for total in (3, 3, 8):
        tally.bring(metrics.decoded.labels("door"), total)
    another = Tally()
    another.bring(metrics.decoded.labels("door"), 2)
    value = metrics.registry.get_sample_value("undercam_frames_decoded_total", {"camera": "door"})
    assert value == 10
