"""Adversarial robustness: the accuracy that is left when faces are changed to be misclassified.

An attacker changes each pixel of a tile by at most a few of 255 levels, by the true gradient of the
whole classifier: resampling, horizontal-flip TTA, and, of a family that draws at random, the very
noise that the face's id will draw again when the tile is scored. Only the noise measured in a face
is taken as it is: its gradient, a median's, leads nowhere. Tiles are rounded to 8 bits first.

    fgsm      one step along the sign of the gradient (Goodfellow et al. 2015, arXiv 1412.6572)
    pgd       STEPS smaller ones from a random start (Madry et al. 2018, arXiv 1706.06083)
    eot       the same with the mean gradient of DRAWS draws of noise (Athalye et al. 2018,
              arXiv 1707.07397), where the family draws any
    transfer  the tiles of a pgd against another classifier

The strongest counts: a gradient that leads nowhere is no robustness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.model_input import LUMA, normalise, tile_to_input
from models.registry import family_of
from models.serving import SoftmaxClassifier
from models.udc.suites import noise_generator
from models.weights import ModelCard
from trainer.compare.evaluate import find_columns, mark_correct, predict
from trainer.compare.metrics import paired_difference
from trainer.data.faceset import FaceSet
from trainer.errors import OptionError
from trainer.inputs import check_crop

LEVELS = 255
STEPS, STEP_SHARE, DRAWS = 20, 1 / 8, 10
"""Steps of pgd, each of that share of the largest change, and draws of eot."""
ATTACKS = ("fgsm", "pgd", "eot", "transfer")
BATCH = 20
"""Faces whose gradient is computed at once."""
Progress = Callable[[str], None]
"""Called with a line for each attack that was scored."""


@dataclass(frozen=True)
class Attack:
    """The largest change of a pixel, `eps` of 255 levels; the number of `steps`, more than one of
    them from a random start; and the draws of noise whose mean gradient is taken."""

    eps: int
    steps: int = 1
    draws: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.eps < 1 or self.steps < 1 or not self.draws:
            what = f"eps {self.eps}, {self.steps} steps, {len(self.draws)} draws"
            raise ValueError(f"{what}: give 1 or more of each")

    @classmethod
    def of(cls, name: str, eps: int) -> Attack:
        """The one of a name in ATTACKS, transfer's a pgd; raises OptionError for another name."""
        if name not in ATTACKS:
            raise OptionError("no such attack", name, f"give some of {', '.join(ATTACKS)}")
        draws = tuple(range(DRAWS)) if name == "eot" else (0,)
        return cls(eps, 1 if name == "fgsm" else STEPS, draws)


def select_faces(faces: FaceSet, n: int) -> FaceSet:
    """The n faces of the smallest sha256(pixels), without those whose pixels are in Training; of
    equal ones the first."""
    fresh = faces[~faces.seen_in_training]
    _, first = np.unique(fresh.hashes(), return_index=True)
    return fresh[first[:n]]


def attack_faces(classifier: SoftmaxClassifier, faces: FaceSet, attack: Attack) -> FaceSet:
    """The faces, their tiles changed by at most `attack.eps` levels to be misclassified, and
    rounded. Raises DataError as `find_columns` and `check_crop`."""
    check_crop(faces, classifier.card)
    labels = torch.from_numpy(find_columns(classifier.card.labels, faces)[faces.labels])
    attacked = []
    for start in range(0, len(faces), BATCH):
        part = slice(start, start + BATCH)
        x = _follow_gradient(classifier, faces[part], labels[part], attack)
        levels = (x * LEVELS).round().clamp(0, LEVELS).to(torch.uint8).cpu().numpy()
        grey = faces.tiles.ndim == 3
        attacked.append(levels[:, 0] if grey else np.moveaxis(levels, 1, 3))
    return replace(faces, tiles=np.concatenate(attacked))


def _follow_gradient(
    classifier: SoftmaxClassifier, faces: FaceSet, labels: Tensor, attack: Attack
) -> Tensor:
    clean, eps = to_tiles(faces), attack.eps / LEVELS
    step = eps if attack.steps == 1 else eps * STEP_SHARE
    x = clean
    if attack.steps > 1:
        starts = [
            noise_generator(faces.name, face, f"attack/{attack.eps}").uniform(-eps, eps, shape)
            for face, shape in zip(faces.ids, [clean.shape[1:]] * len(clean), strict=True)
        ]
        x = (clean + torch.from_numpy(np.stack(starts)).float()).clamp(0, 1)
    for _ in range(attack.steps):
        uphill = loss_gradient(classifier, x, faces.ids, labels, attack.draws).sign()
        x = torch.clamp(x + step * uphill, clean - eps, clean + eps).clamp(0, 1)
    return x


def to_tiles(faces: FaceSet) -> Tensor:
    """Tiles as (n, 1 or 3, h, w) float32 in 0..1, with as many channels as they have."""
    x = torch.from_numpy(np.ascontiguousarray(faces.tiles)).float() / LEVELS
    return x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)


def tiles_to_input(x: Tensor, card: ModelCard) -> Tensor:
    """Tiles (n, 1 or 3, h, w) in 0..1 as a network's input, as in serving but for the rounding of
    the crop to 8 bits: differentiable."""
    if card.channels == 1 and x.shape[1] == 3:
        x = (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    resample = tile_to_input(x.shape[-1], card.input_px).to(x)
    return normalise(resample @ x.expand(-1, card.channels, -1, -1) @ resample.T, card)


def loss_of(
    classifier: SoftmaxClassifier, x: Tensor, ids: NDArray[np.int64], labels: Tensor, draw: int
) -> Tensor:
    """Cross-entropy (n,) of tiles x, with the noise that their ids draw."""
    logits = classifier.logits(tiles_to_input(x, classifier.card), ids, draw)
    scaled = logits / classifier.card.temperature
    return functional.cross_entropy(scaled, labels.to(logits.device), reduction="none")


def loss_gradient(
    classifier: SoftmaxClassifier,
    x: Tensor,
    ids: NDArray[np.int64],
    labels: Tensor,
    draws: Sequence[int] = (0,),
) -> Tensor:
    """The gradient of the loss, its mean over some draws, by each pixel of tiles (n, c, h, w)."""
    x = x.detach().requires_grad_()
    total = torch.zeros_like(x)
    for draw in draws:
        loss = loss_of(classifier, x, ids, labels, draw).sum()
        (found,) = torch.autograd.grad(loss, x)
        total += found
    return total / len(draws)


@dataclass(frozen=True)
class Robustness:
    """Which of n faces are classified right: `clean` (n,) bool, and by attack and eps."""

    clean: NDArray[np.bool_]
    attacked: dict[tuple[str, int], NDArray[np.bool_]]

    def strongest(self, eps: int) -> tuple[str, NDArray[np.bool_]]:
        """The attack of this size that leaves the least accuracy, and what it leaves."""
        found = {name: right for (name, of), right in self.attacked.items() if of == eps}
        name = min(found, key=lambda one: found[one].mean())
        return name, found[name]


def measure_robustness(
    classifiers: Mapping[str, SoftmaxClassifier],
    faces: FaceSet,
    sizes: Sequence[int],
    attacks: Sequence[str] = ATTACKS,
    source: SoftmaxClassifier | None = None,
    progress: Progress = lambda line: None,
) -> dict[str, Robustness]:
    """Every classifier under every attack, transfer's tiles made against `source`; by name. A
    family that draws nothing has no eot. Raises as `attack_faces` and `Attack.of`."""
    moved: dict[int, FaceSet] = {}
    if source is not None and "transfer" in attacks:
        moved = {eps: attack_faces(source, faces, Attack.of("transfer", eps)) for eps in sizes}
    found = {}
    for name, classifier in classifiers.items():
        attacked = {}
        for attack, eps in _list_attacks(classifier, attacks, sizes, moved):
            tiles = moved[eps] if attack == "transfer" else None
            seen = tiles or attack_faces(classifier, faces, Attack.of(attack, eps))
            attacked[attack, eps] = mark_correct(predict(classifier, seen), faces)
            progress(f"{name}: {attack} {eps}/255: {attacked[attack, eps].mean():.2%}")
        found[name] = Robustness(mark_correct(predict(classifier, faces), faces), attacked)
    return found


def _list_attacks(
    classifier: SoftmaxClassifier,
    attacks: Sequence[str],
    sizes: Sequence[int],
    moved: Mapping[int, FaceSet],
) -> Iterator[tuple[str, int]]:
    for attack in attacks:
        is_idle = attack == "eot" and not family_of(classifier.card).draws
        if not is_idle and (attack != "transfer" or moved):
            yield from ((attack, eps) for eps in sizes)


def tabulate_robustness(found: Mapping[str, Robustness], sizes: Sequence[int]) -> dict[str, Any]:
    """Accuracies by weights, attack and eps, with their standard errors; the strongest attack of
    each size; and how much more accurate the first weights are than each other under it."""
    first, *others = found
    rows = {name: _tabulate(one, sizes) for name, one in found.items()}
    differences = [
        {"weights": first, "against": name, "eps": eps} | _compare(found[first], found[name], eps)
        for name in others
        for eps in sizes
    ]
    return {"weights": rows, "differences": differences}


def _tabulate(one: Robustness, sizes: Sequence[int]) -> dict[str, Any]:
    attacks = dict.fromkeys(name for name, _ in one.attacked)
    return {
        "clean": _share(one.clean),
        "attacks": {
            name: {str(eps): _share(one.attacked[name, eps]) for eps in sizes} for name in attacks
        },
        "strongest": {
            str(eps): {"attack": name} | _share(right)
            for eps in sizes
            for name, right in [one.strongest(eps)]
        },
    }


def _share(right: NDArray[np.bool_]) -> dict[str, float]:
    share = float(right.mean())
    error = math.sqrt(share * (1 - share) / len(right))
    return {"accuracy": round(share, 5), "standard_error": round(error, 5)}


def _compare(ours: Robustness, theirs: Robustness, eps: int) -> dict[str, Any]:
    a, b = (one.strongest(eps)[1].astype(np.float64) for one in (ours, theirs))
    gain = paired_difference(a, b)
    return {
        "delta": round(gain.delta, 5),
        "interval": [round(gain.low, 5), round(gain.high, 5)],
    }
