"""Which noise levels an EmoDC listens to: weights fitted on corrupted validation faces.

Low levels carry the clean accuracy and know nothing of a noisy face; high ones carry the
robustness. Weights that were fitted on clean faces alone would keep the former only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from models.emodc.classifier import EmoDCClassifier
from models.emodc.encoder import NoiseResNet18
from models.emodc.levels import PARTS, measure_quality
from models.emodc.network import EmoDC
from models.emodc.noise import (
    BINS,
    LEAST_SIGMA,
    MOST_SIGMA,
    bin_of,
    estimate_own_noise,
    timesteps,
)
from models.weights import ModelCard
from trainer.compare.evaluate import apply_condition
from trainer.data.faceset import FaceSet
from trainer.inputs import build_inputs

CORRUPTED = ("gauss_noise_x1/5", "gauss_blur_x2/5")
"""The conditions, of faces without a display, that weights are fitted under, beside none."""
MOST_FACES = 600
"""Of each condition, spread over the split."""
ITERATIONS = 200
EVEN = 0.02
"""By how much the relative variance of the weights counts beside the cross-entropy."""
QUALITIES: tuple[tuple[str, ...], ...] = (
    (),
    *((f"gauss_noise_{level}",) for level in ("x1/2", "x1/5", "x2/5")),
    *((f"gauss_blur_{level}",) for level in ("x2/3", "x2/5")),
    ("gauss_blur_x2/3", "gauss_noise_x1/5"),
)
"""The conditions, one after the other, of faces that the table of levels is fitted on."""
MOST_OF_TABLE, LEAST_OF_CELL = 2100, 100
"""Faces of the whole table, and those that a cell needs for levels of its own."""


def calibrate_levels(
    network: EmoDC, card: ModelCard, conditions: Mapping[str, FaceSet], fit_prior: bool
) -> None:
    """Fit the network's `timestep_weights` and `own_noise_floor`, and with `fit_prior` its
    `log_prior`, under the conditions it was trained for and CORRUPTED, in place."""
    some = {cell: faces[:: max(len(faces) // MOST_FACES, 1)] for cell, faces in conditions.items()}
    if len(some) == 1:
        (clean,) = some.values()
        some |= {cell: apply_condition(clean, cell) for cell in CORRUPTED}
    fit_own_noise_floor(network.encoder, card, some)
    with torch.no_grad():
        network.timestep_weights.fill_(1.0)
        network.log_prior.zero_()
    centres = level_centres()
    serves = (centres >= network.encoder.low) & (centres <= network.encoder.high)
    found = [level_errors(network, card, faces, centres[serves]) for faces in some.values()]
    errors, bins = (torch.cat(each, dim=1) for each in zip(*found, strict=True))
    labels = torch.cat([torch.from_numpy(faces.labels) for faces in some.values()])
    if fit_prior:
        shares = torch.bincount(labels, minlength=len(card.labels)).clamp(min=1) / len(labels)
        errors = torch.cat([errors, -shares.log().expand(1, len(labels), -1)])
        bins = torch.cat([bins, torch.full((1, len(labels)), BINS)])
    weights = fit_bin_weights(errors, bins, labels).to(network.timestep_weights)
    if network.quality is not None:
        prior = weights[BINS] * shares.log() if fit_prior else network.log_prior
        fit_quality_levels(network, card, conditions, prior)
    # Their mean over the levels that serve stays 1: the temperature is fitted afterwards.
    scale = weights[:BINS][serves].mean().clamp(min=1e-6)
    network.timestep_weights.copy_(weights[:BINS] / scale)
    if network.quality is not None:
        network.quality.weights /= scale
    if fit_prior:
        network.log_prior.copy_(weights[BINS] * shares.log() / scale)


def fit_quality_levels(
    network: EmoDC, card: ModelCard, conditions: Mapping[str, FaceSet], prior: Tensor
) -> None:
    """Fit the network's table of levels on faces of many qualities, in place: the terciles of their
    noise and sharpness, and for each of the nine cells the levels that count most, with weights."""
    table = network.quality
    assert table is not None
    faces = spread_quality(conditions)
    centres = level_centres()
    errors = torch.cat([level_errors(network, card, each, centres)[0] for each in faces], dim=1)
    labels = torch.cat([torch.from_numpy(each.labels) for each in faces])
    x = torch.cat([build_inputs(each, card) for each in faces])
    shares = torch.arange(1, PARTS) / PARTS
    table.edges.copy_(torch.stack([each.quantile(shares) for each in measure_quality(x)]))
    steps = table.levels.shape[1]
    bins, weights = fit_cells(errors, labels, table.find_cells(x), steps, prior.cpu())
    table.levels.copy_(level_centres()[bins])
    # A prediction takes their mean, and they were fitted for the sum.
    table.weights.copy_(weights * steps)


def spread_quality(conditions: Mapping[str, FaceSet]) -> list[FaceSet]:
    """Faces of many qualities, MOST_OF_TABLE in all: under the conditions given, or, of faces
    without a display, under each of QUALITIES."""
    several = list(conditions.values())
    if len(several) == 1:
        several *= len(QUALITIES)
    each = max(MOST_OF_TABLE // len(several), 1)
    some = [faces[number :: max(len(faces) // each, 1)] for number, faces in enumerate(several)]
    if len(conditions) > 1:
        return some
    return [
        functools.reduce(apply_condition, cells, faces)
        for cells, faces in zip(QUALITIES, some, strict=True)
    ]


def fit_cells(
    errors: Tensor, labels: Tensor, cells: Tensor, steps: int, prior: Tensor
) -> tuple[Tensor, Tensor]:
    """Of errors (BINS, n, K) of faces with labels (n,) in cells (n,), the bins that serve each cell
    and their weights, (PARTS^2, steps) each: those whose weighted errors differ most between
    classes. A cell of fewer than LEAST_OF_CELL faces is served as all of them together."""
    chosen, weights = [], []
    for cell in range(PARTS**2):
        rows = cells == cell
        if int(rows.sum()) < LEAST_OF_CELL:
            rows = torch.ones_like(rows)
        own, of = errors[:, rows], labels[rows]
        counts = fit_weights(own, of, prior).float() * own.std(dim=2).mean(dim=1)
        bins = counts.topk(steps).indices.sort().values
        chosen.append(bins)
        weights.append(fit_weights(own[bins], of, prior).float())
    return torch.stack(chosen), torch.stack(weights)


@torch.no_grad()
def fit_own_noise_floor(
    encoder: NoiseResNet18, card: ModelCard, conditions: Mapping[str, FaceSet]
) -> None:
    """Set what is estimated in faces without noise: the median under the cleanest condition."""
    own = [estimate_own_noise(build_inputs(faces, card)).median() for faces in conditions.values()]
    encoder.films.own_noise_floor.copy_(torch.stack(own).min())


def level_centres() -> Tensor:
    """The noise level in the middle of each bin, (BINS,)."""
    return timesteps(BINS, torch.tensor([LEAST_SIGMA]), MOST_SIGMA)[:, 0]


def level_errors(
    network: EmoDC, card: ModelCard, faces: FaceSet, levels: Tensor
) -> tuple[Tensor, Tensor]:
    """Scaled errors (L, n, K) of faces at L noise levels, less those of the first class, and the
    bins (L, n) that the levels are in: none is below what a face has of its own. Logits are minus
    the errors' weighted sum."""
    x, errors, bins = build_inputs(faces, card), [], []
    classifier = EmoDCClassifier(network, card, flip=False)
    classifier.steps, classifier.by_quality = 1, False
    for level in levels.tolist():
        classifier.low = classifier.high = level
        with torch.inference_mode():
            errors.append(-classifier.logits(x, faces.ids))
            bins.append(bin_of(classifier.levels(x)[0][0]))
    return torch.stack(errors), torch.stack(bins)


def fit_bin_weights(errors: Tensor, bins: Tensor, labels: Tensor) -> Tensor:
    """A weight, 0 or more, of every bin 0..BINS, (BINS + 1,), with the least cross-entropy of minus
    the weighted sum of errors (L, n, K), which are in bins (L, n); labels (n,). The last one is of
    the errors that stand for a prior.

    Errors of neighbouring levels say nearly the same, and without a bound all weight goes to a few
    bins, which a prediction of other levels does not have: EVEN times the weights' relative
    variance is added. Bins without errors weigh as much as the others do on average.
    """
    errors = errors.double().clone()
    has_errors = torch.bincount(bins.flatten(), minlength=BINS + 1)[:BINS] > 0
    first = len(errors) ** -0.5
    roots = torch.full((BINS + 1,), first, dtype=torch.double, requires_grad=True)

    def loss() -> Tensor:
        weights = roots.square()
        logits = -torch.einsum("ln,lnk->nk", weights[bins], errors)
        own = weights[:BINS][has_errors]
        uneven = (own / own.mean().clamp(min=1e-9) - 1).square().mean()
        return functional.cross_entropy(logits, labels) + EVEN * uneven

    _minimise(loss, roots)
    weights = roots.detach().square()
    weights[:BINS][~has_errors] = weights[:BINS][has_errors].mean()
    return weights


def fit_weights(errors: Tensor, labels: Tensor, prior: Tensor | None = None) -> Tensor:
    """Weights (L,), 0 or more, of L errors (L, n, K) with the least cross-entropy of minus their
    weighted sum, plus the `prior` (K,) where there is one; labels (n,). From 1 / L each on."""
    errors = errors.double().clone()
    offset = 0.0 if prior is None else prior.double()
    roots = torch.full((len(errors),), len(errors) ** -0.5, dtype=torch.double, requires_grad=True)

    def loss() -> Tensor:
        logits = offset - torch.einsum("l,lnk->nk", roots.square(), errors)
        return functional.cross_entropy(logits, labels)

    _minimise(loss, roots)
    return roots.detach().square()


def _minimise(loss: Callable[[], Tensor], roots: Tensor) -> None:
    optimizer = torch.optim.LBFGS(
        [roots], max_iter=ITERATIONS, line_search_fn="strong_wolfe", tolerance_change=1e-10
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
