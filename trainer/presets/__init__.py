"""Named recipes: one module per family, each name spelt out where it is defined."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType

from trainer.errors import OptionError
from trainer.recipes import RandomPanel, Recipe

UDC = "-udc"
"""Ends the name of a preset that also trains on faces under simulated displays."""
REAL = "-real"
"""Ends the name of one where a fifth of the displays have the kernel of a real P-OLED."""
REAL_PANELS = RandomPanel(real=0.2)


def add_udc_variants(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Recipes by name, and each once more with displays, under its name and UDC."""
    variants = {
        f"{name}{UDC}": replace(recipe, panel=RandomPanel()) for name, recipe in recipes.items()
    }
    return {**recipes, **variants}


def under_displays(recipe: Recipe) -> Recipe:
    """The same recipe under simulated displays, from the zoo's weights that have seen them."""
    return replace(recipe, panel=RandomPanel(), encoder=f"{recipe.encoder}{UDC}")


def list_presets() -> dict[tuple[str, str], Recipe]:
    """All named recipes, by model and name."""
    families = [module.PRESETS for module in _modules()]
    return {(recipe.model, name): recipe for each in families for name, recipe in each.items()}


def _modules() -> list[ModuleType]:
    return [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]


def current_name(name: str) -> str:
    """The name of a preset that was renamed, by its old name; any other name as it is."""
    for module in _modules():
        name = getattr(module, "OLD_NAMES", {}).get(name, name)
    return name


def find_preset(model: str, name: str) -> Recipe:
    """The recipe of a model's preset; raises OptionError with the nearest names."""
    known, name = list_presets(), current_name(name)
    if (model, name) in known:
        return known[model, name]
    names = [preset for of, preset in known if of == model]
    if not names:
        models = ", ".join(sorted({of for of, _ in known}))
        raise OptionError("no such model to train", model, f"give one of {models}")
    near = " or ".join(get_close_matches(name.lower(), names, cutoff=0.0))
    remedy = f"did you mean {near}? There are {len(names)}: see trainer/presets"
    raise OptionError("no such preset", f"{model} {name}", remedy)
