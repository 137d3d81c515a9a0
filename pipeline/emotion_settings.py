"""How faces are classified: the routes, each with its weights and its pool, and the mode."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.errors import ConfigError
from pipeline.settings import Mode, Section, Share

DEGRADED_WEIGHTS = {
    "resnet18-w36": "resnet18-w36-udc-real",
    "resnet18-w32": "resnet18-w32-udc",
    "lrdif": "lrdif-udc",
}
"""Weights in models/zoo, and those beside them for degraded images."""
FAST, ROBUST, AUTO = "fast", "robust", "auto"
"""The names of the routes, and of the mode that uses both."""
Weights = Annotated[
    str, Field(min_length=1, description="A name in models/zoo or a safetensors file.")
]


class RouteSettings(Section):
    """The route that answers every face in the modes fast and auto."""

    weights: Weights = "resnet18-w36"
    degraded_weights: str | None = Field(
        None,
        description="Weights for faces in degraded images, such as under-display cameras'; empty: "
        f"none; unset: those in models/zoo for {', '.join(DEGRADED_WEIGHTS)}, none for others.",
    )
    degraded_noise: Share = Field(
        0.024,
        description="Noise of a track, as a share of full scale, above which its images count as "
        "degraded.",
    )
    device: str = Field(
        "cpu", description="Device of the network: cpu, cuda or cuda:N. Under Ray, cuda needs gpus."
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Number format of the network; bfloat16 only where the device supports it.",
    )
    runtime: Literal["onnx", "torch"] = Field(
        "onnx",
        description="Library that runs the network on a CPU in float32: onnx (onnxruntime), "
        "quicker for a few faces; networks with more inputs than faces run in torch all the same.",
    )
    threads: int = Field(
        1,
        ge=0,
        le=1024,
        description="CPU threads of the network; 0: all cores. Where both routes are in one "
        "process, the larger number is that of both.",
    )
    flip: bool | Literal["uncertain"] = Field(
        "uncertain",
        description="Horizontal-flip TTA: average with the mirrored crop; `uncertain`: only where "
        "that may change the label, for networks that draw nothing at random.",
    )
    draws: int = Field(
        1, ge=1, le=64, description="Random starts averaged per face, for models that sample."
    )
    replicas: int = Field(1, ge=1, le=64, description="Processes of the route's classifier pool.")
    gpus: Share = Field(
        0.0, description="Share of a GPU that Ray reserves for each replica; needs device cuda."
    )
    max_batch: int = Field(32, ge=1, le=1024, description="Largest number of crops in one batch.")
    max_wait_ms: float = Field(
        5.0, ge=0, le=1000, description="Milliseconds that a crop may wait for others of its batch."
    )
    max_pending: int = Field(
        256, ge=1, le=100_000, description="Largest number of crops that wait in one replica."
    )
    timeout_s: float = Field(
        5.0,
        ge=0.001,
        le=3600,
        description="Seconds after which a face without an answer is labelled `unknown`.",
    )

    @model_validator(mode="after")
    def _refuse_unused_gpu(self) -> RouteSettings:
        if self.gpus > 0 and not self.device.startswith("cuda"):
            raise ValueError(
                f"gpus = {self.gpus:g} reserves a GPU that device = {self.device!r} does not use: "
                "set device = 'cuda', or gpus = 0"
            )
        return self

    @property
    def degraded(self) -> str:
        """The weights for degraded images; empty: none."""
        if self.degraded_weights is None:
            return DEGRADED_WEIGHTS.get(self.weights, "")
        return self.degraded_weights


class RobustRouteSettings(RouteSettings):
    """The slower, more accurate route of the modes robust and auto."""

    weights: Weights
    share: float = Field(
        0.5, ge=0, le=100, description="Mode auto: compute of robust, at most so much of fast's."
    )
    cost: float = Field(
        20.0,
        ge=0.01,
        le=1_000_000,
        description="Mode auto: predicted compute of one face, in faces of the route fast.",
    )
    uncertain_above: Share = Field(
        0.5, description="Mode auto: uncertainty of fast above which robust is asked as well."
    )
    fusion_weight: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Mode auto: weight of an answer of robust beside one of fast; 1: equal.",
    )


class Routes(Section):
    """A route is a named way to classify a face, with a classifier pool of its own."""

    fast: RouteSettings = Field(RouteSettings(), description="The route that is always there.")
    robust: RobustRouteSettings | None = Field(
        None, description="The route of the modes robust and auto; unset: none."
    )

    def by_name(self) -> dict[str, RouteSettings]:
        """The routes that are configured."""
        return {FAST: self.fast} | ({ROBUST: self.robust} if self.robust else {})


class EmotionSettings(Section):
    """How faces are classified."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "weights": "routes.fast.weights",
        "weights_bad": "routes.fast.degraded_weights",
        "degraded_weights": "routes.fast.degraded_weights",
        "bad_noise": "routes.fast.degraded_noise",
        "degraded_noise": "routes.fast.degraded_noise",
        "flip": "routes.fast.flip",
        "draws": "routes.fast.draws",
        "dtype": "routes.fast.dtype",
        "device": "routes.fast.device",
        "threads": "routes.fast.threads",
    }

    mode: Mode = Field(
        "fast",
        description="Routes that classify faces: one of them; auto: fast, and robust where fast is "
        "uncertain.",
    )
    routes: Routes = Field(Routes(), description="The routes by name.")

    @model_validator(mode="after")
    def _refuse_missing_route(self) -> EmotionSettings:
        if fault := self.fault_of(self.mode):
            raise ValueError(fault)
        return self

    def fault_of(self, mode: Mode) -> str:
        """Why a mode cannot be served, in one sentence; "" where it can."""
        if mode == FAST or self.routes.robust is not None:
            return ""
        return f"mode {mode!r} needs a robust route: set emotion.routes.robust.weights"

    def names_needed(self) -> tuple[str, ...]:
        """The routes without which no face gets a first answer: in `auto`, robust may come
        later."""
        is_robust = self.mode == ROBUST and self.routes.robust is not None
        return (FAST, ROBUST) if is_robust else (FAST,)

    def in_use(self) -> EmotionSettings:
        """The same without the route robust, where the mode does not use it."""
        if self.mode != FAST or self.routes.robust is None:
            return self
        return self.model_copy(update={"routes": self.routes.model_copy(update={"robust": None})})


def check_gpus(emotion: EmotionSettings) -> None:
    """Raise ConfigError for a route whose device Ray would hide from it: a GPU is asked for and
    used by the same setting."""
    for route, settings in emotion.routes.by_name().items():
        if settings.device.startswith("cuda") and not settings.gpus:
            raise ConfigError(
                f"device = {settings.device!r} without a share of a GPU",
                f"emotion.routes.{route}",
                "set gpus (1: a whole GPU for each replica), or device = 'cpu'",
            )


OLD_POOL = {
    f"pool.{old}": f"emotion.routes.fast.{new}"
    for old, new in {
        "replicas": "replicas",
        "gpus_per_replica": "gpus",
        "max_batch": "max_batch",
        "max_wait_ms": "max_wait_ms",
        "max_pending": "max_pending",
        "timeout_s": "timeout_s",
    }.items()
}
"""The table [pool] of the release before. Read for one release, with a warning."""
