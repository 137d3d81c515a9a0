"""Which labels are clean: two Gaussians over the losses of each class, the lower of clean faces.

Arazo et al. 2019 (arXiv 1904.11238) fit one mixture to all losses. A rare or hard class has high
losses throughout and would lose its clean faces to it; here every class has a mixture of its own.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

LEAST_FACES = 200
"""Of a class with a mixture of its own."""
LEAST_GAP, LEAST_CLEAN, PARTED = 0.05, 0.3, 2.0
"""Means of a mixture that are closer, on a scale of 0 to 1, tell nothing; a class of which less
would be clean is rather hard than noisy, unless its two components are PARTED (Ashman's D): under
symmetric noise nine labels in ten of the rarest classes are wrong. Else all labels are kept."""
LEAST_SELECTED = 0.1
"""Share of a class that counts as clean whatever the threshold."""
STARTS = (0.25, 0.9)
"""Quantiles that the two means start from. Fixed ones, not k-means: its sums depend on the number
of threads, and a resumed run must be the same bit for bit."""
Values = NDArray[np.float64]


def split_clean(losses: Tensor, classes: Tensor, count: int, per_class: bool = True) -> Tensor:
    """Losses (n,) of labels `classes` (n,), of so many -> P(clean) of each, (n,) float32.

    A class with fewer than LEAST_FACES has the mixture of all faces' losses, each without the mean
    of its class. Not `per_class`: one mixture of all losses as they are.
    """
    values, labels = losses.double().numpy(), classes.numpy()
    clean = np.ones(len(values))
    if not per_class:
        return torch.from_numpy(clean_probabilities(values, values)).float()
    own = [labels == label for label in range(count)]
    centred = values.copy()
    for faces in own:
        centred[faces] -= values[faces].mean() if faces.any() else 0
    for faces in own:
        is_rare = faces.sum() < LEAST_FACES
        if faces.any():
            of = (centred, centred[faces]) if is_rare else (values[faces], values[faces])
            clean[faces] = clean_probabilities(*of)
    return torch.from_numpy(clean).float()


def select_clean(p_clean: Tensor, classes: Tensor, count: int, threshold: float) -> Tensor:
    """(n,) bool: the faces above a threshold of P(clean), and of each class at least the
    LEAST_SELECTED share with the highest: a class without a clean face could not be retrieved."""
    is_clean = p_clean > threshold
    for label in range(count):
        own = classes == label
        if own.any():
            is_clean |= own & (p_clean >= torch.quantile(p_clean[own], 1 - LEAST_SELECTED))
    return is_clean


def clean_probabilities(losses: Values, of: Values) -> Values:
    """P(the lower component) of the losses `of` (m,), by the mixture that is fitted to `losses`;
    all 1 where the mixture says too little or claims too much."""
    low, high = losses.min(), losses.max()
    kept = np.ones(len(of))
    if low == high:
        return kept
    scaled = (losses - low) / (high - low)
    mixture = GaussianMixture(
        2,
        max_iter=10,
        tol=1e-2,
        reg_covar=5e-4,
        init_params="random_from_data",
        weights_init=[0.5, 0.5],
        means_init=np.quantile(scaled, STARTS)[:, None],
        precisions_init=np.full((2, 1, 1), 1 / max(scaled.var(), 5e-4)),
        random_state=0,
    )
    with warnings.catch_warnings():
        # Ten steps are the authors' number, converged or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(scaled[:, None])
    means = mixture.means_[:, 0]
    # Beyond the means the wider of the two would win again: a face with the lowest loss of all is
    # not less clean than one with a low loss.
    values = np.clip((of - low) / (high - low), means.min(), means.max())
    clean: Values = mixture.predict_proba(values[:, None])[:, means.argmin()]
    gap = abs(means[1] - means[0])
    is_parted = gap >= PARTED * (mixture.covariances_.sum() / 2) ** 0.5
    has_clean = is_parted or (clean > 0.5).mean() >= LEAST_CLEAN
    return clean if gap >= LEAST_GAP and has_clean else kept
