"""The recipes that have a name: LRDif, its rivals, and what is taken from them as a test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainer.errors import DataError
from trainer.recipes import Augment, PanelDraws, Recipe, Stage

W32 = {"width": 32, "stem_stride": 2, "dropout": 0.3}
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
LRDIF_PAPER = replace(
    LRDIF_S,
    network=LRDIF_S.network
    | {"norm": False, "zero_snr": False, "param": "eps", "insert_noise": True, "class_alone": True},
    stages=(
        LRDIF.stages[0],
        *(
            Stage(name, 100, batch=64, lr=3.5e-4, weight_decay=1e-4, optimizer="adam")
            for name in ("s1", "s2")
        ),
    ),
    objective={"kl": 1.0, "tau": 1.0, "l1": 0.0},
)
"""As printed, but for its misprints (eq. 14 and 16) and its pretrained weights."""
POSTER = replace(LRDIF, model="poster", stages=(LRDIF.stages[0], Stage("fit", epochs=40, lr=2e-3)))
RESNET = Recipe("resnet18", W32, (Stage("fit", epochs=40),), with_dropped=True)
"""A plain rival of the lean LRDif, 0.8 of its multiply-adds: as many passes over the faces as its
s1 and s2."""

ERASED = Augment(erase_px=(7, 24))
"""A blanked square of 0.02 to 0.25 of the face, as EAC has it."""

PRESETS: dict[tuple[str, str], Recipe] = {
    ("resnet18", "w32"): replace(
        RESNET, stages=(Stage("fit", epochs=32, resolution=((0.0, 32), (0.3, 48))),)
    ),
    ("resnet18", "w32-plain"): Recipe("resnet18", W32, (Stage("fit", epochs=30),)),
    ("resnet18", "w32-40"): RESNET,
    ("resnet18", "w32-40-udc"): replace(RESNET, panel=PanelDraws()),
    ("resnet18", "smoke"): Recipe(
        "resnet18",
        {"width": 8, "stem_stride": 2, "dropout": 0.0},
        (Stage("fit", epochs=8, batch=32),),
    ),
    ("lrdif", "cpu"): LRDIF,
    ("lrdif", "cpu-udc"): replace(LRDIF, panel=PanelDraws()),
    ("lrdif", "smoke"): replace(
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
    ("poster", "cpu"): POSTER,
    ("poster", "cpu-udc"): replace(POSTER, panel=PanelDraws()),
}
SEEN: dict[str, PanelDraws | None] = {"": None, "-udc": PanelDraws()}
"""The two conditions, by the end of a preset's name."""


def _wide(width: int, epochs: int, ema: float = 0.998) -> Recipe:
    network = {"width": width, "stem_stride": 1, "dropout": 0.3}
    return replace(RESNET, network=network, stages=(Stage("fit", epochs, ema=ema),))


RIVALS: dict[str, Recipe] = {
    "w36-40": replace(RESNET, network=W32 | {"width": 36}),
    **{f"w{width}-40": _wide(width, 40) for width in (35, 48, 64)},
    "eac-40": replace(RESNET, augment=ERASED, objective={"rival": "eac"}),
    "scn-40": replace(RESNET, objective={"rival": "scn"}),
    "rul-40": replace(RESNET, network=W32 | {"dropout": 0.4}, objective={"rival": "rul"}),
    **{f"w{width}-120": _wide(width, 120, ema=0.999) for width in (35, 48)},
}
"""Rivals by the passes over the faces that their name ends with: 40 as the lean LRDif, 120 as
LRDif-S. w36 has the multiply-adds of the one, 0.1 GMAC, w35 those of the other, 0.37; w48 is the
widest that can ship."""
PRESETS |= {
    ("resnet18", f"{name}{seen}"): replace(recipe, panel=panel)
    for name, recipe in RIVALS.items()
    for seen, panel in SEEN.items()
}
FACE_RESNET = Recipe(
    "face-resnet",
    {"dropout": 0.3},
    (Stage("fit", 24, lr=2e-3, resolution=((0.0, 96),), lr_scale=(("trunk", 0.1),)),),
    input_px=96,
    with_dropped=True,
    augment=Augment(erase_px=(12, 38)),
    encoder="dlib-face",
)
"""dlib's face network, fine-tuned on faces of 48 pixels enlarged to 96."""
PRESETS |= {
    ("face-resnet", f"dlib-{epochs}{seen}"): replace(
        FACE_RESNET, stages=(replace(FACE_RESNET.stages[0], epochs=epochs),), panel=panel
    )
    for epochs in (24, 40)
    for seen, panel in SEEN.items()
}
POSTER_S = replace(
    POSTER,
    network=LRDIF_S.network,
    stages=(LRDIF.stages[0], Stage("fit", epochs=120, lr=5e-4, ema=0.999)),
)
PRESETS |= {
    (recipe.model, f"{name}{seen}"): replace(recipe, panel=panel)
    for recipe, name in ((LRDIF_S, "s"), (LRDIF_S, "ours"), (POSTER_S, "s"))
    for seen, panel in SEEN.items()
}
STEPS = (1, 2, 4, 8, 16, 32)
"""Of the diffusion: the sweep of the paper's figure 6."""
CONTROLS: dict[str, dict[str, Any]] = {
    **{restorer: {"restorer": restorer} for restorer in ("mlp", "none")},
    **{f"t{steps}": {"steps": steps} for steps in STEPS},
    "noise": {"insert_noise": True},
}
"""What else may restore Z, in how many steps, and with noise inserted: changes of the network."""
CE_ALONE = {"kl": 0.0, "tau": 1.0, "l1": 0.0}
DOUBT = {"doubt": 0.33}
"""Of stage 1's labels: what stage 2 restores of Z is right two times in three (docs/LOG.md)."""


def _brief(changes: dict[str, Any]) -> Recipe:
    points, s1, s2 = LRDIF.stages
    return replace(
        LRDIF, network=LRDIF.network | changes, stages=(points, s1, replace(s2, epochs=8))
    )


ABLATIONS: dict[str, Recipe] = {
    **{
        f"cpu-{name}": replace(LRDIF, network=LRDIF.network | changes)
        for name, changes in CONTROLS.items()
    },
    **{f"brief-t{steps}": _brief({"steps": steps}) for steps in STEPS},
    "brief-doubt": replace(_brief({}), objective=DOUBT),
    "cpu-doubt": replace(LRDIF, objective=DOUBT),
    "cpu-ce": replace(LRDIF, objective=CE_ALONE),
    "paper": LRDIF_PAPER,
    **{
        f"paper-{name}": replace(LRDIF_PAPER, network=LRDIF_PAPER.network | changes)
        for name, changes in (
            ("r1", {"restorer": "mlp"}),
            ("v1", {"restorer": "none"}),
            ("v4", {"insert_noise": False}),
        )
    },
    "paper-v2": replace(LRDIF_PAPER, objective=CE_ALONE),
    "paper-v3": LRDIF_PAPER,
}
"""The lean LRDif and the paper's, something taken from each; brief ones have 8 epochs of stage 2.
v1 to v4 are the rows of the paper's table 5: no diffusion, cross-entropy alone, all of it, no noise
inserted; r1 stands beside v1."""
PRESETS |= {
    ("lrdif", f"{name}{seen}"): replace(recipe, panel=panel)
    for name, recipe in ABLATIONS.items()
    for seen, panel in SEEN.items()
}


def preset(model: str, name: str) -> Recipe:
    """The recipe of a model's preset; raises DataError with the known names."""
    if (model, name) not in PRESETS:
        known = ", ".join(f"{model} {preset}" for model, preset in PRESETS)
        raise DataError("no such preset", f"{model} {name}", f"known are: {known}")
    return PRESETS[model, name]
