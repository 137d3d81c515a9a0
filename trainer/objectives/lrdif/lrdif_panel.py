"""LRDif with a panel prior: Z is the display in front of the face.

A camera's settings can say what no image tells; where they do not, Z is restored from the image.
Either way one network knows whether it looks at a clean face or a degraded one.
"""

from __future__ import annotations

from torch import Tensor

from models.udc.description import FEATURES
from models.weights import ModelCard
from trainer.errors import OptionError
from trainer.objectives.base import Batch
from trainer.objectives.lrdif.known_prior import KnownPriorObjective
from trainer.recipes import Recipe


class LRDifPanelObjective(KnownPriorObjective):
    """Z of what `models.udc.description` says of a display; a face without one has a Z too.

    `only_seen` leaves of it whether there is one: a control. Raises OptionError for a recipe
    without displays.
    """

    def __init__(
        self, recipe: Recipe, card: ModelCard, only_seen: bool = False, **losses: float
    ) -> None:
        if recipe.panel is None:
            raise OptionError("a prior from displays, and none", card.name, "give a preset -udc")
        super().__init__(recipe, card, FEATURES, **losses)
        self._only_seen = only_seen

    def known_features(self, batch: Batch) -> Tensor:
        """The description of each face's display, (n, FEATURES)."""
        assert batch.displays is not None
        return self.mask(batch.displays.to(batch.x.device))

    def mask(self, displays: Tensor) -> Tensor:
        """A description as Z is made of it."""
        if not self._only_seen:
            return displays
        masked = displays.clone()
        masked[:, 1:] = 0
        return masked


OBJECTIVE = LRDifPanelObjective
