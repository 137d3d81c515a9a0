"""The recipes that have a name: one module a family, each name written where it is defined."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module

from trainer.errors import OptionError
from trainer.recipes import PanelDraws, Recipe

UDC = "-udc"
"""How the name of a preset ends that also learns from faces behind simulated displays."""


def with_udc(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Recipes by name, and each once more with displays, under its name and UDC."""
    seen = {f"{name}{UDC}": replace(recipe, panel=PanelDraws()) for name, recipe in recipes.items()}
    return {**recipes, **seen}


def presets() -> dict[tuple[str, str], Recipe]:
    """Every recipe that has a name, by model and name."""
    names = (f"{__name__}.{found.name}" for found in pkgutil.iter_modules(__path__))
    families = [import_module(name).PRESETS for name in names]
    return {(recipe.model, name): recipe for each in families for name, recipe in each.items()}


def preset(model: str, name: str) -> Recipe:
    """The recipe of a model's preset; raises OptionError with the nearest names."""
    known = presets()
    if (model, name) in known:
        return known[model, name]
    names = [preset for of, preset in known if of == model]
    if not names:
        models = ", ".join(sorted({of for of, _ in known}))
        raise OptionError("no such model to train", model, f"give one of {models}")
    near = " or ".join(get_close_matches(name.lower(), names, cutoff=0.0))
    remedy = f"did you mean {near}? There are {len(names)}: see trainer/presets"
    raise OptionError("no such preset", f"{model} {name}", remedy)
