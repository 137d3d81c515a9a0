"""What DR-FER trains: a network with what it has in training alone, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from models.drfer.masking import MaskDecoder
from models.drfer.network import DRFER
from trainer.errors import OptionError
from trainer.objectives.drfer.contrast import FORMS


@dataclass(frozen=True)
class DRFERSettings:
    """`folds`: 2 for cross-fitting, 1 without. `every`: epochs of a round. `mim`: weight of MIM, 0
    for none; `mask`: share of the patches of `patch_px` that is hidden; `normalised`: each patch is
    predicted at mean 0 and variance 1. `dcl`: single, the poster's, batch, centre or none, with
    `dcl_weight`. `mixup`: the parameter of its Beta distribution, 0 for none. `ramp`: epochs over
    which, with hard targets, the faces that are not clean come in."""

    folds: int = 2
    every: int = 3
    mim: float = 0.5
    mask: float = 0.5
    patch_px: int = 8
    normalised: bool = True
    dcl: str = "single"
    dcl_weight: float = 0.1
    mixup: float = 0.4
    ramp: int = 10

    def __post_init__(self) -> None:
        if self.dcl not in (*FORMS, "none"):
            raise OptionError(f"dcl {self.dcl!r}", "drfer", f"give {', '.join(FORMS)} or none")
        if self.folds not in (1, 2):
            raise OptionError(f"{self.folds} folds", "drfer", "give 1 or 2")


class Learner(nn.Module):
    """A network, and what it has in training alone: a head of each branch, and the decoder."""

    def __init__(self, network: DRFER, classes: int, has_decoder: bool) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleList(nn.Linear(network.embedding, classes) for _ in range(2))
        self.decoder = MaskDecoder(network) if has_decoder else None
