"""Recipes: everything a run does, as values. A preset is a name for one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainer.errors import DataError


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
class Stage:
    """One optimisation: AdamW under a one-cycle learning rate, weights averaged over steps (EMA).

    `resolution` lists (share of the epochs done, pixels): faces are shrunk while shapes are coarse.
    """

    name: str
    epochs: int
    batch: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.05
    ema: float = 0.998
    resolution: tuple[tuple[float, int], ...] = ((0.0, 48),)


@dataclass(frozen=True)
class Recipe:
    """A network, its input and the stages that train it.

    `with_dropped`: learn from the votes on faces without a majority too, where the data is FER+.
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


W32 = {"width": 32, "stem_stride": 2, "dropout": 0.3}
PRESETS: dict[tuple[str, str], Recipe] = {
    ("resnet18", "w32"): Recipe(
        "resnet18",
        W32,
        (Stage("fit", epochs=32, resolution=((0.0, 32), (0.3, 48))),),
        with_dropped=True,
    ),
    ("resnet18", "w32-plain"): Recipe("resnet18", W32, (Stage("fit", epochs=30),)),
    ("resnet18", "smoke"): Recipe(
        "resnet18",
        {"width": 8, "stem_stride": 2, "dropout": 0.0},
        (Stage("fit", epochs=8, batch=32),),
    ),
}


def preset(model: str, name: str) -> Recipe:
    """The recipe of a model's preset; raises DataError with the known names."""
    if (model, name) not in PRESETS:
        known = ", ".join(f"{model} {preset}" for model, preset in PRESETS)
        raise DataError("no such preset", f"{model} {name}", f"known are: {known}")
    return PRESETS[model, name]
