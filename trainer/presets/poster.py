"""Poster: LRDif's network without diffusion, trained for as many epochs."""

from __future__ import annotations

from dataclasses import replace

from trainer.presets import add_udc_variants
from trainer.presets.lrdif import LRDIF, LRDIF_S
from trainer.recipes import Stage

POINTS = LRDIF.stages[0]
POSTER = replace(LRDIF, model="poster", stages=(POINTS, Stage("fit", epochs=40, lr=2e-3)))
POSTER_S = replace(
    POSTER,
    network=LRDIF_S.network,
    stages=(POINTS, Stage("fit", epochs=120, lr=5e-4, ema=0.999)),
)
SMOKE = replace(
    POSTER,
    network={
        "widths": [8, 16, 32],
        "dil_blocks": [1, 1, 1],
        "dt_widths": [8, 16, 32],
        "width": 16,
    },
    stages=(Stage("fit", epochs=3, batch=32),),
)
PRESETS = {"smoke": SMOKE} | add_udc_variants({"cpu": POSTER, "s": POSTER_S})
