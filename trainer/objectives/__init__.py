"""What a network learns from: one objective a family of models, its stages inside."""

from __future__ import annotations

from collections.abc import Callable

from models.weights import ModelCard
from trainer.objectives.base import Objective
from trainer.objectives.eac import EACObjective
from trainer.objectives.lrdif import LRDifObjective
from trainer.objectives.poster import PosterObjective
from trainer.objectives.rul import RULObjective
from trainer.objectives.scn import SCNObjective
from trainer.objectives.softmax import SoftmaxObjective
from trainer.recipes import Recipe

OBJECTIVES: dict[str, Callable[[Recipe, ModelCard], Objective]] = {
    "lrdif": LRDifObjective,
    "poster": PosterObjective,
}
RIVALS: dict[str, Callable[..., Objective]] = {
    "eac": EACObjective,
    "rul": RULObjective,
    "scn": SCNObjective,
}
"""Other ways to train a ResNet-18, by the `rival` of a recipe's objective, with their settings."""
MIX_FACES = {"rul", "scn"}
"""Rivals whose loss looks from one face of a batch at others: not for several workers."""


def objective_for(recipe: Recipe, card: ModelCard) -> Objective:
    """The objective of a recipe; one forward and soft cross-entropy where none is named."""
    if "rival" in recipe.objective:
        settings = {name: value for name, value in recipe.objective.items() if name != "rival"}
        return RIVALS[recipe.objective["rival"]](recipe, card, **settings)
    return OBJECTIVES.get(recipe.model, SoftmaxObjective)(recipe, card)
