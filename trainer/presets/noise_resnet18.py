"""A ResNet-18 of noisy faces: EmoDC's baseline, and by its stage `classifier` EmoDC's encoder.

A name gives width and epochs. It starts from the plain network of its condition.
"""

from __future__ import annotations

from dataclasses import replace

from trainer.presets import UDC
from trainer.recipes import RandomPanel, Recipe, Stage

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


def under_displays(recipe: Recipe) -> Recipe:
    """The same under simulated displays, from the weights that have seen them."""
    return replace(recipe, panel=RandomPanel(), encoder=f"{recipe.encoder}{UDC}")


PRESETS = {
    "smoke": Recipe(
        "noise-resnet18",
        {"width": 8, "dropout": 0.0},
        (Stage("fit", epochs=8, batch=32),),
    ),
    "w36-20": NOISE_RESNET,
    f"w36-20{UDC}": under_displays(NOISE_RESNET),
}
