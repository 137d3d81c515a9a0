"""ResNet-18: the plain baseline, and the published methods EAC, SCN and RUL on it.

A name gives width and epochs: w36-40 has the multiply-adds of the lean LRDif, 0.1 GMAC, w35-120
those of LRDif-S, 0.37; w48 is the widest that is small enough to ship. w36-tune goes on from the
shipped weights for as many epochs as LRDif with a clean-twin prior; w36-tune-aligned turns them
to aligned faces. `own`, and the names of data sets, go on from them on other faces: batches and
epochs by how many faces there are.
"""

from __future__ import annotations

from dataclasses import replace

from models.crops import ALIGNED
from trainer.presets import REAL, REAL_PANELS, UDC, add_udc_variants, under_displays
from trainer.recipes import Augment, RandomPanel, Recipe, Stage

W32 = {"width": 32, "stem_stride": 2, "dropout": 0.3}
RESNET = Recipe("resnet18", W32, (Stage("fit", epochs=40),), with_dropped=True)
"""As many epochs as the lean LRDif's s1 and s2, 0.8 of its multiply-adds."""
ERASED = Augment(erase_px=(7, 24))
"""An erased square of 0.02 to 0.25 of the face, as in EAC."""


def _wide(width: int, epochs: int, ema: float = 0.998) -> Recipe:
    """With a stem of stride 1."""
    network = {"width": width, "stem_stride": 1, "dropout": 0.3}
    return replace(RESNET, network=network, stages=(Stage("fit", epochs, ema=ema),))


W36 = replace(RESNET, network=W32 | {"width": 36})
W36_12 = replace(W36, stages=(Stage("fit", epochs=12),))
"""Cut short, to compare two ways of training: with faces as they are and aligned, for one."""
W24_12 = replace(W36_12, network=W32 | {"width": 24})
TUNE = Stage("fit", epochs=8, lr=1e-3)
W36_TUNE = replace(W36, stages=(TUNE,), panel=RandomPanel(), encoder="resnet18-w36-udc")
W36_TUNE_REAL = replace(W36_TUNE, stages=(replace(TUNE, epochs=9),), panel=REAL_PANELS)
"""As many epochs as LRDif with its stage for tracks."""
W36_TUNE_ALIGNED = replace(
    W36, stages=(replace(TUNE, epochs=9),), crop=ALIGNED, encoder="resnet18-w36"
)
TUNE_SMALL = Stage("fit", epochs=12, batch=32, lr=3e-4)
"""At 1e-3, for 20 epochs, weights for faces that they knew fell from 89 to 77 % (900 faces)."""
TUNE_MEDIUM = Stage("fit", epochs=30, batch=64, lr=1e-3)
TUNE_LARGE = Stage("fit", epochs=12, lr=1e-3, balance=0.5)
"""Of AffectNet, in which one class has thirty times the faces of another."""
DATA_SETS = {
    "own": TUNE_SMALL,
    "kdef": TUNE_SMALL,
    "ckplus": TUNE_SMALL,
    "sfew": TUNE_SMALL,
    "rafdb": TUNE_MEDIUM,
    "rafdb-compound": replace(TUNE_MEDIUM, batch=32, balance=0.5),
    "affectnet-7": TUNE_LARGE,
    "affectnet-8": TUNE_LARGE,
}
"""Stages on other faces, by the data set (`trainer.data.layouts`); none of them was measured on
its data set here. A network for other classes keeps all but its last layer."""


def _go_on(stage: Stage) -> Recipe:
    return replace(W36, stages=(stage,), encoder="resnet18-w36", with_dropped=False)


PRESETS = {
    "w36-tune-aligned": W36_TUNE_ALIGNED,
    f"w36-tune-aligned{UDC}": under_displays(W36_TUNE_ALIGNED),
    f"w36-tune{UDC}": W36_TUNE,
    f"w36-tune{UDC}{REAL}": W36_TUNE_REAL,
    "w32": replace(RESNET, stages=(Stage("fit", epochs=32, resolution=((0.0, 32), (0.3, 48))),)),
    "w32-plain": Recipe("resnet18", W32, (Stage("fit", epochs=30),)),
    "smoke": Recipe(
        "resnet18",
        {"width": 8, "stem_stride": 2, "dropout": 0.0},
        (Stage("fit", epochs=8, batch=32),),
    ),
    **add_udc_variants(
        {
            "w32-40": RESNET,
            "w24-12": W24_12,
            "w24-12-aligned": replace(W24_12, crop=ALIGNED),
            "w36-12-aligned": replace(W36_12, crop=ALIGNED),
            "w36-12": W36_12,
            "w36-40": W36,
            "w36-40-aligned": replace(W36, crop=ALIGNED),
            "w35-40": _wide(35, 40),
            "w48-40": _wide(48, 40),
            "w64-40": _wide(64, 40),
            "w35-120": _wide(35, 120, ema=0.999),
            "w48-120": _wide(48, 120, ema=0.999),
            "eac-40": replace(RESNET, augment=ERASED, objective={"name": "eac"}),
            "scn-40": replace(RESNET, objective={"name": "scn"}),
            "rul-40": replace(RESNET, network=W32 | {"dropout": 0.4}, objective={"name": "rul"}),
        }
    ),
    **{name: _go_on(stage) for name, stage in DATA_SETS.items()},
    **{f"{name}{UDC}": under_displays(_go_on(stage)) for name, stage in DATA_SETS.items()},
    f"w36-12{UDC}{REAL}": replace(W36_12, panel=REAL_PANELS),
    f"w36-40{UDC}{REAL}": replace(W36, panel=REAL_PANELS),
}
