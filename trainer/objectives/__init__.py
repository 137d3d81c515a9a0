"""What a network is trained on: one module per family or published method, with its stages."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from models.weights import ModelCard
from trainer.objectives.base import Objective
from trainer.recipes import Recipe

DEFAULT = "softmax"
"""One forward and soft cross-entropy: of every family without a module of its own."""


def find_objective(model: str, settings: Mapping[str, Any]) -> type[Objective]:
    """The objective that a recipe's `objective` names, else that of its family."""
    name = str(settings.get("name", model)).replace("-", "_")
    known = {module.name for module in pkgutil.iter_modules(__path__)}
    module = import_module(f"{__name__}.{name if name in known else DEFAULT}")
    found: type[Objective] = module.OBJECTIVE
    return found


def build_objective(recipe: Recipe, card: ModelCard) -> Objective:
    """The objective of a recipe, built with its settings."""
    settings = {name: value for name, value in recipe.objective.items() if name != "name"}
    return find_objective(recipe.model, recipe.objective)(recipe, card, **settings)  # type: ignore[call-arg]
