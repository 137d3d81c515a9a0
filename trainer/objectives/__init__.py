"""What a network learns from: one objective a family of models, its stages inside."""

from __future__ import annotations

from collections.abc import Callable

from models.weights import ModelCard
from trainer.objectives.base import Objective
from trainer.objectives.lrdif import LRDifObjective
from trainer.objectives.poster import PosterObjective
from trainer.objectives.softmax import SoftmaxObjective
from trainer.recipes import Recipe

OBJECTIVES: dict[str, Callable[[Recipe, ModelCard], Objective]] = {
    "lrdif": LRDifObjective,
    "poster": PosterObjective,
}


def objective_for(recipe: Recipe, card: ModelCard) -> Objective:
    """The objective of a recipe's model; one forward and soft cross-entropy where none is named."""
    return OBJECTIVES.get(recipe.model, SoftmaxObjective)(recipe, card)
