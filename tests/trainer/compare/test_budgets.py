"""What runs are given, by hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from trainer.compare.budgets import learned_alike, passes, teachers
from trainer.presets import preset
from trainer.recipes import Distil, Recipe


def card(recipe: Recipe) -> dict[str, Any]:
    return {"model": recipe.model, "network": recipe.network, "recipe": asdict(recipe)}


LRDIF, W32 = (card(preset(*name)) for name in (("lrdif", "cpu"), ("resnet18", "w32-40")))


def test_landmarks_are_no_pass_over_expressions() -> None:
    assert passes(LRDIF) == passes(W32) == passes(card(preset("poster", "cpu"))) == 40
    assert {passes(card(preset(model, "s"))) for model in ("lrdif", "poster")} == {120}
    assert passes(card(preset("resnet18", "w35-120"))) == 120


def test_alike_is_as_many_passes_as_large_with_the_same_teachers() -> None:
    assert learned_alike(LRDIF, W32)
    assert learned_alike(LRDIF, card(preset("lrdif", "cpu-mlp")))
    assert not learned_alike(LRDIF, card(preset("resnet18", "w32")))  # fewer, and some at 32 px
    (stage,) = preset("resnet18", "w32-40").stages
    small = replace(stage, resolution=((0.0, 32), (0.5, 48)))
    assert not learned_alike(W32, card(replace(preset("resnet18", "w32-40"), stages=(small,))))
    taught = card(replace(preset("lrdif", "cpu"), distil=Distil(("a",), ("0",))))
    assert teachers(taught) == ("a",)
    assert not learned_alike(LRDIF, taught)
