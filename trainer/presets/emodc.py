"""EmoDC on the trunk of a ResNet-18 and from its weights: 0.13 GMAC for each noise level of a face.

`multi`, `split` and `cond`, by their head, learn the classifier of noisy faces and then its
decoder. `base` is standard denoising diffusion training after the same classifier; every other name
is an arm of `trainer.objectives.emodc` that goes on from it, all for as many epochs.
"""

from __future__ import annotations

from dataclasses import replace

from trainer.presets import UDC
from trainer.presets.noise_resnet18 import NOISE_RESNET, under_displays
from trainer.recipes import Recipe, Stage

SLOW_ENCODER = (("emodc.encoder", 0.1),)
CLASSIFIER = replace(NOISE_RESNET.stages[0], name="classifier")
DECODER = Stage("decoder", epochs=24, lr=1e-3, lr_scale=SLOW_ENCODER, balance=0.5, clip_norm=1.0)
BASE = replace(DECODER, name="base", epochs=8)
ARM = replace(BASE, lr=5e-4)
"""Of an arm: as long as the Base model itself."""
ARMS = (
    *("base-longer", "ce", "mdt-0.001", "mdt-0.003", "mdt-0.01", "mdt-0.03"),
    *("amdit-a1", "amdit-a1-detached", "amdit-a1-permuted", "amdit-a1-measured"),
    *("amdit-a2", "amdit-a3", "amdit-a4-wide", "amdit-a4-narrow"),
)
EMODC = replace(
    NOISE_RESNET,
    model="emodc",
    network=NOISE_RESNET.network | {"head": "multi"},
    stages=(CLASSIFIER, DECODER),
)
EMODC_BASE = replace(EMODC, stages=(CLASSIFIER, BASE))


def _with_head(head: str) -> Recipe:
    return replace(EMODC, network=EMODC.network | {"head": head})


NOISE_WEIGHTS = "noise-resnet18-w36"
EMODC_6 = replace(EMODC, stages=(replace(DECODER, epochs=6),), encoder=NOISE_WEIGHTS)
"""The decoder alone, for 6 epochs, on the classifier of noisy faces that the zoo has."""
CLEAN = {
    "multi": EMODC,
    "multi-6": EMODC_6,
    "split": _with_head("split"),
    "cond": _with_head("cond"),
    "base": EMODC_BASE,
    **{arm: replace(EMODC_BASE, stages=(CLASSIFIER, BASE, replace(ARM, name=arm))) for arm in ARMS},
}
PRESETS = {
    "smoke": Recipe(
        "emodc",
        {"head": "multi", "width": 8, "dropout": 0.0},
        (
            Stage("classifier", epochs=4, batch=32),
            Stage("decoder", epochs=6, batch=32, clip_norm=1.0),
        ),
    ),
    **CLEAN,
    **{
        f"{name}{UDC}": under_displays(recipe)
        for name, recipe in CLEAN.items()
        if recipe.encoder != NOISE_WEIGHTS
    },
}
