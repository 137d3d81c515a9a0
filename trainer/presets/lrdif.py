"""LRDif: the lean one for two cores, a larger one, the paper's own, and ablations of each.

The paper's rows v1 to v4 are those of its table 5: no diffusion, cross-entropy alone, all of it, no
noise inserted; r1, a plain regressor, stands beside v1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainer.presets import with_udc
from trainer.recipes import Recipe, Stage

LRDIF = Recipe(
    "lrdif",
    {"widths": [32, 64, 128], "dil_blocks": [1, 2, 2], "dt_widths": [16, 32, 64], "width": 96},
    (
        Stage("points", epochs=5),
        Stage("s1", epochs=3, lr=2e-3),
        Stage("s2", epochs=37, lr=2e-3),
    ),
    with_dropped=True,
)
"""The lean LRDif, for two CPU cores: 0.1 GMAC a face."""
LRDIF_S = replace(
    LRDIF,
    network={
        "widths": [48, 96, 192],
        "dil_blocks": [2, 2, 2],
        "dt_widths": [48, 96, 192],
        "dt_blocks": 2,
        "width": 192,
        "fusion_blocks": 2,
    },
    stages=(
        LRDIF.stages[0],
        *(Stage(name, epochs=60, lr=5e-4, ema=0.999) for name in ("s1", "s2")),
    ),
)
CONSTANT: dict[str, Any] = {"optimizer": "adam", "schedule": "constant"}
LRDIF_PAPER = replace(
    LRDIF_S,
    network=LRDIF_S.network
    | {"norm": False, "zero_snr": False, "param": "eps", "insert_noise": True, "class_alone": True},
    stages=(
        LRDIF.stages[0],
        *(
            Stage(name, 100, batch=64, lr=3.5e-4, weight_decay=1e-4, **CONSTANT)
            for name in ("s1", "s2")
        ),
    ),
    objective={"kl": 1.0, "tau": 1.0, "l1": 0.0},
)
"""As printed, but for its misprints (eq. 14 and 16) and its pretrained weights."""

CE_ALONE = {"kl": 0.0, "tau": 1.0, "l1": 0.0}
DOUBT = {"doubt": 0.33}
"""Of stage 1's labels: what stage 2 restores of Z is right two times in three (docs/LOG.md)."""


def _changed(recipe: Recipe, **network: Any) -> Recipe:
    return replace(recipe, network=recipe.network | network)


def _brief(recipe: Recipe) -> Recipe:
    """With 8 epochs of stage 2."""
    points, s1, s2 = recipe.stages
    return replace(recipe, stages=(points, s1, replace(s2, epochs=8)))


BRIEF = _brief(LRDIF)
PRESETS = {
    "smoke": replace(
        LRDIF,
        network={
            "prior": 16,
            "widths": [8, 16, 32],
            "dil_blocks": [1, 1, 1],
            "dt_widths": [8, 16, 32],
            "width": 16,
        },
        stages=tuple(Stage(name, epochs=3, batch=32) for name in ("points", "s1", "s2")),
    ),
    **with_udc(
        {
            "cpu": LRDIF,
            "s": LRDIF_S,
            "ours": LRDIF_S,
            "cpu-mlp": _changed(LRDIF, restorer="mlp"),
            "cpu-none": _changed(LRDIF, restorer="none"),
            "cpu-t1": _changed(LRDIF, steps=1),
            "cpu-t2": _changed(LRDIF, steps=2),
            "cpu-t4": _changed(LRDIF, steps=4),
            "cpu-t8": _changed(LRDIF, steps=8),
            "cpu-t16": _changed(LRDIF, steps=16),
            "cpu-t32": _changed(LRDIF, steps=32),
            "cpu-noise": _changed(LRDIF, insert_noise=True),
            "cpu-doubt": replace(LRDIF, objective=DOUBT),
            "cpu-ce": replace(LRDIF, objective=CE_ALONE),
            "brief-t1": _changed(BRIEF, steps=1),
            "brief-t2": _changed(BRIEF, steps=2),
            "brief-t4": _changed(BRIEF, steps=4),
            "brief-t8": _changed(BRIEF, steps=8),
            "brief-t16": _changed(BRIEF, steps=16),
            "brief-t32": _changed(BRIEF, steps=32),
            "brief-doubt": replace(BRIEF, objective=DOUBT),
            "paper": LRDIF_PAPER,
            "paper-r1": _changed(LRDIF_PAPER, restorer="mlp"),
            "paper-v1": _changed(LRDIF_PAPER, restorer="none"),
            "paper-v2": replace(LRDIF_PAPER, objective=CE_ALONE),
            "paper-v3": LRDIF_PAPER,
            "paper-v4": _changed(LRDIF_PAPER, insert_noise=False),
        }
    ),
}
