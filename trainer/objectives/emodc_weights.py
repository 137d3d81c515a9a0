"""Which noise levels an EmoDC listens to: weights fitted on corrupted validation faces.

Low levels carry the clean accuracy and know nothing of a noisy face; high ones carry the
robustness. Weights that were fitted on clean faces alone would keep the former only.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.emodc.classifier import EmoDCClassifier
from models.emodc.encoder import NoiseResNet18
from models.emodc.network import EmoDC
from models.emodc.noise import BINS, LEAST_SIGMA, MOST_SIGMA, estimate_own_noise, timesteps
from models.weights import ModelCard
from trainer.compare.evaluate import apply_condition
from trainer.data.faceset import FaceSet
from trainer.inputs import build_inputs

CORRUPTED = ("gauss_noise_x1/5", "gauss_blur_x2/5")
"""The conditions, of faces without a display, that weights are fitted under, beside none."""
MOST_FACES = 600
"""Of each condition, spread over the split."""
ITERATIONS = 200


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
        errors = torch.cat([level_errors(network, card, faces) for faces in some.values()], dim=1)
    labels = torch.cat([torch.from_numpy(faces.labels) for faces in some.values()])
    if fit_prior:
        shares = torch.bincount(labels, minlength=len(card.labels)).clamp(min=1) / len(labels)
        errors = torch.cat([errors, -shares.log().expand(1, len(labels), -1)])
    weights = fit_weights(errors, labels).to(network.timestep_weights)
    # Their mean over the levels that serve stays 1: the temperature is fitted afterwards.
    centres = level_centres()
    serves = (centres >= network.encoder.low) & (centres <= network.encoder.high)
    scale = weights[:BINS][serves].mean().clamp(min=1e-6)
    network.timestep_weights.copy_(weights[:BINS] / scale)
    if fit_prior:
        network.log_prior.copy_(weights[BINS] * shares.log() / scale)


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


def level_errors(network: EmoDC, card: ModelCard, faces: FaceSet) -> Tensor:
    """Scaled errors (BINS, n, K) of faces, one noise level of each bin, less those of the first
    class: logits are minus their weighted sum."""
    x, found = build_inputs(faces, card), []
    classifier = EmoDCClassifier(network, card, flip=False, own_noise="ignore")
    classifier.steps = 1
    for centre in level_centres().tolist():
        classifier.low = classifier.high = centre
        with torch.inference_mode():
            found.append(-classifier.logits(x, faces.ids))
    return torch.stack(found)


def fit_weights(errors: Tensor, labels: Tensor) -> Tensor:
    """Weights (L,), 0 or more, of L errors (L, n, K) with the least cross-entropy of minus their
    weighted sum; labels (n,). From 1 / L each on."""
    errors = errors.double().clone()
    roots = torch.full((len(errors),), len(errors) ** -0.5, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [roots], max_iter=ITERATIONS, line_search_fn="strong_wolfe", tolerance_change=1e-10
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = -torch.einsum("l,lnk->nk", roots.square(), errors)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return roots.detach().square()
