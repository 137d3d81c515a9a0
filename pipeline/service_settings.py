"""The sections of the settings that say where things run, and which services they use."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.settings import Section

HOUR_MS = 3_600_000
KAFKA_DELAY_MS = 6 * 60_000
"""Kafka looks for old segments every five minutes, and removes their files a minute later."""


class WorkersSettings(Section):
    """The processes that read cameras."""

    cameras_per_worker: int = Field(
        4, ge=1, le=64, description="Largest number of cameras in one process."
    )
    cpus: float = Field(
        0.5, ge=0, le=1024, description="CPU cores that Ray reserves for one such process."
    )
    lease_s: float = Field(
        3.0,
        ge=2,
        le=3600,
        description="Seconds without a renewed lease after which a worker stops reading a camera.",
    )


class DiscoverySettings(Section):
    """Cameras that publish to a MediaMTX server, registered by themselves if `api_url` is set."""

    api_url: str = Field("", description="Address of MediaMTX' API, such as http://HOST:9997.")
    rtsp_url: str = Field(
        "", description="Address under which its cameras are read, such as rtsp://HOST:8554."
    )
    user: str = Field("", description="User that may read and use the API, or a reference.")
    password: str = Field("", description="Its password, as a reference: env:NAME or file:PATH.")
    poll_s: float = Field(2.0, ge=0.1, le=3600, description="Seconds between two requests.")
    remove_after_s: float = Field(
        60.0,
        ge=0,
        le=1_000_000,
        description="Seconds without a publisher after which a discovered camera is unregistered.",
    )


class OutboxSettings(Section):
    """Where events wait until the bus or the store has taken them."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "most_rows": "max_rows",
    }

    folder: str = Field("state/outbox", description="Folder on a local disk, one per machine.")
    max_rows: int = Field(
        500_000,
        ge=1,
        le=1_000_000_000,
        description="Largest number of events that wait per camera; above it the oldest are shed.",
    )
    batch_rows: int = Field(
        500, ge=1, le=50_000, description="Largest number of events sent at once."
    )


class BusSettings(Section):
    """Kafka between outbox and store; without `url` the outbox feeds the store."""

    url: str = Field("", description="kafka://HOST:PORT[,HOST:PORT...], or a reference to one.")
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Security protocol of the brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-256", description="SASL mechanism for user and password."
    )
    user: str = Field("", description="SASL user, or a reference to it.")
    password: str = Field("", description="SASL password, as a reference: env:NAME or file:PATH.")
    ca_file: str = Field(
        "", description="PEM file of the certificate authority; empty: the system's."
    )
    topic_prefix: str = Field(
        "undercam",
        description="Prefix of the topics: PREFIX.observations, PREFIX.tracks and so on.",
    )
    create_topics: bool = Field(True, description="Whether missing topics are created.")
    partitions: int = Field(
        6, ge=1, le=10_000, description="Partitions of a created topic; a camera stays in one."
    )
    replication: int = Field(1, ge=1, le=100, description="Replication factor of a created topic.")
    retention_hours: float = Field(
        168.0, ge=0.01, le=1_000_000, description="Hours that a created topic keeps its records."
    )
    group: str = Field("undercam-store", description="Consumer group of the store.")
    timeout_s: float = Field(
        10.0, ge=0.1, le=3600, description="Seconds to wait for a response of a broker."
    )

    @property
    def retention_ms(self) -> int:
        """How long a record stays, counted from the newest one in its segment."""
        return round(self.retention_hours * HOUR_MS)

    @property
    def segment_ms(self) -> int:
        """After how long a topic begins a new segment; Kafka deletes nothing less than one."""
        return max(self.retention_ms // 8, 60_000)

    @property
    def forget_ms(self) -> int:
        """After how long a created topic has certainly forgotten a record."""
        return self.segment_ms + self.retention_ms + KAFKA_DELAY_MS


class MqttSettings(Section):
    """The latest state of every camera over MQTT, for Home Assistant; without `url` none."""

    url: str = Field("", description="mqtt://HOST[:PORT] or mqtts://HOST[:PORT], or a reference.")
    user: str = Field("", description="User, or a reference to it.")
    password: str = Field("", description="Its password, as a reference: env:NAME or file:PATH.")
    ca_file: str = Field(
        "", description="PEM file of the certificate authority; empty: the system's."
    )
    topic_prefix: str = Field(
        "undercam",
        pattern=r"^[^#+\s]{1,200}$",
        description="The state of a camera is published to PREFIX/CAMERA.",
    )
    discovery_prefix: str = Field(
        "homeassistant",
        pattern=r"^[^#+\s]{0,200}$",
        description="Prefix under which Home Assistant discovers sensors; empty: none.",
    )
    interval_s: float = Field(
        1.0, ge=0.1, le=3600, description="Seconds between two messages of a camera, at least."
    )
    repeat_s: float = Field(
        20.0,
        ge=1,
        le=3600,
        description="Seconds after which a state that has not changed is published again; after "
        "three times as long without one Home Assistant shows the camera as unavailable.",
    )


class StoreSettings(Section):
    """The database that holds the records."""

    url: str = Field(
        "sqlite:///state/undercam.db", description="SQLAlchemy URL, or a reference to one."
    )
    batch_rows: int = Field(
        500, ge=1, le=50_000, description="Largest number of events in one transaction."
    )
    busy_timeout_s: float = Field(
        5.0, ge=0, le=3600, description="Seconds to wait for a locked database."
    )
    keep_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="Days after which observations and tracks are deleted; unset: never.",
    )


class ClusterSettings(Section):
    """The Ray cluster that runs the processes."""

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
        description="`local` starts Ray on this machine; else the address of a Ray cluster, or "
        "`auto`. A cluster must require a token (RAY_AUTH_MODE=token on all its machines); it is "
        "read from RAY_AUTH_TOKEN or from the file named by RAY_AUTH_TOKEN_PATH.",
    )
    namespace: str = Field(
        "undercam",
        min_length=1,
        description="Ray namespace; each `undercam run` on a cluster needs its own.",
    )
    start_timeout_s: float = Field(
        600.0,
        ge=1,
        le=86_400,
        description="Seconds that Ray, a replica of a classifier pool, the supervisor and a camera "
        "worker may each take to start; increase it where all cores are busy.",
    )
    lost_timeout_s: float = Field(
        8.0,
        ge=0,
        le=3600,
        description="Seconds without a connection to the cluster's head, or to this machine's Ray, "
        "after which the command ends; increase it where the head can restart (Ray's GCS fault "
        "tolerance).",
    )
