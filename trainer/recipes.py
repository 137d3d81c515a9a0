"""Recipes: everything a run does, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainer.errors import OptionError

SINCE_DEFAULT = {"since_default": True}
"""Metadata of a field that changes nothing as long as it stands at its default."""


VIEWS = ("same", "clean")
"""What teachers may judge."""
SCHEDULES = ("one-cycle", "constant")


@dataclass(frozen=True)
class Augment:
    """Random changes of a face in training, each drawn evenly from its range.

    rotation in degrees, shift and scale as shares of the side, contrast as a share, brightness in
    units of the normalised input; a square of `erase_px` pixels (least and most, at full
    resolution) is blanked with probability `erase_p`. Half of the faces are mirrored.
    """

    rotation: float = 15.0
    shift: float = 0.08
    scale: float = 0.12
    contrast: float = 0.2
    brightness: float = 0.4
    erase_p: float = 0.5
    erase_px: tuple[int, int] = (6, 19)


@dataclass(frozen=True)
class PanelDraws:
    """Displays drawn for a `share` of the faces (see `models.udc.panel`).

    `open` share of an axis, `spacing_px` for a face of 48 pixels: drawn evenly; `transmission` and
    `white_e`, electrons of white: evenly in their logarithm.
    """

    share: float = 0.75
    open: tuple[float, float] = (0.2, 1.0)
    spacing_px: tuple[float, float] = (0.0, 3.2)
    transmission: tuple[float, float] = (0.029, 1.0)
    white_e: tuple[float, float] = (273.0, 10024.0)


@dataclass(frozen=True)
class Distil:
    """Trained networks that a `share` of what is learnt comes from, the rest from votes: weights by
    name or path, and the sha256 of each (see `trainer.teachers`). `view`: the image that they
    judge, the `same` as the student's or its `clean` twin."""

    teachers: tuple[str, ...]
    sha256: tuple[str, ...]
    share: float = 0.5
    view: str = field(default="same", metadata=SINCE_DEFAULT)

    def __post_init__(self) -> None:
        if self.view not in VIEWS:
            raise OptionError(f"view {self.view!r}", "--teacher-view", f"give {' or '.join(VIEWS)}")
        if not self.teachers or not 0 < self.share <= 1:
            raise OptionError(
                f"share {self.share:g} of {len(self.teachers)} teachers",
                "--teachers",
                "give one or more, and a share above 0, at most 1",
            )


@dataclass(frozen=True)
class Stage:
    """One optimisation, its weights averaged over steps (EMA).

    `optimizer` is `adamw` or `adam`, its learning rate under a `schedule`: `one-cycle`, or
    `constant`. `balance` draws faces with replacement, each class by its count to the power of
    minus that (0: every face once an epoch). `clip_norm`, where not 0, bounds the gradient's norm.
    `resolution` lists (share of the epochs done, pixels): faces are shrunk while shapes are coarse.
    `lr_scale` lists (module of the network, factor): what was trained before learns more slowly.
    """

    name: str
    epochs: int
    batch: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.05
    ema: float = 0.998
    resolution: tuple[tuple[float, int], ...] = ((0.0, 48),)
    optimizer: str = "adamw"
    lr_scale: tuple[tuple[str, float], ...] = field(default=(), metadata=SINCE_DEFAULT)
    schedule: str = field(default="one-cycle", metadata=SINCE_DEFAULT)
    balance: float = field(default=0.0, metadata=SINCE_DEFAULT)
    clip_norm: float = field(default=0.0, metadata=SINCE_DEFAULT)

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            known = " or ".join(SCHEDULES)
            raise OptionError(f"schedule {self.schedule!r}", f"stage {self.name}", f"give {known}")


@dataclass(frozen=True)
class Recipe:
    """A network, its input and the stages that train it.

    `panel`: faces are also seen through simulated displays: another condition, never compared with
    weights that saw none. `objective`: the settings of the model's own objective, or, with a
    `name`, of another one in `trainer.objectives`. `with_dropped`:
    learn from the votes on faces without a majority too, where the data is FER+. `distil`: learn
    from other networks too. `encoder`: the pretrained network that a part of this one starts from
    (see `trainer.pretrained`). `clean_twin`: batches hold each face without its display too.

    A run goes on only with the recipe that it was begun with: a field that is added to a recipe
    says `since_default`, so that runs from before it was there still go on (see `trainer.loop`).
    """

    model: str
    network: dict[str, Any]
    stages: tuple[Stage, ...]
    input_px: int = 48
    channels: int = 1
    mean: float = 0.5
    std: float = 0.25
    with_dropped: bool = False
    augment: Augment = field(default_factory=Augment)
    panel: PanelDraws | None = None
    objective: dict[str, Any] = field(default_factory=dict)
    distil: Distil | None = field(default=None, metadata=SINCE_DEFAULT)
    encoder: str = field(default="", metadata=SINCE_DEFAULT)
    clean_twin: bool = field(default=False, metadata=SINCE_DEFAULT)
