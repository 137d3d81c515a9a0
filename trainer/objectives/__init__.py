"""What a network is trained on: one module per family or published method, with its stages.

A module has the name of its family or method, here or in a folder with what it shares with others.
"""

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
    known = find_modules()
    found: type[Objective] = import_module(known.get(name, known[DEFAULT])).OBJECTIVE
    return found


def find_modules() -> dict[str, str]:
    """The modules here and in the folders, each by the last part of its name."""
    every = pkgutil.walk_packages(__path__, f"{__name__}.")
    return {found.name.rpartition(".")[2]: found.name for found in every if not found.ispkg}


def build_objective(recipe: Recipe, card: ModelCard) -> Objective:
    """The objective of a recipe, built with its settings."""
    settings = {name: value for name, value in recipe.objective.items() if name != "name"}
    return find_objective(recipe.model, recipe.objective)(recipe, card, **settings)  # type: ignore[call-arg]
