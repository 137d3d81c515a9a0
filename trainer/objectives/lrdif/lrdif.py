"""LRDif's stages: landmarks, the prior Z with labels, and its restoration without them (§3)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.loading import build_network
from models.lrdif.classifier import LRDifClassifier
from models.lrdif.clip import check_input
from models.lrdif.landmarks import LandmarkNet
from models.lrdif.network import LRDif, LRDifWithLabel, Shape
from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch, Objective
from trainer.objectives.lrdif.prior_metrics import cosine, mean_of, partial_cosine
from trainer.objectives.points import POINTS, PointLabels, annotator
from trainer.objectives.softmax import select_prefix
from trainer.recipes import Recipe
from trainer.samples import SampleTable

WITH_LABEL, WITHOUT = "with_label", "without"
"""The networks of stage 1 and of stage 2 in the checkpoint."""


@dataclass(frozen=True)
class LRDifLosses:
    """Weights of the losses on Z beside cross-entropy (eq. 18), `kl` at temperature `tau` and `l1`.

    `label_noise`: share of stage 1's faces whose Z is computed from another face's label, about as
    often as stage 2 will restore a wrong one, so that stage 1 learns from the image too.
    kl 1, tau 1, l1 0, label_noise 0 is the paper's; kl 0, l1 0 is cross-entropy alone.
    """

    kl: float = 0.1
    tau: float = 1.0
    l1: float = 1.0
    label_noise: float = 0.0


class RestoredPriorObjective(Objective):
    """What all ways to train LRDif share: stage 2 ends in `without`, the network that serves."""

    without: LRDif
    serving_stages: ClassVar[frozenset[str]] = frozenset({"s2"})
    _card: ModelCard

    def _noise(self, like: Tensor) -> list[Tensor]:
        diffusion = self.without.diffusion
        count = diffusion.steps if diffusion.insert_noise else 1
        return [torch.randn_like(like) for _ in range(count)]

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """Those of the network that serves; None for stage 1, which is given what no camera has,
        and for `s2a`, which trains no logits."""
        if stage not in self.serving_stages:
            return None
        device = str(x.device)
        return LRDifClassifier(self.without, self._card, flip=False, device=device).logits(x, ids)

    def serving_state(self, state: State) -> State:
        """Stage 2's network: the one that takes neither labels nor twins."""
        return select_prefix(state, WITHOUT)


class LRDifObjective(RestoredPriorObjective):
    """The stages `points` (the landmark network, frozen from then on), `s1` (Z from face and label)
    and `s2` (Z restored from the face alone); optionally `s2a` between them: the restorer alone, on
    the losses of Z. Keyword arguments are those of `LRDifLosses`."""

    auxiliary_stages = frozenset({POINTS})
    steps_setting = "steps"

    @classmethod
    def annotator(cls, recipe: Recipe) -> str:
        """The faces' landmarks, where a stage learns from them."""
        return annotator(recipe)

    def __init__(self, recipe: Recipe, card: ModelCard, **losses: float) -> None:
        settings = card.network
        names = {field.name for field in fields(Shape)} | {"prior", "norm", "clip"}
        given = {name: value for name, value in settings.items() if name in names}
        self.with_label = LRDifWithLabel(card.labels, **given)
        self.without = _lrdif(card)
        if self.without.clip:
            check_input(card)
        self.network = nn.ModuleDict({WITH_LABEL: self.with_label, WITHOUT: self.without})
        self.settings = LRDifLosses(**losses)
        self._card = card
        self._cosines: list[Tensor] = []
        self._partial_cosines: list[Tensor] = []
        self._learns_points = bool(annotator(recipe))

    def prepare(self, samples: SampleTable, faces: FaceSet, run_dir: Path) -> None:
        """The faces' landmarks, where a stage learns from them."""
        super().prepare(samples, faces, run_dir)
        if self._learns_points:
            self._points = PointLabels.of(faces, run_dir)

    def start_stage(self, stage: str) -> None:
        """Stage 2 starts from stage 1's image encoder and UDCformer."""
        # With s2a, stage 2 has two stages: only the first of them copies the weights.
        self._landmarks.requires_grad_(stage == POINTS)
        if stage in ("s2", "s2a") and not self._has_started:
            self.without.encoder.load_state_dict(self.with_label.encoder.state_dict())
            self.without.former.load_state_dict(self.with_label.former.state_dict())

    @property
    def _landmarks(self) -> LandmarkNet:
        return self.with_label.former.dil.landmarks

    @property
    def _has_started(self) -> bool:
        """Whether stage 2's UDCformer already has stage 1's weights."""
        ours, theirs = (part.former.head.weight for part in (self.without, self.with_label))
        return bool(torch.equal(ours, theirs))

    def parameters(self, stage: str) -> list[nn.Parameter]:
        """In `points` the landmark network, in `s1` the rest of the first network, in `s2` the
        second network, in `s2a` its restorer and encoder."""
        parts: dict[str, list[nn.Module]] = {
            POINTS: [self._landmarks],
            "s1": [self.with_label],
            "s2a": [self.without.encoder, self.without.restorer],
            "s2": [self.without],
        }
        return [v for part in parts[stage] for v in part.parameters() if v.requires_grad]

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Distance of landmarks in `points`; cross-entropy in `s1`; cross-entropy and the losses on
        Z in `s2`; the losses on Z alone in `s2a`."""
        if stage == POINTS:
            return self._points.loss(self._landmarks.train(), batch)
        if stage == "s1":
            logits = self.with_label(batch.x, self._with_label_noise(batch.targets))
            return functional.cross_entropy(logits.float(), batch.targets)
        target = self.target_prior(batch)
        start, *noises = self._noise(target)
        z = self.without.restore(batch.x, self.without.diffusion.forward(target, start), noises)
        loss = self.prior_loss(z.float(), target.float())
        restored, aimed = z.detach().float(), target.float()
        self._cosines.append(cosine(restored, aimed))
        self._partial_cosines.append(partial_cosine(restored, aimed, batch.targets.argmax(dim=1)))
        if stage == "s2a":
            return loss
        logits = self.without.former(batch.x, z)
        return loss + functional.cross_entropy(logits.float(), batch.targets)

    def _with_label_noise(self, labels: Tensor) -> Tensor:
        """The labels (n, K), a share of them replaced by those of other faces of the batch."""
        if not self.settings.label_noise:
            return labels
        n, device = len(labels), labels.device
        others = labels[torch.randperm(n, device=device)]
        return torch.where(
            torch.rand(n, 1, device=device) < self.settings.label_noise, others, labels
        )

    @torch.no_grad()
    def target_prior(self, batch: Batch) -> Tensor:
        """Stage 1's Z (n, C) of the same images and their labels, in evaluation mode."""
        self.with_label.eval()
        return self.with_label.z(batch.x, batch.targets)

    def prior_loss(self, z: Tensor, target: Tensor) -> Tensor:
        """Kullback-Leibler divergence of softmax(target / tau) from softmax(z / tau) (eq. 17), mean
        over the batch, and the mean absolute difference, both weighted."""
        w = self.settings
        ours, theirs = (functional.log_softmax(v / w.tau, dim=1) for v in (z, target))
        kl = functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        return w.kl * kl + w.l1 * functional.l1_loss(z, target)

    def train_metrics(self) -> dict[str, float]:
        """`z_cosine` and `z_partial_cosine`: how much of Z stage 2 restores, and how much of what
        the label does not tell; means over the batches (see `prior_metrics`). The divergence cannot
        tell: it ignores a shift, and is small wherever Z is small."""
        if not self._cosines:
            return {}
        found = {
            "z_cosine": mean_of(self._cosines),
            "z_partial_cosine": mean_of(self._partial_cosines),
        }
        self._cosines.clear()
        self._partial_cosines.clear()
        return found


def _lrdif(card: ModelCard) -> LRDif:
    network: Any = build_network(card)
    return network


OBJECTIVE = LRDifObjective
