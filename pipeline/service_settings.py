"""The sections of the settings that say where things run, and which services they use."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline.settings import Section, Share

BASE_PATH = r"^/?([A-Za-z0-9_~-][A-Za-z0-9_.~-]*(/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*/?)?$"
"""Segments of letters, digits and `_ - ~ .`; none begins with a dot."""
HostName = Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")]


class PoolSettings(Section):
    """The emotion pool: classifiers that all cameras share."""

    replicas: int = Field(1, ge=1, le=64, description="Processes that classify.")
    gpus_per_replica: Share = Field(
        0.0, description="Share of a GPU each takes; above 0 it runs on it (emotion.device)."
    )
    max_batch: int = Field(32, ge=1, le=1024, description="Most crops in one pass of the network.")
    max_wait_ms: float = Field(
        5.0, ge=0, le=1000, description="Milliseconds a crop may wait for others to share a pass."
    )
    max_pending: int = Field(
        256, ge=1, le=100_000, description="Most crops that wait, over all cameras."
    )
    timeout_s: float = Field(
        5.0,
        ge=0.001,
        le=3600,
        description="Seconds after which a look is given up and called `unknown`.",
    )


class WorkersSettings(Section):
    """The processes that read cameras."""

    cameras_per_worker: int = Field(4, ge=1, le=64, description="Most cameras in one process.")
    cpus: float = Field(
        0.5, ge=0, le=1024, description="Cores that Ray sets aside for one such process."
    )
    lease_s: float = Field(
        3.0,
        ge=2,
        le=3600,
        description="Seconds after which a worker that nobody renewed stops itself.",
    )


class OutboxSettings(Section):
    """Where events wait until bus or store has them."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "most_rows": "max_rows",
    }

    folder: str = Field("state/outbox", description="Folder on a local disk, one per machine.")
    max_rows: int = Field(
        500_000,
        ge=1,
        le=1_000_000_000,
        description="Most events that wait for one camera; past it the oldest go.",
    )
    batch_rows: int = Field(500, ge=1, le=50_000, description="Most events sent at once.")


class BusSettings(Section):
    """Kafka between outbox and store; without `url` the outbox feeds the store."""

    url: str = Field("", description="kafka://HOST:PORT[,HOST:PORT...], or a reference to one.")
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="What the brokers ask for."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-256", description="How user and password are shown."
    )
    user: str = Field("", description="User, or a reference.")
    password: str = Field("", description="Password, as a reference: env:NAME or file:PATH.")
    ca_file: str = Field("", description="PEM file of the authority; unset: the system's.")
    topic_prefix: str = Field("undercam", description="Topics are PREFIX.observations and so on.")
    create_topics: bool = Field(True, description="Make topics that are missing.")
    partitions: int = Field(
        6, ge=1, le=10_000, description="Of a topic that we make; a camera stays in one."
    )
    replication: int = Field(1, ge=1, le=100, description="Copies of a topic that we make.")
    retention_hours: float = Field(
        168.0, ge=0.01, le=1_000_000, description="Hours that a topic that we make keeps records."
    )
    group: str = Field("undercam-store", description="Consumer group of the store.")
    timeout_s: float = Field(
        10.0, ge=0.1, le=3600, description="Seconds to wait for a broker's answer."
    )


class StoreSettings(Section):
    """Where rows go."""

    url: str = Field(
        "sqlite:///state/undercam.db", description="SQLAlchemy URL, or a reference to one."
    )
    batch_rows: int = Field(500, ge=1, le=50_000, description="Most events in one transaction.")
    busy_timeout_s: float = Field(
        5.0, ge=0, le=3600, description="Seconds to wait for a locked database."
    )


class DashboardSettings(Section):
    """The pages."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8501, ge=0, le=65535, description="Port to listen on; 0: a free one.")
    base_path: str = Field(
        "",
        pattern=BASE_PATH,
        description="Path that the pages live under, such as /cameras, where a proxy keeps it.",
    )
    public_hosts: tuple[HostName, ...] = Field(
        (), description="Host names by which a proxy is asked for the pages, beside this machine's."
    )
    refresh_s: float = Field(2.0, ge=0.5, le=3600, description="Seconds between two refreshes.")


class MetricsSettings(Section):
    """Numbers for Prometheus."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int | None = Field(
        None, ge=0, le=65535, description="Port of /metrics; 0: a free one; unset: none."
    )


class ClusterSettings(Section):
    """The engine."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "start_s": "start_timeout_s",
        "gone_s": "lost_timeout_s",
    }

    engine: Literal["ray", "local"] = Field(
        "ray",
        description="ray: cameras, classifiers and relays are Ray actors; local: threads of the "
        "command's own process, without Ray.",
    )
    address: str = Field(
        "local",
        description="`local` starts Ray here; else the address of a Ray cluster, or auto. A "
        "cluster must ask for a token (RAY_AUTH_MODE=token on all its machines), and finds ours in "
        "RAY_AUTH_TOKEN or in the file that RAY_AUTH_TOKEN_PATH names.",
    )
    namespace: str = Field(
        "undercam", min_length=1, description="Its own for each `undercam run` on one cluster."
    )
    start_timeout_s: float = Field(
        600.0,
        ge=1,
        le=86_400,
        description="Seconds that Ray, a replica of the pool, the supervisor and a camera process "
        "may each take to begin; more where all cores are busy.",
    )
    lost_timeout_s: float = Field(
        8.0,
        ge=0,
        le=3600,
        description="Seconds without the cluster's head, or its part on this machine, after which "
        "the command ends; more where the head can be started again (Ray's fault tolerance).",
    )
