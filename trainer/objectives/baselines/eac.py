"""EAC, Erasing Attention Consistency: attention must not change when the image is flipped.

Zhang, Wang, Ling & Deng 2022, "Learn From All: Erasing Attention Consistency for Noisy Label
Facial Expression Recognition" (ECCV). A network memorises a wrong label by attending to irrelevant
parts of the face; requiring the same attention under a horizontal flip makes that harder.
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
    """Soft cross-entropy of the unflipped image, and `consistency` (5 in the paper) times the
    attention loss. Each step costs a second forward; serving costs nothing."""

    takes_soft_labels = False
    network: ResNet18

    def __init__(self, recipe: Recipe, card: ModelCard, consistency: float = 5.0) -> None:
        super().__init__(recipe, card)
        self.consistency = consistency

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Cross-entropy and attention loss of a batch."""
        network = self.network
        maps, flipped = network.feature_maps(batch.x), network.feature_maps(batch.x.flip(3))
        cross_entropy = functional.cross_entropy(network.logits(maps).float(), batch.targets)
        weight = network.head.weight
        return cross_entropy + self.consistency * attention_loss(
            attention(maps, weight), attention(flipped, weight)
        )


def attention(maps: Tensor, weight: Tensor) -> Tensor:
    """Class activation maps (n, K, h, w) of features (n, c, h, w) and a head's weight (K, c), which
    gets no gradient from them."""
    return functional.conv2d(maps, weight.detach().to(maps.dtype)[:, :, None, None]).float()


def attention_loss(maps: Tensor, flipped: Tensor) -> Tensor:
    """Mean squared difference of attention (n, K, h, w) to an image and to its flip, flipped
    back."""
    return functional.mse_loss(maps, flipped.flip(3))


OBJECTIVE = EACObjective
