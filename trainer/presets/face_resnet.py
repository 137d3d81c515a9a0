"""dlib's face network, fine-tuned on faces of 48 pixels enlarged to 96: a name gives the epochs."""

from __future__ import annotations

from dataclasses import replace

from trainer.presets import add_udc_variants
from trainer.recipes import Augment, Recipe, Stage

FIT = Stage("fit", 24, lr=2e-3, resolution=((0.0, 96),), lr_scale=(("trunk", 0.1),))
FACE_RESNET = Recipe(
    "face-resnet",
    {"dropout": 0.3},
    (FIT,),
    input_px=96,
    with_dropped=True,
    augment=Augment(erase_px=(12, 38)),
    encoder="dlib-face",
)
PRESETS = {
    "smoke": Recipe(
        "face-resnet",
        {"dropout": 0.0},
        (Stage("fit", 2, batch=32, lr=1e-3, resolution=((0.0, 64),)),),
        input_px=64,
    )
} | add_udc_variants(
    {
        "dlib-24": FACE_RESNET,
        "dlib-40": replace(FACE_RESNET, stages=(replace(FIT, epochs=40),)),
    }
)
