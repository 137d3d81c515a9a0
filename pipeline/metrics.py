"""The numbers for Prometheus: each named once here, counted where it happens, shown in one place.

Every process has a `Metrics` of its own; whoever answers Prometheus merges their families.
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


Families = list[Metric]
"""What a process has counted, as it may travel to another."""


class Metrics:
    """What one process counts; an attribute a metric, described where it is made."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)

    def families(self) -> Families:
        """A copy of all that was counted so far."""
        found = []
        for family in self.registry.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            if family.samples:
                found.append(family)
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
    """Of a camera process."""

    def __init__(self) -> None:
        super().__init__()
        self.received = self._counter(
            "frames_received",
            "Pictures that came: analysed, left out by source.analyse_fps, or given up.",
            "camera",
        )
        self.decoded = self._counter("frames_decoded", "Pictures decoded.", "camera")
        self.analysed = self._counter("frames_analysed", "Pictures looked at for faces.", "camera")
        self.undue = self._counter(
            "frames_undue", "Pictures that source.analyse_fps leaves out.", "camera"
        )
        self.shed = self._counter(
            "frames_shed",
            "Pictures given up: newer, the next one came first; stale, it was too old; stopped, it "
            "waited at the end; undecodable, damaged or before the first key frame.",
            "camera",
            "cause",
        )
        self.reconnects = self._counter("reconnects", "Connections made after the first.", "camera")
        self.state = self._gauge("camera_state", "1 for the state that holds.", "camera", "state")
        self.lag = self._gauge(
            "camera_lag_seconds", "From capture to analysis, of the newest picture.", "camera"
        )
        self.looks = self._counter("looks", "Looks written into the outbox.", "camera")
        self.unanswered = self._counter(
            "looks_unanswered", "Looks called unknown because no classifier answered.", "camera"
        )
        self.second_answers = self._counter(
            "second_answers",
            "Requests to the route robust in mode auto, by outcome: answered; refused, where the "
            "pool was full or not available; timeout.",
            "camera",
            "outcome",
        )
        self.stage_seconds = self._histogram(
            "stage_seconds",
            "What a stage takes for one picture: detect, classify.",
            SECONDS,
            "stage",
        )


class PoolMetrics(Metrics):
    """Of a replica of a classifier pool."""

    def __init__(self) -> None:
        super().__init__()
        self.pending = self._gauge("pool_pending_crops", "Crops that wait in the pool.")
        self.pass_seconds = self._histogram(
            "pool_pass_seconds", "What one pass of the network takes.", SECONDS
        )
        self.pass_crops = self._histogram("pool_pass_crops", "Crops that share a pass.", CROPS)


class RelayMetrics(Metrics):
    """Of a machine's relay."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = self._gauge("outbox_rows", "Events that wait for bus or store.")
        self.lost = self._counter("outbox_lost", "Events given up because an outbox was full.")
        self.dead = self._counter("outbox_dead", "Records that could not be read.")
        self.delivered = self._counter("outbox_delivered", "Events that bus or store has taken.")
        self.up = self._gauge("outbox_delivery_up", "1 while bus or store takes events.")


class SupervisorMetrics(Metrics):
    """Of the supervisor."""

    def __init__(self) -> None:
        super().__init__()
        self.deaths = self._counter("worker_deaths", "Camera processes that died.")


EVERY_KIND = (CameraMetrics, PoolMetrics, RelayMetrics, SupervisorMetrics)


@dataclass(frozen=True)
class Listed:
    """A metric as documentation shows it; `of` says whose it is."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    of: str


def listed() -> list[Listed]:
    """Every metric there is."""
    found = []
    for kind in EVERY_KIND:
        of = (kind.__doc__ or "").removeprefix("Of ").rstrip(".")
        for metric in vars(kind()).values():
            if isinstance(metric, MetricWrapperBase):
                (family,) = metric.describe()
                name = family.name + ("_total" if family.type == "counter" else "")
                labels = tuple(metric._labelnames)
                found.append(Listed(name, family.type, labels, family.documentation, of))
    return found


class Merged(Collector):
    """The families of several processes as one, each sample with the name of its process."""

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
        """Nothing beforehand: it depends on who is there."""
        return []


def serve(host: str, port: int, processes: Callable[[], Iterable[tuple[str, Families]]]) -> str:
    """Answer Prometheus from now on, port 0 at a free one; returns where."""
    registry = CollectorRegistry()
    registry.register(Merged(processes))
    server, _ = start_http_server(port, host, registry)
    return f"http://{host}:{server.server_port}/metrics"


class Tally:
    """Brings counters to what was counted elsewhere."""

    def __init__(self) -> None:
        self._told: dict[Counter, float] = {}

    def bring(self, counter: Counter, total: float) -> None:
        """The counter grows by what the total has grown by since the last time."""
        counter.inc(total - self._told.get(counter, 0.0))
        self._told[counter] = total
