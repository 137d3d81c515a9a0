"""EmoDC on the trunk of a ResNet-18 and from its weights: 0.13 GMAC for each noise level of a face.

`multi`, `split` and `cond`, by their head, learn the classifier of noisy faces and then its
decoder; with `-text` behind, emotions are described in words, with `-quality`, a face's noise
levels are those of its quality. `base` is standard denoising diffusion training after the same
classifier, and each of ARMS, a stage of `trainer.objectives.emodc`, goes on from it; all arms for
as many epochs. DATA_SETS are the data sets of the paper, each with `-ids` and `-text` behind: the
conditional model, Base and then AMDiT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from models.emodc.descriptions import CONDITIONS
from models.emotions import BASIC_SEVEN, COMPOUND_EMOTIONS, EMOTIONS
from trainer.presets import UDC, under_displays
from trainer.presets.noise_resnet18 import NOISE_RESNET
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
    *("amdit-a4-image-wide", "amdit-a4-image-narrow"),
)
EMODC = replace(
    NOISE_RESNET,
    model="emodc",
    network=NOISE_RESNET.network | {"head": "multi"},
    stages=(CLASSIFIER, DECODER),
)
EMODC_BASE = replace(EMODC, stages=(CLASSIFIER, BASE))

IN_WORDS: dict[str, Any] = {"condition": "text", "labels": list(EMOTIONS)}
DATA_SETS: dict[str, tuple[str, ...]] = {
    "rafdb": BASIC_SEVEN,
    "rafdb-compound": tuple(COMPOUND_EMOTIONS),
    "sfew": BASIC_SEVEN,
    "affectnet-7": BASIC_SEVEN,
    "affectnet-8": EMOTIONS,
}
"""Their classes, in the order of their readers (`trainer.data.folders`)."""


def _with_head(head: str, **network: Any) -> Recipe:
    return replace(EMODC, network=EMODC.network | {"head": head} | network)


def _for_data_set(labels: Sequence[str], condition: str) -> Recipe:
    """Without a teacher: those of the zoo know FER+'s classes alone."""
    network = {"head": "cond", "condition": condition, "labels": list(labels)}
    stages = (CLASSIFIER, BASE, replace(ARM, name="amdit-a1"))
    return replace(
        EMODC, network=EMODC.network | network, stages=stages, objective={}, with_dropped=False
    )


NOISE_WEIGHTS = "noise-resnet18-w36"
EMODC_6 = replace(EMODC, stages=(replace(DECODER, epochs=6),), encoder=NOISE_WEIGHTS)
"""The decoder alone, for 6 epochs, on the classifier of noisy faces that the zoo has."""
CLEAN = {
    "multi": EMODC,
    "multi-quality": _with_head("multi", levels="quality"),
    "multi-6": EMODC_6,
    "split": _with_head("split"),
    "cond": _with_head("cond"),
    "split-text": _with_head("split", **IN_WORDS),
    "cond-text": _with_head("cond", **IN_WORDS),
    "base": EMODC_BASE,
    **{arm: replace(EMODC_BASE, stages=(CLASSIFIER, BASE, replace(ARM, name=arm))) for arm in ARMS},
    **{
        f"{name}-{condition}": _for_data_set(labels, condition)
        for name, labels in DATA_SETS.items()
        for condition in CONDITIONS
    },
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
    **{f"{name}{UDC}": under_displays(recipe) for name, recipe in CLEAN.items()},
}
