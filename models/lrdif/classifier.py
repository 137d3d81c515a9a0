"""LRDif behind the classifier's door: a start drawn for each face, T small steps, one forward."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.crops import Crops
from models.errors import ModelError
from models.lrdif.clip import check_input
from models.lrdif.network import LRDif
from models.model_input import to_model_input
from models.scores import EmotionScores, normalised_entropy
from models.weights import ModelCard

STARTS = ("seeded", "zero")


class LRDifClassifier:
    """An `EmotionClassifier`. Z_T of a face is drawn from its id: the same in any batch.

    `start` `zero` begins at 0 instead; `draws` > 1 averages the logits of that many starts, and
    uncertainty is then the entropy of their mean answer. With `flip`, a crop and its mirror image
    are averaged. Raises ValueError for another start, or no draw, and ModelError for a card whose
    input CLIP cannot read.
    """

    def __init__(
        self,
        network: LRDif,
        card: ModelCard,
        flip: bool = True,
        device: str = "cpu",
        start: str = "seeded",
        draws: int = 1,
    ) -> None:
        if start not in STARTS or draws < 1:
            raise ValueError(f"{draws} draws of start {start!r}: give 1 or more of seeded, zero")
        if network.clip:
            check_input(card)
        self.card = card
        self.mode = f"lrdif-{network.diffusion.steps}" + ("-flip" if flip else "")
        self._network = network.eval().to(device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._flip, self._device = flip, device
        self._start, self._draws = start, draws

    def predict(self, crops: Crops, ids: NDArray[np.int64] | None = None) -> EmotionScores:
        """Probabilities and their normalised entropy; without `ids` every face has id 0.

        Raises ModelError for crops of another shape, and for scores that are not numbers.
        """
        if len(crops) == 0:
            none = np.zeros((0, len(self.card.labels)), np.float32)
            return EmotionScores(none, none[:, 0])
        ids = np.zeros(len(crops), np.int64) if ids is None else ids
        with torch.inference_mode():
            logits = self.logits(to_model_input(crops, self.card, self._device), ids)
            scores = torch.softmax(logits / self.card.temperature, dim=1).cpu().numpy()
        if not np.isfinite(scores).all():
            raise ModelError("scores are not numbers", self.card.name, "use other weights")
        return EmotionScores(scores, normalised_entropy(scores))

    def logits(self, x: Tensor, ids: NDArray[np.int64]) -> Tensor:
        """Model input (n, c, px, px) and ids (n,) -> logits (n, K), averaged as was asked."""
        x = x.contiguous(memory_format=torch.channels_last)
        views = [x, x.flip(3)] if self._flip else [x]
        total = torch.zeros(len(x), len(self.card.labels), device=x.device)
        for draw in range(self._draws):
            start, *noises = self._noise(ids, draw)
            for view in views:
                total += self._network(view, start, noises)
        return total / (self._draws * len(views))

    def _noise(self, ids: NDArray[np.int64], draw: int) -> list[Tensor]:
        """The start, and the noise of each step that adds some: (n, prior) each."""
        diffusion, size = self._network.diffusion, self._network.prior
        count = diffusion.steps if diffusion.insert_noise else 1
        if self._start == "zero":
            return [torch.zeros(len(ids), size, device=self._device)] * count
        drawn = [noise_of(int(face), draw, count, size) for face in ids]
        stacked = torch.from_numpy(np.stack(drawn, axis=1)).to(self._device)
        return list(stacked)


def noise_of(face: int, draw: int, count: int, size: int) -> NDArray[np.float32]:
    """Standard normal (count, size) float32 that belongs to a face's id and a draw of it."""
    key = np.array([face, draw], np.int64).view(np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal((count, size), np.float32)
