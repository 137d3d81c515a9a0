"""Erase, attend alike: the rival EAC, whose attention must not change in a mirror.

Zhang, Wang, Ling & Deng 2022, "Learn From All: Erasing Attention Consistency for Noisy Label
Facial Expression Recognition" (ECCV). A network that learns a wrong label by heart looks at parts
of the face it should not; attention that is the same in a mirror leaves it less room to.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from models.baselines.resnet import ResNet18
from models.weights import ModelCard
from trainer.objectives.base import Batch
from trainer.objectives.softmax import SoftmaxObjective
from trainer.recipes import Recipe


class EACObjective(SoftmaxObjective):
    """Soft cross-entropy of the picture as it is, and `consistency` (5 in the
    paper) times the attention loss. Each step costs a second forward; serving costs nothing."""

    network: ResNet18

    def __init__(self, recipe: Recipe, card: ModelCard, consistency: float = 5.0) -> None:
        super().__init__(recipe, card)
        self.consistency = consistency

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Cross-entropy and attention loss of a batch."""
        network = self.network
        seen, mirrored = network.feature_maps(batch.x), network.feature_maps(batch.x.flip(3))
        fit = functional.cross_entropy(network.logits(seen).float(), batch.targets)
        weight = network.head.weight
        return fit + self.consistency * attention_loss(
            attention(seen, weight), attention(mirrored, weight)
        )


def attention(maps: Tensor, weight: Tensor) -> Tensor:
    """Class activation maps (n, K, h, w) of features (n, c, h, w) and a head's weight (K, c), which
    is not moved by them."""
    return functional.conv2d(maps, weight.detach().to(maps.dtype)[:, :, None, None]).float()


def attention_loss(seen: Tensor, mirrored: Tensor) -> Tensor:
    """Mean squared difference of attention (n, K, h, w) to a picture and, mirrored back, to its
    mirror image."""
    return functional.mse_loss(seen, mirrored.flip(3))


OBJECTIVE = EACObjective
