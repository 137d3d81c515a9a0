"""Every setting there is: one class a table of the TOML file, each key bounded and described."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """One table of the TOML file: closed, immutable, every key described, every number finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SourceSettings(Section):
    """How pictures are read, and what becomes of a live camera that is late or silent."""

    analyse_fps: float = Field(
        0.0, ge=0, le=240, description="Frames analysed in a second of media time; 0: all of them."
    )
    open_s: float = Field(10.0, gt=0, le=300, description="Seconds a stream may take to open.")
    read_s: float = Field(
        3.0, gt=0, le=300, description="Seconds without a packet after which a stream is lost."
    )
    stale_s: float = Field(
        2.0, gt=0, description="Age in seconds past which a live picture is shed, not analysed."
    )
    retry_least_s: float = Field(
        0.5, gt=0, description="Seconds before the first try to reconnect, doubled at each try."
    )
    retry_most_s: float = Field(30.0, gt=0, description="Most seconds between two tries.")
    tls_verify: bool = Field(
        True, description="Whether the certificate of an rtsps:// or https:// camera is checked."
    )
    ca_file: str = Field(
        "", description="PEM file of the authority for cameras; unset: the system's."
    )


class DetectorSettings(Section):
    """How faces are found."""

    name: Literal["centerface", "scrfd", "yunet"] = Field(
        "centerface", description="centerface comes with the package; scrfd and yunet need `model`."
    )
    model: str = Field("", description="Path of the network, where it is not bundled.")
    frame_px: int = Field(
        448, ge=96, le=4096, description="Longer side of the frame that the detector sees, pixels."
    )
    threshold: Share | None = Field(
        None, description="Least detector score of a face; unset: the detector's own default."
    )
    look_twice: bool = Field(
        True, description="Look again, at another size, at a picture in which no face was found."
    )
    threads: int = Field(0, ge=0, description="CPU threads of the network; 0: all cores.")
    condition: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Take noise and haze off pictures before detection: auto, where they need it.",
    )
    least_px: int = Field(16, ge=4, description="A face whose shorter side is less is left out.")


class TrackerSettings(Section):
    """How boxes become tracks, in media seconds."""

    start_score: Share = Field(
        0.4,
        description="Least detector score that begins a track; weaker boxes only go on with one.",
    )
    least_iou: Share = Field(0.2, description="Overlap with its predicted place that keeps a face.")
    reach: float = Field(
        2.0, ge=0, le=10, description="Or: distance from there, in box sides, at the very most."
    )
    birth_s: float = Field(0.15, ge=0, description="Seconds a face is seen before it is a track.")
    lost_s: float = Field(0.8, ge=0, description="Seconds without a box that end a track.")


class CropSettings(Section):
    """How faces are cut out, and a noisy camera's looks at one face gathered."""

    gather_s: float = Field(
        1.0, ge=0, le=10, description="Seconds of looks that are averaged into one; 0: never."
    )
    gather_most: int = Field(8, ge=1, le=64, description="Most looks that are averaged.")
    gather_noise: Share = Field(
        0.03, description="Noise of a crop, a share of full light, above which looks are gathered."
    )


WEIGHTS = ("resnet18-w36", "resnet18-w32", "lrdif")
"""The weights in models/zoo, the ones that serve unless others are asked for first; `-udc` behind a
name: the same network's for bad pictures."""


class EmotionSettings(Section):
    """How faces are classified."""

    weights: str = Field(WEIGHTS[0], description="A name in models/zoo or a safetensors file.")
    weights_bad: str | None = Field(
        None,
        description="Other weights for faces in bad pictures, as behind a display; empty: none; "
        f"unset: NAME-udc beside {', '.join(WEIGHTS)}; none beside others.",
    )
    bad_noise: Share = Field(
        0.024, description="Noise of a track's looks, a share of full light, above which it is bad."
    )
    flip: bool = Field(True, description="Average each crop with its mirror image.")
    draws: int = Field(
        1, ge=1, le=64, description="Starts drawn for a face and averaged, by a model that draws."
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Number format of the network; bfloat16 where the processor runs it.",
    )
    device: str = Field("cpu", description="Where the network runs: cpu or cuda[:N].")
    threads: int = Field(1, ge=0, description="CPU threads of the network; 0: all cores.")

    @property
    def bad(self) -> str:
        """The weights for bad pictures; empty: none."""
        if self.weights_bad is None:
            return f"{self.weights}-udc" if self.weights in WEIGHTS else ""
        return self.weights_bad


class SmootherSettings(Section):
    """How the looks of one track become one label."""

    memory_s: float = Field(0.6, gt=0, description="Seconds after which a look counts 1/e.")
    unknown_below: Share = Field(0.4, description="Below this confidence the label is `unknown`.")
    switch_margin: Share = Field(
        0.05, description="How far a new label must lead before it replaces the shown one."
    )


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
    max_pending: int = Field(256, ge=1, description="Most crops that wait, over all cameras.")
    timeout_s: float = Field(
        5.0, gt=0, description="Seconds after which a look is given up and called `unknown`."
    )


class WorkersSettings(Section):
    """The processes that read cameras."""

    cameras_per_worker: int = Field(4, ge=1, le=64, description="Most cameras in one process.")
    cpus: float = Field(0.5, ge=0, description="Cores that Ray sets aside for one such process.")
    lease_s: float = Field(
        3.0, ge=2, description="Seconds after which a worker that nobody renewed stops itself."
    )


class OutboxSettings(Section):
    """Where events wait until bus or store has them."""

    folder: str = Field("state/outbox", description="Folder on a local disk, one per machine.")
    most_rows: int = Field(
        500_000, ge=1, description="Most events that wait for one camera; past it the oldest go."
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
    partitions: int = Field(6, ge=1, description="Of a topic that we make; a camera stays in one.")
    replication: int = Field(1, ge=1, description="Copies of a topic that we make.")
    retention_hours: float = Field(
        168.0, gt=0, description="Hours that a topic that we make keeps records."
    )
    group: str = Field("undercam-store", description="Consumer group of the store.")
    timeout_s: float = Field(10.0, gt=0, description="Seconds to wait for a broker's answer.")


class StoreSettings(Section):
    """Where rows go."""

    url: str = Field(
        "sqlite:///state/undercam.db", description="SQLAlchemy URL, or a reference to one."
    )
    batch_rows: int = Field(500, ge=1, le=50_000, description="Most events in one transaction.")
    busy_timeout_s: float = Field(5.0, ge=0, description="Seconds to wait for a locked database.")


class DashboardSettings(Section):
    """The pages."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8501, ge=0, le=65535, description="Port to listen on; 0: a free one.")
    refresh_s: float = Field(2.0, ge=0.5, description="Seconds between two refreshes.")


class MetricsSettings(Section):
    """Numbers for Prometheus."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int | None = Field(
        None, ge=0, le=65535, description="Port of /metrics; 0: a free one; unset: none."
    )


class ClusterSettings(Section):
    """The engine."""

    address: str = Field(
        "local",
        description="`local` starts Ray here; else the address of a Ray cluster, or auto. A "
        "cluster must ask for a token (RAY_AUTH_MODE=token on all its machines), and finds ours in "
        "RAY_AUTH_TOKEN or in the file that RAY_AUTH_TOKEN_PATH names.",
    )
    namespace: str = Field(
        "undercam", min_length=1, description="Its own for each `undercam run` on one cluster."
    )
    start_s: float = Field(
        600.0,
        ge=1,
        le=86_400,
        description="Seconds that Ray, a replica of the pool, the supervisor and a camera process "
        "may each take to begin; more where all cores are busy.",
    )
    gone_s: float = Field(
        8.0,
        ge=0,
        le=3600,
        description="Seconds without the cluster's head, or its part on this machine, after which "
        "the command ends; more where the head can be started again (Ray's fault tolerance).",
    )


class CameraSettings(Section):
    """One camera."""

    url: str = Field(
        min_length=1,
        description="rtsp(s)://, http(s)://, listen://HOST:PORT/NAME, a file or a device; with a "
        "password in it, a reference.",
    )
    enabled: bool = Field(True, description="Whether it is read.")
    under_display: bool | None = Field(
        None,
        description="Whether emotion.weights_bad score its faces, and every picture is conditioned "
        "for detection; unset: as their noise says.",
    )
    analyse_fps: float | None = Field(
        None, ge=0, le=240, description="Instead of source.analyse_fps."
    )
    play: Literal["once", "loop"] = Field(
        "once", description="A file: once, nothing shed; or again and again, as a live camera."
    )
