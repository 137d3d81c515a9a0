"""What a finished run of DR-FER makes of its training faces, for figures: faces painted from what
masks leave of them, and what a face with a label that passes for noisy retrieves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.drfer.masking import hide, paint, sample_masks
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.objectives.drfer.drfer import FIRST, ROUNDS, WARMUP, DRFERObjective
from trainer.objectives.drfer.retrieval import average_precisions, sample_gallery
from trainer.objectives.drfer.rounds import judge
from trainer.recipes import Recipe, Stage
from trainer.samples import VERSION, SampleTable

SEED = 0
"""Of the masks and of the gallery: figures are the same each time."""
GALLERY = 200
"""Faces of each class that are ranked, where a run took as many as its rarest class has."""
Image = NDArray[np.float32]


@dataclass(frozen=True)
class PaintedFaces:
    """Faces (n, px, px) in 0..1: with the hidden pixels at the face's mean, with them as they were
    painted, and as they are."""

    hidden: Image
    painted: Image
    true: Image


@dataclass(frozen=True)
class RetrievedFaces:
    """A training face's row, label and true class (-1: unknown), its P(clean), the rows of its
    nearest clean neighbours and the AP (K,) of each class."""

    row: int
    label: int
    truth: int
    p_clean: float
    neighbours: list[int]
    precisions: NDArray[np.float32]


class FinishedRun:
    """The networks and the table of samples that a run left in its directory; `card` is that of its
    weights, and `faces` are those that it was trained on.

    Raises DataError where the directory is of another run, or of other faces.
    """

    def __init__(self, card: ModelCard, run_dir: Path, faces: FaceSet) -> None:
        settings = {k: v for k, v in card.recipe["objective"].items() if k != "name"}
        stages = tuple(Stage(each["name"], each["epochs"]) for each in card.recipe["stages"])
        names = [stage.name for stage in stages]
        path = run_dir / f"{ROUNDS if ROUNDS in names else WARMUP}.safetensors"
        recipe = Recipe(card.model, card.network, stages, objective=settings)
        self._objective = DRFERObjective(recipe, card, **settings)
        self._faces, self._card = faces, card
        self.samples = SampleTable.of(faces)
        self._objective.prepare(self.samples, faces, run_dir)
        tensors = _read(path)
        try:
            self._objective.network.load_state_dict(_select(tensors, "average/"))
        except RuntimeError as error:
            what = "a run of another network"
            raise DataError(what, str(path), "give its own weights") from error
        self.samples.load(_select(tensors, "samples/"), VERSION, str(path))
        self._objective.network.eval()

    @property
    def paints(self) -> bool:
        """Whether it was trained with masked image modelling."""
        return self._objective.learners[FIRST].decoder is not None

    @torch.no_grad()
    def paint_faces(self, rows: Sequence[int]) -> PaintedFaces:
        """Faces with a share of their patches hidden, as in training; raises DataError for a run
        without masked image modelling."""
        learner, settings = self._objective.learners[FIRST], self._objective.settings
        if learner.decoder is None:
            raise DataError("a run without masks", self._card.name, "give one that paints faces")
        x = self._objective._inputs[torch.tensor(rows)]
        with torch.random.fork_rng([]):
            torch.manual_seed(SEED)
            px = settings.patch_px
            masks = sample_masks(len(x), x.shape[-1], px, settings.mask, x.device)
        hidden = hide(x, masks)
        painted = paint(learner.network, learner.decoder, hidden)
        if settings.normalised:
            painted = _undo_normalisation(painted, x, px)
        whole = torch.where(masks, painted, x)
        return PaintedFaces(*(self._to_grey(images) for images in (hidden, whole, x)))

    def _to_grey(self, x: Tensor) -> Image:
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (self._card.mean, self._card.std))
        return (x * std + mean).clamp(0, 1).mean(dim=1).numpy()

    @torch.no_grad()
    def retrieve(self, rows: Sequence[int], count: int) -> list[RetrievedFaces]:
        """What each face retrieves among the clean faces of its own fold, by the network that has
        seen the labels of neither."""
        objective, samples = self._objective, self.samples
        networks = [each.network for each in objective.learners.values()]
        embeddings = judge(networks, objective._folds, objective._inputs).embeddings
        labels, is_clean = samples.votes.argmax(dim=1), samples.kept["is_clean"]
        truth = self._faces.truth
        found = []
        for row in rows:
            own = is_clean & (objective._folds == objective._folds[row])
            own[row] = False
            with torch.random.fork_rng([]):
                torch.manual_seed(SEED)
                size = objective.rounds.gallery or GALLERY
                gallery = sample_gallery(own, labels, len(self._card.labels), size)
            every = own.nonzero()[:, 0]
            if not len(every):
                raise DataError("no clean face", self._card.name, "give a run of more faces")
            near = (embeddings[every] @ embeddings[row]).topk(min(count, len(every))).indices
            ranked = (embeddings[gallery] @ embeddings[row])[None]
            precisions = average_precisions(
                ranked, labels[gallery], len(self._card.labels), objective.rounds.top
            )
            found.append(
                RetrievedFaces(
                    row,
                    int(labels[row]),
                    -1 if truth is None else int(truth[row]),
                    float(samples.p_clean[row]),
                    every[near].tolist(),
                    precisions[0].numpy(),
                )
            )
        return found

    def list_noisy(self, count: int) -> list[int]:
        """Rows of the faces with the lowest P(clean), of each class in turn."""
        labels = self.samples.votes.argmax(dim=1)
        order = self.samples.p_clean.argsort(stable=True)
        of_class = [order[labels[order] == label].tolist() for label in range(labels.max() + 1)]
        most = max(map(len, of_class))
        in_turn = [own[place] for place in range(most) for own in of_class if place < len(own)]
        return in_turn[:count]


def _undo_normalisation(painted: Tensor, x: Tensor, patch_px: int) -> Tensor:
    """Patches that were predicted at mean 0 and variance 1, with those of the face's own."""
    n, c, height, width = x.shape
    shape = (n, c, height // patch_px, patch_px, width // patch_px, patch_px)
    patches = x.reshape(shape)
    mean = patches.mean(dim=(3, 5), keepdim=True)
    variance = patches.var(dim=(3, 5), correction=0, keepdim=True)
    return (painted.reshape(shape) * (variance + 1e-2).sqrt() + mean).reshape(x.shape)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        remedy = "give the run directory of the weights"
        raise DataError("no checkpoint", str(path), remedy) from error


def _select(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
