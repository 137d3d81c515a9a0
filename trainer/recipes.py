"""Recipes: everything that a training run does, as values."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from models.crops import GEOMETRY
from trainer.errors import OptionError

OMIT_DEFAULT = {"omit_default": True}
"""Metadata of a field that is left out of a run's hash while it has its default. Every field that
is added to a recipe has it: runs from before the field existed can then be resumed."""
VIEWS = ("same", "clean")
"""Which image of a face the teachers classify."""
SCHEDULES = ("one-cycle", "constant")


@dataclass(frozen=True)
class Augment:
    """Random changes of a face in training, each sampled uniformly from its range.

    rotation in degrees, shift and scale as shares of the side, contrast as a share, brightness in
    units of the normalised input; a square of `erase_px` pixels (least and most, at full
    resolution) is erased with probability `erase_p`. Half of the faces are flipped.
    """

    rotation: float = 15.0
    shift: float = 0.08
    scale: float = 0.12
    contrast: float = 0.2
    brightness: float = 0.4
    erase_p: float = 0.5
    erase_px: tuple[int, int] = (6, 19)


@dataclass(frozen=True)
class RandomPanel:
    """Simulated displays with random parameters, over a `share` of the faces (`models.udc.panel`).

    `open` share of an axis, `spacing_px` for a face of 48 pixels: uniform; `transmission` and
    `white_e`, electrons of white: uniform in their logarithm. A share `real` of the displays has
    the kernel of a real P-OLED instead, for faces `real_face_px` wide in a frame of 2,048 pixels,
    uniform in its logarithm.
    """

    share: float = 0.75
    open: tuple[float, float] = (0.2, 1.0)
    spacing_px: tuple[float, float] = (0.0, 3.2)
    transmission: tuple[float, float] = (0.029, 1.0)
    white_e: tuple[float, float] = (273.0, 10024.0)
    real: float = field(default=0.0, metadata=OMIT_DEFAULT)
    real_face_px: tuple[float, float] = field(default=(50.0, 600.0), metadata=OMIT_DEFAULT)


@dataclass(frozen=True)
class Distillation:
    """Learning from other networks: `weight` of the targets is the teachers' mean prediction, the
    rest the votes. Teachers by name or path, with the sha256 of each (see `trainer.distillation`);
    `view`: they classify the `same` image as the student, or its `clean` twin; `temperature`, 1 to
    20: what the logits of teachers and student are divided by where the two are compared."""

    teachers: tuple[str, ...]
    sha256: tuple[str, ...]
    weight: float = 0.5
    view: str = field(default="same", metadata=OMIT_DEFAULT)
    temperature: float = field(default=1.0, metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        if not 1 <= self.temperature <= 20:
            what = f"a temperature of {self.temperature:g}"
            raise OptionError(what, "--distill-temperature", "give a number from 1 to 20")
        if self.view not in VIEWS:
            raise OptionError(f"view {self.view!r}", "--teacher-view", f"give {' or '.join(VIEWS)}")
        if not self.teachers:
            raise OptionError("no teachers", "--teacher", "give one or more weights")
        if not 0 < self.weight <= 1:
            what = f"a weight of {self.weight:g}"
            raise OptionError(what, "--distill-weight", "give a share above 0, at most 1")


@dataclass(frozen=True)
class Stage:
    """One optimisation, its weights averaged over steps (EMA).

    `optimizer` is `adamw` or `adam`, its learning rate under a `schedule`: `one-cycle`, or
    `constant`. `balance` samples faces with replacement, each class by its count to the power of
    minus that (0: every face once an epoch). `clip_norm`, where not 0, bounds the gradient's norm.
    `resolution` lists (share of the epochs done, pixels): inputs are smaller in the first epochs.
    `lr_scale` lists (module of the network, factor): pretrained modules learn more slowly.
    `observations`: batches hold up to that many less one earlier observations of each face.
    """

    name: str
    epochs: int
    batch: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.05
    ema: float = 0.998
    resolution: tuple[tuple[float, int], ...] = ((0.0, 48),)
    optimizer: str = "adamw"
    lr_scale: tuple[tuple[str, float], ...] = field(default=(), metadata=OMIT_DEFAULT)
    schedule: str = field(default="one-cycle", metadata=OMIT_DEFAULT)
    balance: float = field(default=0.0, metadata=OMIT_DEFAULT)
    clip_norm: float = field(default=0.0, metadata=OMIT_DEFAULT)
    observations: int = field(default=1, metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            known = " or ".join(SCHEDULES)
            raise OptionError(f"schedule {self.schedule!r}", f"stage {self.name}", f"give {known}")


@dataclass(frozen=True)
class Recipe:
    """A network, its input and the stages that train it.

    `panel`: some faces are trained on under simulated displays, which is another condition: such
    weights are never compared with weights trained on clean faces alone. `objective`: the settings
    of the model's own objective, or, with a `name`, of another one in `trainer.objectives`.
    `with_dropped`: train on the votes of faces without a majority too, where the data is FER+.
    `encoder`: the pretrained network that a part of this one starts from (`trainer.pretrained`).
    `crop`: the geometry of the faces (`models.crops`), in training and in serving.

    A run is resumed only with the recipe that it was started with.
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
    panel: RandomPanel | None = None
    objective: dict[str, Any] = field(default_factory=dict)
    distillation: Distillation | None = field(default=None, metadata=OMIT_DEFAULT)
    encoder: str = field(default="", metadata=OMIT_DEFAULT)
    crop: str = field(default=GEOMETRY, metadata=OMIT_DEFAULT)


def hash_run(recipe: Recipe, seed: int) -> str:
    """What a checkpoint is known by: hex sha256 of all that a run depends on except its faces."""
    text = json.dumps([_to_json(recipe), seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_to_json(each) for each in value]
    if isinstance(value, dict):
        return {name: _to_json(each) for name, each in value.items()}
    if not is_dataclass(value):
        return value
    values = ((one, getattr(value, one.name)) for one in fields(value))
    return {
        one.name: _to_json(each)
        for one, each in values
        if not (one.metadata.get("omit_default") and each == one.default)
    }
