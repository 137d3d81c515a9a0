"""What a network learns from: one module a family or a published method, its stages inside."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from models.weights import ModelCard
from trainer.objectives.base import Objective
from trainer.recipes import Recipe

PLAIN = "softmax"
"""One forward and soft cross-entropy: of every family without a module of its own."""


def objective_class(model: str, settings: Mapping[str, Any]) -> type[Objective]:
    """The objective that a recipe's `objective` names, else that of its family."""
    name = str(settings.get("name", model)).replace("-", "_")
    known = {module.name for module in pkgutil.iter_modules(__path__)}
    module = import_module(f"{__name__}.{name if name in known else PLAIN}")
    found: type[Objective] = module.OBJECTIVE
    return found


def objective_for(recipe: Recipe, card: ModelCard) -> Objective:
    """The objective of a recipe, made with its settings."""
    settings = {name: value for name, value in recipe.objective.items() if name != "name"}
    return objective_class(recipe.model, recipe.objective)(recipe, card, **settings)  # type: ignore[call-arg]
