"""The metrics for Prometheus: each is defined once here and incremented where it happens.

Every process has a `Metrics` of its own; the process that serves /metrics merges their families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
CROPS = (1, 2, 4, 8, 16, 32, 64, 128)
OLD_NAMES = {
    "undercam_frames_skipped": "undercam_frames_undue",
    "undercam_observations": "undercam_looks",
    "undercam_observations_unanswered": "undercam_looks_unanswered",
    "undercam_pool_batch_seconds": "undercam_pool_pass_seconds",
    "undercam_pool_batch_crops": "undercam_pool_pass_crops",
}
"""Families that were renamed, by the name of today. The old one is exported too, for one release,
so that dashboards and alerts outlive an upgrade."""

Families = list[Metric]
"""The metrics of one process, in a form that can be sent to another."""


class Metrics:
    """The metrics of one process, an attribute each."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)

    def families(self) -> Families:
        """A copy of all families that have samples, renamed ones under their old names too."""
        found = []
        for family in self.registry.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            if family.samples:
                found.append(family)
                if family.name in OLD_NAMES:
                    found.append(_under_old_name(family))
        return found

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, "undercam", registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, "undercam", registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, meaning, labels, "undercam", buckets=buckets, registry=self.registry)


class CameraMetrics(Metrics):
    """Of a camera worker."""

    def __init__(self) -> None:
        super().__init__()
        self._add_frames()
        self.reconnects = self._counter("reconnects", "Connections after the first one.", "camera")
        self.state = self._gauge(
            "camera_state", "1 for the current state, else 0.", "camera", "state"
        )
        self.lag = self._gauge(
            "camera_lag_seconds", "Seconds from capture to analysis of the newest frame.", "camera"
        )
        self.observations = self._counter(
            "observations", "Observations appended to the outbox.", "camera"
        )
        self.mqtt = self._gauge(
            "mqtt_connected", "1 while the MQTT broker of mqtt.url is connected, else 0."
        )
        self.unanswered = self._counter(
            "observations_unanswered",
            "Observations labelled unknown because no classifier answered in time.",
            "camera",
        )
        self.robust_requests = self._counter(
            "robust_requests",
            "Requests to the route robust in mode auto, by outcome: answered; refused, where the "
            "pool was full or not available; timeout.",
            "camera",
            "outcome",
        )
        self.stage_seconds = self._histogram(
            "stage_seconds",
            "Seconds that a stage takes for one frame: detect, classify.",
            SECONDS,
            "stage",
        )

    def _add_frames(self) -> None:
        """The counters of frames, by what became of them."""
        self.received = self._counter(
            "frames_received",
            "Frames received: analysed, skipped or shed.",
            "camera",
        )
        self.decoded = self._counter("frames_decoded", "Frames decoded.", "camera")
        self.analysed = self._counter(
            "frames_analysed",
            "Frames analysed, searched for faces or not (see frames_searched).",
            "camera",
        )
        self.searched = self._counter(
            "frames_searched",
            "Analysed frames by how much of them was searched for faces: whole; part, the "
            "surroundings of known faces; none, as nothing had changed there or no face was known.",
            "camera",
            "extent",
        )
        self.skipped = self._counter(
            "frames_skipped", "Frames skipped because of source.analyse_fps.", "camera"
        )
        self.shed = self._counter(
            "frames_shed",
            "Frames not analysed, by cause: newer, a newer frame replaced it; stale, older than "
            "source.max_age_s; stopped, it was waiting when the camera stopped; undecodable, "
            "damaged or before the first key frame.",
            "camera",
            "cause",
        )


class PoolMetrics(Metrics):
    """Of a replica of a classifier pool."""

    def __init__(self) -> None:
        super().__init__()
        self.pending = self._gauge("pool_pending_crops", "Crops that wait in the pool.")
        self.batch_seconds = self._histogram(
            "pool_batch_seconds", "Seconds that the network takes for one batch.", SECONDS
        )
        self.batch_crops = self._histogram("pool_batch_crops", "Crops in one batch.", CROPS)


class RelayMetrics(Metrics):
    """Of the relay of a machine."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = self._gauge("outbox_rows", "Events that wait for bus or store.")
        self.lost = self._counter("outbox_lost", "Events shed because an outbox was full.")
        self.dead = self._counter("outbox_dead", "Unreadable records, kept as dead letters.")
        self.delivered = self._counter("outbox_delivered", "Events accepted by bus or store.")
        self.erased = self._counter(
            "outbox_erased",
            "Events not delivered or not stored because they were erased or are too old.",
        )
        self.up = self._gauge("outbox_delivery_up", "1 while bus or store accepts events, else 0.")


class SupervisorMetrics(Metrics):
    """Of the supervisor."""

    def __init__(self) -> None:
        super().__init__()
        self.deaths = self._counter("worker_deaths", "Camera workers that died.")


EVERY_KIND = (CameraMetrics, PoolMetrics, RelayMetrics, SupervisorMetrics)


@dataclass(frozen=True)
class MetricDescription:
    """A metric as the documentation lists it; `of`: the process that counts it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    of: str


def describe_metrics() -> list[MetricDescription]:
    """Every metric that is exported; deprecated names last."""
    current, old = [], []
    for kind in EVERY_KIND:
        of = (kind.__doc__ or "").removeprefix("Of ").rstrip(".")
        for metric in vars(kind()).values():
            if isinstance(metric, MetricWrapperBase):
                (family,) = metric.describe()
                labels = tuple(metric._labelnames)
                current.append(_describe(family, labels, of))
                if family.name in OLD_NAMES:
                    old.append(_describe(_under_old_name(family), labels, of))
    return current + old


def _describe(family: Metric, labels: tuple[str, ...], of: str) -> MetricDescription:
    name = _exported_name(family)
    return MetricDescription(name, family.type, labels, family.documentation, of)


def _exported_name(family: Metric) -> str:
    return family.name + ("_total" if family.type == "counter" else "")


def _under_old_name(family: Metric) -> Metric:
    """A copy of a renamed family as the last release exported it."""
    old = OLD_NAMES[family.name]
    copy = Metric(old, f"deprecated: use {_exported_name(family)}.", family.type, family.unit)
    copy.samples = [s._replace(name=old + s.name.removeprefix(family.name)) for s in family.samples]
    return copy


class MergedFamilies(Collector):
    """The families of several processes as one, each sample labelled with its process."""

    def __init__(self, processes: Callable[[], Iterable[tuple[str, Families]]]) -> None:
        self._processes = processes

    def collect(self) -> Iterator[Metric]:
        """Families by name, with the samples of all processes."""
        merged: dict[str, Metric] = {}
        for process, families in self._processes():
            for family in families:
                into = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                into.samples += [
                    sample._replace(labels=sample.labels | {"process": process})
                    for sample in family.samples
                ]
        yield from merged.values()

    def describe(self) -> Families:
        """Nothing: the families depend on the processes that run at the time."""
        return []


def serve(host: str, port: int, processes: Callable[[], Iterable[tuple[str, Families]]]) -> str:
    """Serve /metrics from a background thread; port 0: a free one. Returns the URL."""
    registry = CollectorRegistry()
    registry.register(MergedFamilies(processes))
    server, _ = start_http_server(port, host, registry)
    return f"http://{host}:{server.server_port}/metrics"


class Tally:
    """Brings counters up to totals that are counted elsewhere."""

    def __init__(self) -> None:
        self._seen: dict[Counter, float] = {}

    def bring(self, counter: Counter, total: float) -> None:
        """Increase the counter by the growth of the total since the last call."""
        counter.inc(total - self._seen.get(counter, 0.0))
        self._seen[counter] = total
