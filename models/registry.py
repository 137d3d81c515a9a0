"""Every family of expression models: how its networks are built, run and exported.

The only module that knows them all; a new family adds one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from models.baselines.face_resnet import FaceResNet
from models.baselines.resnet import ResNet18
from models.drfer.network import DRFER
from models.emodc import classifier as emodc
from models.emodc.encoder import NoiseResNet18
from models.emodc.network import EmoDC
from models.emodc.noisy_copies import NoiseResNetClassifier
from models.errors import ModelError
from models.lrdif import classifier as lrdif
from models.lrdif.network import LRDif, Poster
from models.serving import SoftmaxClassifier
from models.weights import ModelCard

Export = Callable[[nn.Module, ModelCard, int], tuple[nn.Module, dict[str, Tensor]]]
"""(network, card, n faces) -> the module that is traced, and its inputs beside the faces."""


@dataclass(frozen=True)
class Family:
    """`network` takes `classes` and the keyword arguments of a card's `network`; `classifier` takes
    the network, its card and options; `export`, where a network has inputs beside the faces.

    `draws`: it draws at random, and may predict several times. `complete`: the settings of a
    network as its paper has it; with others it is an ablation, or a control, of the family.
    """

    network: Callable[..., nn.Module]
    classifier: Callable[..., SoftmaxClassifier] = SoftmaxClassifier
    export: Export | None = None
    draws: bool = False
    complete: Mapping[str, Any] = field(default_factory=dict)


FAMILIES: dict[str, Family] = {
    "resnet18": Family(ResNet18),
    "face-resnet": Family(FaceResNet),
    "drfer": Family(DRFER),
    "poster": Family(Poster),
    "lrdif": Family(LRDif, lrdif.LRDifClassifier, lrdif.export, True, lrdif.COMPLETE),
    "noise-resnet18": Family(NoiseResNet18, NoiseResNetClassifier, emodc.export, True),
    "emodc": Family(EmoDC, emodc.EmoDCClassifier, emodc.export, True),
}
"""By the `model` of a card."""


def family_of(card: ModelCard) -> Family:
    """The family of a card; raises ModelError for one that is unknown here."""
    if card.model not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ModelError(f"unknown model {card.model!r}", card.name, f"this version knows {known}")
    return FAMILIES[card.model]
