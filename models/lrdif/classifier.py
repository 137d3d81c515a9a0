"""LRDif as a classifier: a start drawn for each face, T small steps, one forward; along a track,
fewer steps from the Z before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.crops import Crops
from models.errors import ModelError
from models.lrdif.clip import check_input
from models.lrdif.network import LRDif
from models.lrdif.track_prior import Past, pack_states, unpack_states
from models.scores import EmotionScores
from models.serving import SoftmaxClassifier, scores_from_draws
from models.weights import ModelCard

STARTS = ("seeded", "zero")
COMPLETE: dict[str, Any] = {"restorer": "diffusion", "steps": 4}
"""The settings of a network that is LRDif as its paper has it; controls have others."""


class LRDifClassifier(SoftmaxClassifier):
    """An `EmotionClassifier`. Z_T of a face is drawn from its id: the same in any batch.

    `start` `zero` begins at 0 instead. With `draws` > 1 probabilities are the mean over
    that many starts, and uncertainty is the entropy of that mean; how far `predict_draws` differ
    is `models.scores.mutual_information`. Raises ValueError for another start, or no draw, and
    ModelError for a card whose input CLIP cannot read.
    """

    _network: LRDif

    def __init__(
        self,
        network: LRDif,
        card: ModelCard,
        flip: bool = True,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        start: str = "seeded",
        draws: int = 1,
    ) -> None:
        if start not in STARTS or draws < 1:
            raise ValueError(f"{draws} draws of start {start!r}: give 1 or more of seeded, zero")
        if network.clip:
            check_input(card)
        super().__init__(network, card, flip, device, dtype)
        steps = f"lrdif-{network.diffusion.steps}"
        self.mode = self.mode.replace(card.model, steps, 1) + f"-x{draws}" * (draws > 1)
        self._start, self.draws = start, draws

    def logits(self, x: Tensor, ids: NDArray[np.int64] | None = None, draw: int = 0) -> Tensor:
        """Model input (n, c, px, px) and ids (n,) -> logits (n, K) float32 of one draw, with
        horizontal-flip TTA if `flip` is set; without `ids` every face has id 0."""
        start, *noises = self._noise(np.zeros(len(x), np.int64) if ids is None else ids, draw)
        return self._average_flip(x, lambda view: self._network(view, start, noises))

    def predict_with_state(
        self, crops: Crops, ids: NDArray[np.int64], states: Sequence[bytes]
    ) -> tuple[EmotionScores, list[bytes]]:
        """Scores of one more observation (n, 112, 112, 3) uint8 RGB of each of the tracks `ids`,
        given the states that its last one returned, b"" for none; and their new states.

        Weights that have not learned to go on from a Z score each observation by itself.
        """
        if not self._network.carries_z or not len(crops):
            return self.predict(crops, ids), [b""] * len(crops)
        views = 2 if self._flip else 1
        pasts = unpack_states(states, views, self._network.prior, self._device)
        kept: list[Past] = []

        def logits(x: Tensor, ids: NDArray[np.int64], draw: int) -> Tensor:
            noise, left = self._noise(ids, draw)[0], iter(pasts)

            def observe(view: Tensor) -> Tensor:
                found, past = self._network.observe(view, noise, next(left))
                if draw == 0:
                    kept.append(past)
                return found

            return self._average_flip(x, observe)

        scores = scores_from_draws(self._score(crops, ids, logits))
        return scores, pack_states(kept)

    def _noise(self, ids: NDArray[np.int64], draw: int) -> list[Tensor]:
        """The start, and the noise of each step that adds some: (n, prior) each."""
        diffusion, size = self._network.diffusion, self._network.prior
        count = diffusion.steps if diffusion.insert_noise else 1
        if self._start == "zero":
            return [torch.zeros(len(ids), size, device=self._device)] * count
        drawn = [draw_noise(int(face), draw, count, size) for face in ids]
        stacked = torch.from_numpy(np.stack(drawn, axis=1)).to(self._device)
        return list(stacked)


def draw_noise(face: int, draw: int, count: int, size: int) -> NDArray[np.float32]:
    """Standard normal (count, size) float32, seeded by a face's id and the number of the draw."""
    key = np.array([face, draw], np.int64).view(np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal((count, size), np.float32)


class _WithNoiseInput(nn.Module):
    """LRDif with its random numbers in one input (n, draws, prior): the start, and what each step
    adds. A control that draws nothing is called without it."""

    def __init__(self, network: LRDif) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        if noise is None:
            noise = x.new_zeros(x.shape[0], 1, self.network.prior)
        start, *noises = noise.unbind(dim=1)
        logits: Tensor = self.network(x, start, noises)
        return logits


def export(network: nn.Module, card: ModelCard, n: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """What `models.export` traces: the network with its noise as an input, and that for n faces.

    Raises ModelError for a network whose image encoder is not among its weights.
    """
    if not isinstance(network, LRDif):
        raise TypeError(f"expected LRDif, got {type(network).__name__}")
    if network.clip:
        remedy = "export weights with an image encoder of their own"
        raise ModelError("CLIP is not part of the weights", card.name, remedy)
    inputs: dict[str, Tensor] = {}
    if network.restorer.denoiser:
        count = network.diffusion.steps if network.diffusion.insert_noise else 1
        rng = np.random.default_rng(1)
        noise = rng.standard_normal((n, count, network.prior), np.float32)
        inputs["noise"] = torch.from_numpy(noise)
    return _WithNoiseInput(network), inputs
