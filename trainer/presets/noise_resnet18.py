"""A ResNet-18 of noisy faces: EmoDC's baseline, and by its stage `classifier` EmoDC's encoder.

A name gives width and epochs. It starts from the plain network of its condition.
"""

from __future__ import annotations

from trainer.presets import UDC, under_displays
from trainer.recipes import Recipe, Stage

PLAIN = "resnet18-w36"
"""The network that it starts from and, with UDC behind, the one for displays."""
NOISE_RESNET = Recipe(
    "noise-resnet18",
    {"width": 36, "dropout": 0.3, "steps": 4},
    (Stage("fit", epochs=20, lr=1e-3, balance=0.5),),
    with_dropped=True,
    objective={"teacher": PLAIN},
    encoder=PLAIN,
)


PRESETS = {
    "smoke": Recipe(
        "noise-resnet18",
        {"width": 8, "dropout": 0.0},
        (Stage("fit", epochs=8, batch=32),),
    ),
    "w36-20": NOISE_RESNET,
    f"w36-20{UDC}": under_displays(NOISE_RESNET),
}
