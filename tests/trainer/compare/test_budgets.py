"""Budgets of runs, by hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from trainer.compare.budgets import (
    count_epochs,
    count_steps,
    have_equal_budgets,
    is_control,
    list_teachers,
    without_steps,
)
from trainer.presets import find_preset
from trainer.recipes import Distillation, Recipe


def card(recipe: Recipe) -> dict[str, Any]:
    return {"model": recipe.model, "network": recipe.network, "recipe": asdict(recipe)}


LRDIF, W32 = (card(find_preset(*name)) for name in (("lrdif", "cpu"), ("resnet18", "w32-40")))


def test_landmark_epochs_do_not_count() -> None:
    assert (
        count_epochs(LRDIF)
        == count_epochs(W32)
        == count_epochs(card(find_preset("poster", "cpu")))
        == 40
    )
    assert {count_epochs(card(find_preset(model, "s"))) for model in ("lrdif", "poster")} == {120}
    assert count_epochs(card(find_preset("resnet18", "w35-120"))) == 120


def test_budgets_are_equal_with_as_many_epochs_at_each_resolution_and_the_same_teachers() -> None:
    assert have_equal_budgets(LRDIF, W32)
    assert have_equal_budgets(LRDIF, card(find_preset("lrdif", "cpu-mlp")))
    assert not have_equal_budgets(
        LRDIF, card(find_preset("resnet18", "w32"))
    )  # fewer, and some at 32 px
    (stage,) = find_preset("resnet18", "w32-40").stages
    small = replace(stage, resolution=((0.0, 32), (0.5, 48)))
    assert not have_equal_budgets(
        W32, card(replace(find_preset("resnet18", "w32-40"), stages=(small,)))
    )
    distilled = card(
        replace(find_preset("lrdif", "cpu"), distillation=Distillation(("a",), ("0",)))
    )
    assert list_teachers(distilled) == ("a",)
    assert not have_equal_budgets(LRDIF, distilled)


def test_a_card_from_before_the_new_names_is_read_alike() -> None:
    """Cards and saved predictions keep `distil` and `share`."""
    recipe = replace(find_preset("lrdif", "cpu"), distillation=Distillation(("a",), ("0",), 0.25))
    new, old = card(recipe), card(recipe)
    told = old["recipe"].pop("distillation")
    old["recipe"]["distil"] = {"teachers": told["teachers"], "share": told["weight"]}
    assert list_teachers(old) == ("a",)
    assert have_equal_budgets(new, old)
    old["recipe"]["distil"]["share"] = 0.5
    assert not have_equal_budgets(new, old)


def test_steps_are_those_of_a_family_that_has_some() -> None:
    assert count_steps(W32) is None
    assert [count_steps(card(find_preset("lrdif", f"cpu-t{n}"))) for n in (1, 2, 16)] == [1, 2, 16]
    assert count_steps(LRDIF) == 4
    one, two = (card(find_preset("lrdif", f"cpu-t{n}")) for n in (1, 2))
    assert without_steps(one) == without_steps(two) != without_steps(W32)
    assert (is_control(one, LRDIF), is_control(two, LRDIF)) == (True, False)
    assert is_control(card(find_preset("lrdif", "cpu-mlp")), LRDIF)
