"""DR-FER: `compact`, for two cores, `s`, larger, and `resnet50`, with the poster's backbone.

`compact` has the multiply-adds of a ResNet-18 w36, 0.1 G a face, and 40 epochs in all, as
`resnet18 w36-40`. Behind its name: what is left out of it, or takes the place of a part. `-poster`
is the poster's own pipeline, without cross-fitting and with hard targets; `-ce` the network with
plain cross-entropy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainer.presets import add_udc_variants
from trainer.recipes import Augment, Recipe, Stage


def _stages(
    warmup: int, rounds: int, fit: int, px: int = 48, lr: float = 3e-3
) -> tuple[Stage, ...]:
    """The stages that have any epochs."""
    epochs = {"warmup": warmup, "rounds": rounds, "fit": fit}
    sized = ((0.0, px),)
    return tuple(Stage(name, n, lr=lr, resolution=sized) for name, n in epochs.items() if n)


COMPACT = Recipe("drfer", {"width": 32, "stem_stride": 2, "dropout": 0.3}, _stages(10, 15, 15))
IN_FOLD = replace(COMPACT, stages=_stages(10, 30, 0), objective={"folds": 1})
"""One network, as many epochs."""
POSTER: dict[str, Any] = {
    **{"folds": 1, "hard": True, "every": 1, "mixup": 0.0, "normalised": False},
    **{"clean_first": 0.5, "clean_last": 0.5, "gallery": 0, "temperature": 1.0},
}
RESNET50 = replace(
    COMPACT,
    network={"backbone": "resnet50", "dropout": 0.3},
    stages=_stages(5, 55, 0, px=112, lr=1e-3),
    input_px=112,
    augment=Augment(erase_px=(14, 44)),
    objective=POSTER | {"patch_px": 16},
)


def _with(**settings: Any) -> Recipe:
    return replace(COMPACT, objective=settings)


PRESETS = {
    "smoke": Recipe(
        "drfer",
        {"width": 8, "stem_stride": 2, "embedding": 32, "dropout": 0.0},
        tuple(Stage(name, n, batch=32) for name, n in (("warmup", 3), ("rounds", 2), ("fit", 2))),
        objective={"every": 1, "gallery": 0},
    ),
    **add_udc_variants(
        {
            "compact": COMPACT,
            "s": replace(COMPACT, network={"dropout": 0.3}, stages=_stages(10, 25, 25)),
            "resnet50": RESNET50,
            "compact-poster": replace(IN_FOLD, objective=POSTER),
            "compact-no-mim": _with(mim=0.0),
            "compact-no-class-gmm": _with(per_class=False),
            "compact-no-dcl": _with(dcl="none"),
            "compact-no-retrieval": _with(retrieval="none"),
            "compact-no-crossfit": IN_FOLD,
            "compact-knn": _with(retrieval="knn"),
            "compact-dcl-batch": _with(dcl="batch"),
            "compact-dcl-centre": _with(dcl="centre"),
            "compact-ce": replace(
                COMPACT, stages=(Stage("fit", 40),), objective={"name": "softmax"}
            ),
        }
    ),
}
