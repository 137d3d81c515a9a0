"""Training batches: augmented faces, a part of them under simulated displays."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from models.model_input import normalise, tile_to_input
from models.udc.description import describe_panels
from models.weights import ModelCard
from trainer.augment import jitter_and_erase, sample_warps, shift_warps, warp_images
from trainer.data.faceset import FaceSet
from trainer.inputs import (
    build_inputs,
    check_crop,
    open_inputs,
    simulate_observations,
    to_images,
)
from trainer.objectives.base import Batch
from trainer.recipes import Recipe
from trainer.samples import SampleTable

MOST_MOVED = 1 / 48
"""How far a face may have moved between two observations, as a share of its width."""


class AugmentedBatches:
    """Batches of augmented faces.

    Where the recipe has displays, faces are warped as tiles, degraded, and only then resampled to
    inputs: the order in which a camera would do it. Targets are those of `samples` at that moment.
    """

    def __init__(
        self, faces: FaceSet, card: ModelCard, recipe: Recipe, samples: SampleTable | None = None
    ) -> None:
        self._augment, self._panel, self._card = recipe.augment, recipe.panel, card
        self.samples = samples or SampleTable.of(faces)
        if self._panel is None:
            self._inputs = open_inputs(faces, lambda some: build_inputs(some, card))
            return
        check_crop(faces, card)
        self._inputs = open_inputs(faces, lambda some: to_images(some, card.channels))
        self._resample = tile_to_input(self._inputs.shape[-1], card.input_px)

    def __len__(self) -> int:
        return len(self.samples)

    def __call__(
        self, rows: Tensor, size: int, generator: torch.Generator, observations: int = 1
    ) -> Batch:
        """The faces of `rows` (n,), augmented by `generator`, then resized to `size` pixels; with
        `observations` above 1, also up to that many less one earlier observations of them."""
        warps = sample_warps(len(rows), self._augment, generator)
        now = warp_images(self._inputs[rows], warps)
        views = [*self._draw_earlier(rows, warps, observations, generator), now]
        displays = None
        if self._panel is not None:
            views, panels = simulate_observations(views, self._panel, generator)
            views = [self._to_input(view) for view in views]
            displays = torch.from_numpy(describe_panels(panels))
        *earlier, x = self._jitter(views, size, generator)
        before = torch.stack(earlier, dim=1) if earlier else None
        return Batch(x, self.samples.targets[rows], warps, rows, earlier=before, displays=displays)

    def _draw_earlier(
        self, rows: Tensor, warps: Tensor, observations: int, generator: torch.Generator
    ) -> list[Tensor]:
        """None to `observations` - 1 earlier views of faces that have moved a little since."""
        if observations == 1:
            return []
        count = int(torch.randint(observations, (1,), generator=generator))
        return [
            warp_images(self._inputs[rows], shift_warps(warps, MOST_MOVED, generator))
            for _ in range(count)
        ]

    def _jitter(
        self, views: list[Tensor], size: int, generator: torch.Generator
    ) -> Iterator[Tensor]:
        """Each view with contrast, brightness and an erased square: the same ones in all."""
        state = generator.get_state()
        for view in views:
            generator.set_state(state)
            jittered = jitter_and_erase(view, self._augment, generator)
            yield _to_channels_last(_resize(jittered, size))

    def _to_input(self, images: Tensor) -> Tensor:
        return normalise(self._resample @ images @ self._resample.T, self._card)


def _to_channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _resize(x: Tensor, size: int) -> Tensor:
    if x.shape[-1] == size:
        return x
    return functional.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
