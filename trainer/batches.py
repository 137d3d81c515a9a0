"""How a network is shown faces in training: changed at random, some of them through a display."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from models.model_input import normalise, tile_to_input
from models.weights import ModelCard
from trainer.augment import draw_warps, repainted, warped
from trainer.data.faceset import FaceSet
from trainer.inputs import as_images, model_inputs, through_displays
from trainer.objectives.base import Batch
from trainer.recipes import Recipe
from trainer.samples import SampleTable


class AugmentedBatches:
    """Batches of changed faces. Where the recipe has a display, faces are warped as tiles, seen
    through it, and only then become inputs: as a camera would have it.

    Targets are those of `samples` at that moment. Where the recipe asks for the clean twin, a batch
    holds each face under the same warp without the display: the draws of the rest stay the same.
    """

    def __init__(
        self, faces: FaceSet, card: ModelCard, recipe: Recipe, samples: SampleTable | None = None
    ) -> None:
        self._how, self._panel, self._card = recipe.augment, recipe.panel, card
        self._has_twin = recipe.clean_twin
        self.samples = samples or SampleTable.of(faces)
        if self._panel is None:
            self._inputs = model_inputs(faces, card)
            return
        self._inputs = as_images(faces, card.channels)
        self._resample = tile_to_input(self._inputs.shape[-1], card.input_px)

    def __len__(self) -> int:
        return len(self.samples)

    def __call__(self, rows: Tensor, size: int, draws: torch.Generator) -> Batch:
        """The faces of `rows` (n,) changed by `draws`, then shrunk to `size` pixels."""
        warps = draw_warps(len(rows), self._how, draws)
        x = clean = warped(self._inputs[rows], warps)
        if self._panel is not None:
            x = self._to_input(through_displays(x, self._panel, draws))
        x = _laid_out(_shrunk(repainted(x, self._how, draws), size))
        twin = None
        if self._has_twin:
            twin = clean if self._panel is None else self._to_input((clean * 255).round() / 255)
            twin = _laid_out(_shrunk(twin, size))
        return Batch(x, self.samples.targets[rows], warps, rows, twin)

    def _to_input(self, images: Tensor) -> Tensor:
        return normalise(self._resample @ images @ self._resample.T, self._card)


def _laid_out(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _shrunk(x: Tensor, size: int) -> Tensor:
    if x.shape[-1] == size:
        return x
    return functional.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
