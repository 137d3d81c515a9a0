"""EmoDC's stages: the classifier of noisy faces, its decoder, the Base model, and its arms.

`classifier`  the encoder as a classifier of noisy faces (`trainer.objectives.emodc.noise_resnet18`)
`decoder`     the noise, and cross-entropy of the errors, with a clean-trained teacher
`base`        standard denoising diffusion training: the noise alone
an arm        from the Base model on: `base-longer`, `ce`, or one of MARGINS

Arms have the same settings and stages before them, so that they may go on from copies of one run
directory with the Base model's checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.emodc.classifier import EmoDCClassifier
from models.emodc.descriptions import PHRASES
from models.emodc.network import EmoDC
from models.emodc.noise import bin_of, noise_errors
from models.errors import ModelError
from models.loading import build_network
from models.lrdif.clip import ClipEncoders
from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.distributed import sum_over_workers
from trainer.errors import DataError, OptionError
from trainer.objectives.base import Batch, Objective
from trainer.objectives.emodc.amdit import (
    MARGIN_BINS,
    MarginRule,
    MarginStatistics,
    discrepancy,
    margins,
)
from trainer.objectives.emodc.noise_resnet18 import classifier_loss
from trainer.objectives.emodc.noisy_faces import CleanTeacher, quarter_of, sample_sigmas, with_noise
from trainer.objectives.emodc.weights import calibrate_levels
from trainer.objectives.softmax import select_prefix
from trainer.recipes import Recipe
from trainer.samples import SampleTable

EMODC, STATISTICS = "emodc", "margins"
"""The network and the Base model's statistics in the checkpoint."""
CLASSIFIER, DECODER, BASE = "classifier", "decoder", "base"
WITH_CROSS_ENTROPY = (DECODER, "ce")
PLAIN = (BASE, "base-longer")
MARGINS: dict[str, MarginRule] = {
    **{f"mdt-{size:g}": MarginRule("fixed", size) for size in (1e-3, 3e-3, 1e-2, 3e-2)},
    "amdit-a1": MarginRule("a1", 0.1),
    "amdit-a1-detached": MarginRule("a1", 0.1, detached=True),
    "amdit-a1-permuted": MarginRule("a1", 0.1, permuted=True),
    "amdit-a1-measured": MarginRule("a1", 0.5, measured=True),
    "amdit-a2": MarginRule("a2", 0.1),
    "amdit-a3": MarginRule("a3", 0.5),
    "amdit-a4-wide": MarginRule("a4", 0.1, power=1),
    "amdit-a4-narrow": MarginRule("a4", 0.1, power=-1),
    "amdit-a4-image-wide": MarginRule("a4", 0.1, power=1, difficulty="image"),
    "amdit-a4-image-narrow": MarginRule("a4", 0.1, power=-1, difficulty="image"),
}
"""Arms with a margin, by the name of their stage."""
NO_DESCRIPTION = 0.1
"""Share of the faces whose noise is predicted without a description."""


@dataclass(frozen=True)
class EmoDCLosses:
    """`cross_entropy`: weight of that of the errors, in stages with it; `distill`: of the
    divergence from the `teacher`; `validation_steps`: noise levels of a validation's predictions;
    `fit_prior`: whether calibration also fits how much the classes' frequencies count."""

    cross_entropy: float = 1.0
    distill: float = 0.5
    validation_steps: int = 1
    fit_prior: bool = False


class EmoDCObjective(Objective):
    """See the module. `teacher` names a clean-trained ResNet-18 of the zoo, `text_encoder` a CLIP
    for descriptions in words, each "" for none; the other keyword arguments are those of
    `EmoDCLosses`. Raises OptionError for a stage of another name, DataError for faces of other
    classes than the recipe's, and as `CleanTeacher` and `encode_phrases`."""

    steps_setting = "steps"

    def __init__(
        self,
        recipe: Recipe,
        card: ModelCard,
        teacher: str = "",
        text_encoder: str = "",
        **losses: float,
    ) -> None:
        check_labels(recipe, card)
        network = build_network(card)
        if not isinstance(network, EmoDC):
            raise ModelError(f"a network of {card.model}", card.name, "give emodc")
        known = (CLASSIFIER, *WITH_CROSS_ENTROPY, *PLAIN, *MARGINS)
        for stage in recipe.stages:
            if stage.name not in known:
                raise OptionError(f"stage {stage.name}", "emodc", f"give {', '.join(known)}")
        if text_encoder:
            encode_phrases(network, card, text_encoder)
        self.emodc, self.statistics = network, MarginStatistics()
        self.network = nn.ModuleDict({EMODC: self.emodc, STATISTICS: self.statistics})
        self.settings = EmoDCLosses(**losses)  # type: ignore[arg-type]
        self._teacher = CleanTeacher(teacher, self.settings.distill, card)
        self._card = card
        self._metrics: dict[str, list[Tensor]] = {}
        self._difficulty: Tensor | None = None

    def parameters(self, stage: str) -> list[nn.Parameter]:
        """In `classifier` the encoder; later all but the encoder's own logits, and the errors'
        scale only where there is cross-entropy."""
        if stage == CLASSIFIER:
            return list(self.emodc.encoder.parameters())
        left_out = ["encoder.head."] + ["log_scale"] * (stage not in WITH_CROSS_ENTROPY)
        named = self.emodc.named_parameters()
        return [value for name, value in named if not name.startswith(tuple(left_out))]

    def prepare(self, samples: SampleTable, faces: FaceSet, run_dir: Path) -> None:
        """What the teacher predicts of the clean faces."""
        super().prepare(samples, faces, run_dir)
        self._teacher.prepare(faces, next(self.network.parameters()).device)

    def start_epoch(self, stage: str, epoch: int) -> None:
        """No difficulty was measured yet."""
        device = next(self.network.parameters()).device
        self._difficulty = torch.zeros(2, len(self.samples), device=device)

    def end_epoch(self, stage: str, epoch: int) -> None:
        """Add the epoch's difficulties, all workers', to the sample table."""
        if self._difficulty is not None:
            self.samples.measure_difficulty(*sum_over_workers(*self._difficulty.unbind()))

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """The loss of one noise level of each face, its noise shared by all descriptions."""
        if stage == CLASSIFIER:
            return classifier_loss(self.emodc.encoder, self._teacher, batch)
        sigma = sample_sigmas(len(batch.x), batch.x.device)
        noisy, eps = with_noise(batch.x, sigma)
        if stage in PLAIN and self.emodc.head != "multi":
            return self._one_description(noisy, eps, sigma, batch.targets)
        errors = noise_errors(eps, self.emodc(noisy, sigma))
        errors, empty = errors[:, :-1], errors[:, -1]
        right = (errors * batch.targets).sum(dim=1)
        is_wrong = functional.one_hot(batch.targets.argmax(dim=1), errors.shape[1]) == 0
        bins = bin_of(sigma, MARGIN_BINS)
        self._follow("e_y", right.mean())
        if stage in MARGINS:
            rule = MARGINS[stage]
            margin = margins(rule, right, empty, bins, self.statistics, self._of_images(batch.rows))
            self._measure_difficulty(batch.rows, empty, bins)
            each, is_active = discrepancy(errors, right, is_wrong, margin, rule)
            self._follow_active(is_active, is_wrong, sigma)
            return each.mean()
        if stage == BASE:
            self.statistics.update(errors, right, is_wrong, empty, bins)
            self._measure_difficulty(batch.rows, empty, bins)
        without = torch.rand(len(right), device=right.device) < NO_DESCRIPTION
        loss = torch.where(without, empty, right).mean()
        if stage in PLAIN:
            return loss
        logits = -errors * (self.emodc.scale(sigma) * batch.x[0].numel())[:, None]
        loss = loss + self.settings.cross_entropy * functional.cross_entropy(logits, batch.targets)
        return loss + self._teacher.loss(logits, batch) if stage == DECODER else loss

    def _one_description(
        self, noisy: Tensor, eps: Tensor, sigma: Tensor, targets: Tensor
    ) -> Tensor:
        """The Base loss of heads that evaluate emotions one by one: each face under one of its
        votes, or under none."""
        emotions = torch.multinomial(targets, 1)[:, 0]
        without = torch.rand(len(noisy), device=noisy.device) < NO_DESCRIPTION
        under = torch.where(without, self.emodc.classes, emotions)
        predicted = self.emodc.predict_under(noisy, sigma, under)
        loss = noise_errors(eps, predicted[:, None]).mean()
        self._follow("e_y", loss)
        return loss

    def _of_images(self, rows: Tensor) -> Tensor | None:
        """The mean difficulty (n,) of the faces of `rows`, NaN of those never measured."""
        if self._difficulty is None:
            return None
        table = self.samples
        known = torch.where(table.visits > 0, table.difficulty, torch.nan)
        return known[rows.cpu()].to(rows.device)

    def _measure_difficulty(self, rows: Tensor, empty: Tensor, bins: Tensor) -> None:
        if self._difficulty is not None:
            found = self.statistics.difficulties(empty.detach(), bins).float()
            self._difficulty[0].index_add_(0, rows, found)
            self._difficulty[1].index_add_(0, rows, torch.ones_like(found))

    def _follow(self, name: str, value: Tensor) -> None:
        self._metrics.setdefault(name, []).append(value.detach())

    def _follow_active(self, is_active: Tensor, is_wrong: Tensor, sigma: Tensor) -> None:
        """The share of active hinges in each quarter of the noise levels."""
        shares = is_active.sum(dim=1) / is_wrong.sum(dim=1)
        quarters = quarter_of(sigma)
        for number in range(4):
            self._follow(f"active_{number + 1}", shares[quarters == number].mean())

    def train_metrics(self) -> dict[str, float]:
        """`e_y`, the mean error under the right description, and `active_1` to `active_4`, the
        share of active hinges from the least noise to the most."""
        found = {
            name: round(float(torch.stack(values).nanmean()), 5)
            for name, values in self._metrics.items()
        }
        self._metrics.clear()
        return found

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """The encoder's of the faces as they are in `classifier`; later those of the errors at
        `validation_steps` noise levels."""
        if stage == CLASSIFIER:
            logits: Tensor = self.emodc.encoder(x)
            return logits
        options = {"flip": False, "device": str(x.device), "own_noise": "ignore"}
        classifier = EmoDCClassifier(self.emodc, self._card, **options)  # type: ignore[arg-type]
        classifier.steps = self.settings.validation_steps
        return classifier.logits(x, ids)

    def serving_state(self, state: State) -> State:
        """The network without the statistics of margins."""
        return select_prefix(state, EMODC)

    def calibrate(
        self, network: nn.Module, card: ModelCard, conditions: Mapping[str, FaceSet]
    ) -> ModelCard:
        """The card with a temperature, after the timestep weights, and what clean faces have for
        noise, were fitted on the validation split, also corrupted, into the network."""
        assert isinstance(network, EmoDC)
        calibrate_levels(network, card, conditions, self.settings.fit_prior)
        return super().calibrate(network, card, conditions)


def check_labels(recipe: Recipe, card: ModelCard) -> None:
    """Raise DataError for faces of other classes than a recipe's network describes."""
    described = tuple(recipe.network.get("labels", ()))
    if described and described != card.labels:
        what = f"faces of the classes {', '.join(card.labels)}"
        raise DataError(what, card.name, f"give faces of {', '.join(described)}")


@torch.no_grad()
def encode_phrases(network: EmoDC, card: ModelCard, name: str) -> None:
    """Put what a CLIP's text encoder makes of all phrases into the network: its weights hold it
    from then on. Raises ModelError for a network without a place of that size, and as
    `ClipEncoders`."""
    found = ClipEncoders(name, PHRASES).label(torch.eye(len(PHRASES)))
    encodings = getattr(getattr(network, "descriptions", None), "encodings", None)
    if encodings is None or encodings.shape != found.shape:
        what = f"a text encoder of {found.shape[1]} numbers a phrase"
        remedy = f"set condition to text and encodings to {found.shape[1]}"
        raise ModelError(what, card.name, remedy)
    encodings.copy_(found)


OBJECTIVE = EmoDCObjective
