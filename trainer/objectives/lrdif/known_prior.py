"""LRDif with a prior from what only training knows of a face: Z is restored from the image alone.

The pairs of clean and degraded image that restoration learns from exist here in training. Stage 1
learns what Z is good for, and how far to trust it; stage 2 restores Z from the degraded image; a
third learns to go on from the Z of a track's earlier observations.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError
from models.loading import build_network
from models.lrdif.network import LRDif
from models.lrdif.track_prior import Past
from models.lrdif.trunk import LRDifWithTwin, ModulatedResNet, corrupt, weigh
from models.weights import ModelCard
from trainer.objectives.base import Batch
from trainer.objectives.lrdif.lrdif import WITHOUT, RestoredPriorObjective
from trainer.recipes import Recipe

WITH_TWIN = "with_twin"
"""The networks of stage 1 and of stage 2 in the checkpoint."""
LEAST_TRUST = 0.3
TRUST_RATE = 0.02
"""Share of a batch in the running mean of the cosine."""
TRACK = "track"
FORGOTTEN = 0.25
"""Share of the faces that have lost their past in the stage `track`, and share of the others that
have another face's: a track changes its expression, or jumps to another person."""


@dataclass(frozen=True)
class PriorLosses:
    """`cosine`: weight of 1 - cos(restored Z, Z) beside cross-entropy in stage 2. `absent`: share
    of the faces without Z, in both stages. `label`: share of stage 1's faces whose label enters Z
    too; 0 builds no encoder of labels."""

    cosine: float = 1.0
    absent: float = 0.1
    label: float = 0.25


class KnownPriorObjective(RestoredPriorObjective):
    """The stages `s1` (Z from what is known in training) and `s2` (Z restored from the face alone),
    and optionally `track` (Z restored from the face and the Z before), which needs `observations`.

    `features`: how many numbers are known of a face; `losses` are those of `PriorLosses`. Raises
    ModelError for a network of another kind.
    """

    steps_setting = "steps"
    serving_stages = frozenset({"s2", TRACK})

    def __init__(self, recipe: Recipe, card: ModelCard, features: int, **losses: float) -> None:
        self.settings = PriorLosses(**losses)
        self.without = _build_lrdif(card)
        if self.without.restorer.denoiser is None and TRACK in {s.name for s in recipe.stages}:
            what = "a stage track for a restorer that does not start from a Z"
            raise ModelError(what, card.name, "give the restorer diffusion")
        self.with_twin = LRDifWithTwin(
            trunk_of(_build_lrdif(card), card),
            features,
            self.without.prior,
            len(card.labels),
            self.settings.label > 0,
        )
        self.network = nn.ModuleDict({WITH_TWIN: self.with_twin, WITHOUT: self.without})
        self._card = card
        self._cosines: list[Tensor] = []

    @abstractmethod
    def known_features(self, batch: Batch) -> Tensor:
        """What is known of each face, (n, features)."""

    def start_stage(self, stage: str) -> None:
        """Stage 2 starts from stage 1's former, and trusts its Z as little as stage 1 ever did; the
        last one trusts a Z with a past as far as one without."""
        if stage == TRACK:
            self.without.trust[1:] = self.without.trust[0]
        if stage == "s2":
            self.without.trust[0] = LEAST_TRUST
            self.without.former.load_state_dict(self.with_twin.former.state_dict())

    def parameters(self, stage: str) -> list[nn.Parameter]:
        """In `s1` all of the first network, later of the second."""
        return list((self.with_twin if stage == "s1" else self.without).parameters())

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Cross-entropy with a corrupted Z in `s1`; later with the restored Z, and the distance of
        that from Z."""
        if stage == "s1":
            z, trust = self._corrupt_prior(batch)
            logits = self.with_twin.former(batch.x, weigh(z, trust))
            return functional.cross_entropy(logits.float(), batch.targets)
        target = self.true_prior(self.known_features(batch))
        logits, z = (self._observe if stage == TRACK else self._restore)(batch, target)
        cosine = functional.cosine_similarity(z.float(), target.float(), dim=1)
        loss = functional.cross_entropy(logits.float(), batch.targets)
        return loss + self.settings.cosine * (1 - cosine).mean()

    def _restore(self, batch: Batch, target: Tensor) -> tuple[Tensor, Tensor]:
        """Stage 2's logits and Z (n, C): the reverse process starts from Z's own noise."""
        start, *noises = self._noise(target)
        start = self.without.diffusion.forward(target, start)
        encoded, features = self.without.encode(batch.x)
        z = self.without.restorer(features, start, noises)
        self._follow(z, target, torch.zeros(len(z), dtype=torch.long, device=z.device))
        trust = self.without.trust[0] * self._is_present(z)
        return self.without.classify(encoded, z, trust), z

    def _observe(self, batch: Batch, target: Tensor) -> tuple[Tensor, Tensor]:
        """The logits and Z (n, C) of each face's last observation, from the Z of those before."""
        past = self._recall(batch)
        logits, now = self.without.observe(batch.x, self._noise_of_some(target), past)
        self._follow(now.z, target, past.count)
        return logits, now.z

    @torch.no_grad()
    def _recall(self, batch: Batch) -> Past:
        """What the faces' earlier observations left; some have lost it, some have another's."""
        n, device = len(batch.x), batch.x.device
        past = Past.none(n, self.without.prior, device)
        for x in () if batch.earlier is None else batch.earlier.unbind(dim=1):
            view = x.contiguous(memory_format=torch.channels_last)
            _, past = self.without.remember(view, self._noise_of_some(past.z), past)
        is_other = torch.rand(n, 1, device=device) < FORGOTTEN
        mixed = Past(torch.where(is_other, past.z.roll(1, dims=0), past.z).float(), past.count)
        return mixed.select(torch.rand(n, device=device) >= FORGOTTEN)

    def _noise_of_some(self, like: Tensor) -> Tensor:
        """Noise for half of the faces: it serves with noise or without, whichever is better."""
        return torch.randn_like(like) * (torch.rand(len(like), 1, device=like.device) < 0.5)

    def _corrupt_prior(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Stage 1's Z (n, C) with noise, and how far to trust it (n, 1), 0 where it is absent."""
        features, n = self.known_features(batch), len(batch.x)
        shares = batch.targets
        if self.settings.label:
            shares = shares * (torch.rand(n, 1, device=shares.device) < self.settings.label)
        z = self.with_twin.z(features, shares)
        trust = LEAST_TRUST + (1 - LEAST_TRUST) * torch.rand(n, 1, device=z.device)
        return corrupt(z, trust, torch.randn_like(z)), trust * self._is_present(z)

    def _is_present(self, z: Tensor) -> Tensor:
        """(n, 1): 1, or 0 for the share of faces without Z."""
        return (torch.rand(len(z), 1, device=z.device) >= self.settings.absent).float()

    @torch.no_grad()
    def true_prior(self, features: Tensor) -> Tensor:
        """Stage 1's Z (n, C) of what is known of faces (n, F), without labels: a label cannot be
        restored."""
        return self.with_twin.z(features)

    @torch.no_grad()
    def _follow(self, z: Tensor, target: Tensor, count: Tensor) -> None:
        """Add a batch's mean cosine, of the faces with each number of earlier observations, to how
        far the restored Z is trusted."""
        cosine = functional.cosine_similarity(z.float(), target.float(), dim=1)
        self._cosines.append(cosine.mean())
        trust = self.without.trust
        counts = count.clamp(max=len(trust) - 1)
        for number in set(counts.tolist()):
            mean = cosine[counts == number].mean()
            trust[number].lerp_(mean.clamp(0, 1).to(trust), TRUST_RATE)

    def train_metrics(self) -> dict[str, float]:
        """`z_cosine`: cosine of restored and true Z, mean over the batches."""
        if not self._cosines:
            return {}
        mean = float(torch.stack(self._cosines).mean())
        self._cosines.clear()
        return {"z_cosine": round(mean, 5)}


def trunk_of(network: LRDif, card: ModelCard) -> ModulatedResNet:
    """The former of a network with a trunk; raises ModelError for one without."""
    if not isinstance(network.former, ModulatedResNet):
        raise ModelError("a network without a trunk", card.name, "give lrdif with a trunk")
    return network.former


def _build_lrdif(card: ModelCard) -> LRDif:
    network = build_network(card)
    if not isinstance(network, LRDif):
        raise ModelError(f"a network of {card.model}", card.name, "give lrdif with a trunk")
    return network
