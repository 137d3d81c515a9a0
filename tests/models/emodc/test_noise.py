"""The rule of the diffusion classifier where everything is known: Gaussian classes, whose best
prediction of the noise has a closed form. No network is trained here."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from models.diffusion import Diffusion
from models.emodc.noise import (
    LEAST_SIGMA,
    MOST_SIGMA,
    bin_of,
    draw_noise,
    estimate_own_noise,
    likelihood_weight,
    noise_errors,
    noise_to_add,
    relative_errors,
    sigma_of,
    timesteps,
)
from models.serving import logits_from_errors

SIZE, SPREAD = 6, 0.7


def best_prediction(noisy: Tensor, sigma: float, means: Tensor, spread: Tensor) -> Tensor:
    """E[eps | x + sigma eps] (n, K, 1, 1, d) where class k is N(mean_k, spread_k^2 I)."""
    share = sigma / (spread.square() + sigma**2)
    return (share[:, None] * (noisy[:, None] - means))[:, :, None, None]


def expected_errors(x: Tensor, sigma: float, means: Tensor, spread: Tensor) -> Tensor:
    """E over eps of the errors (n, K) of that prediction, without a random number."""
    v = spread.square() + sigma**2
    squared = (x[:, None] - means).square().sum(dim=2)
    return (x.shape[1] * spread**4 + sigma**2 * squared) / v.square() / x.shape[1]


def sample_errors(x: Tensor, sigma: float, means: Tensor, spread: Tensor, noise: Tensor) -> Tensor:
    """Errors (n, K) of one draw of the noise (n, d)."""
    predicted = best_prediction(x + sigma * noise, sigma, means, spread)
    return noise_errors(noise[:, None, None], predicted)


@pytest.fixture
def means() -> Tensor:
    """Of four classes."""
    return torch.randn(4, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("t", [1, 50, 200, 500, 800, 1000])
def test_the_least_expected_error_is_bayes_at_every_timestep(means: Tensor, t: int) -> None:
    alpha_bar = Diffusion(1000, "eps", False, schedule=linear_betas).alpha_bars[t]
    sigma, same = sigma_of(alpha_bar), torch.full((4,), SPREAD, dtype=torch.float64)
    x = 2 * torch.randn(500, SIZE, dtype=torch.float64)
    squared = (x[:, None] - means).square().sum(dim=2)
    errors = expected_errors(x, sigma, means, same)
    assert torch.equal(errors.argmin(dim=1), squared.argmin(dim=1))
    # The published form, in DDPM's terms: alpha_bar (1 - alpha_bar) / v^2 times the distances.
    v = alpha_bar * SPREAD**2 + 1 - alpha_bar
    closed = alpha_bar * (1 - alpha_bar) / v**2 * (squared - squared[:, :1])
    torch.testing.assert_close((errors - errors[:, :1]) * SIZE, closed, rtol=1e-6, atol=1e-9)


def linear_betas(steps: int) -> list[float]:
    return [float(beta) for beta in np.linspace(1e-4, 2e-2, steps)]


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_the_expected_error_is_the_mean_over_draws(means: Tensor, sigma: float) -> None:
    spread = torch.tensor([0.3, 0.7, 1.0, 1.5], dtype=torch.float64)
    x = torch.randn(1, SIZE, dtype=torch.float64)
    many = 200_000
    noise = torch.randn(many, SIZE, generator=torch.Generator().manual_seed(2))
    drawn = sample_errors(x.expand(many, -1), sigma, means, spread, noise.double())
    se = drawn.std(dim=0) / many**0.5
    assert ((drawn.mean(dim=0) - expected_errors(x, sigma, means, spread)[0]).abs() < 4 * se).all()


@pytest.mark.parametrize("alpha_bar", [0.3, 0.8, 0.99])
def test_shared_noise_has_the_variance_of_theory_and_no_more(
    means: Tensor, alpha_bar: float
) -> None:
    """Shared by the classes, the noise of what they have in common cancels."""
    many, sigma = 300_000, sigma_of(alpha_bar)
    generator = torch.Generator().manual_seed(3)
    same = torch.full((2,), SPREAD, dtype=torch.float64)
    x = torch.randn(1, SIZE, dtype=torch.float64, generator=generator).expand(many, -1)
    first, second = torch.randn(2, many, SIZE, generator=generator).double()
    pair, a = means[:2], alpha_bar
    shared = sample_errors(x, sigma, pair, same, first) * SIZE
    other = sample_errors(x, sigma, pair, same, second) * SIZE
    v = a * SPREAD**2 + 1 - a
    unit = 4 * a**3 * SPREAD**4 * (1 - a) / v**4
    theory = unit * float((pair[0] - pair[1]).square().sum())
    apart = unit * float((x[0] - pair).square().sum())
    # Of independent noise, what the classes have in common does not cancel either.
    apart += 2 * 2 * (a * SPREAD**2 / v) ** 4 * SIZE
    assert float((shared[:, 1] - shared[:, 0]).var()) == pytest.approx(theory, rel=0.02)
    assert float((other[:, 1] - shared[:, 0]).var()) == pytest.approx(apart, rel=0.02)


def test_evenly_in_log_sigma_the_errors_sum_to_the_likelihood(means: Tensor) -> None:
    """With classes of other spreads no single timestep is Bayes; the integral over all is, and the
    mean over DDPM's timesteps is not."""
    spread = torch.tensor([0.5, 0.8, 1.0, 1.3], dtype=torch.float64)
    x = 1.5 * torch.randn(
        4000, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    )
    squared = (x[:, None] - means).square().sum(dim=2)
    exact = -squared / (2 * spread.square()) - SIZE * spread.log()
    count, low, high = 400, 1e-4, 1e4
    grid = timesteps(count, torch.tensor([low], dtype=torch.float64), high)[:, 0]
    errors = torch.stack([expected_errors(x, float(s), means, spread) for s in grid]) * SIZE
    weights = torch.full((count,), likelihood_weight(count, low, high), dtype=torch.float64)
    found = logits_from_errors(errors, weights)
    ratio, expected = found - found[:, :1], exact - exact[:, :1]
    assert float((ratio - expected).abs().max()) < 1e-3
    assert torch.equal(found.argmax(dim=1), exact.argmax(dim=1))
    bars = Diffusion(1000, "eps", False, schedule=linear_betas).alpha_bars[1:]
    uniform = torch.stack([expected_errors(x, sigma_of(a), means, spread) for a in bars[::10]])
    agreed = (uniform.mean(dim=0).argmin(dim=1) == exact.argmax(dim=1)).double().mean()
    assert 0.8 < float(agreed) < 0.999


def test_noise_is_antithetic_and_keyed_by_the_id() -> None:
    drawn = draw_noise(7, 0, 5, (1, 4, 4))
    assert drawn.shape == (5, 1, 4, 4)
    assert drawn.dtype == np.float32
    assert np.array_equal(drawn[1], -drawn[0])
    assert np.array_equal(drawn[3], -drawn[2])
    assert not np.array_equal(drawn[2], drawn[0])
    assert np.array_equal(draw_noise(7, 0, 2, (1, 4, 4)), drawn[:2])
    for other in (draw_noise(8, 0, 5, (1, 4, 4)), draw_noise(7, 1, 5, (1, 4, 4))):
        assert abs(np.corrcoef(other.ravel(), drawn.ravel())[0, 1]) < 0.5
    many = np.stack([draw_noise(face, 0, 2, (1, 16, 16)) for face in range(-50, 50)])
    assert abs(many.var() - 1) < 4 * (4 / many.size) ** 0.5


def test_relative_errors_are_the_differences_of_the_errors() -> None:
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(3, 1, 8, 8, generator=generator)
    predicted = torch.randn(3, 5, 1, 8, 8, generator=generator)
    errors = noise_errors(noise, predicted)
    slow = [[((p - e) ** 2).mean() for p in row] for row, e in zip(predicted, noise, strict=True)]
    torch.testing.assert_close(errors, torch.tensor(slow))
    torch.testing.assert_close(relative_errors(noise, predicted), errors - errors[:, :1])


def test_relative_errors_see_what_float32_errors_do_not() -> None:
    noise = torch.randn(1, 1, 48, 48, generator=torch.Generator().manual_seed(6))
    step = torch.zeros(1, 2, 1, 48, 48)
    step[:, 1] = 1e-8
    exact = noise_errors(noise.double(), step.double()).double()
    expected = (step.double() - noise.double()[:, None]).square().mean(dim=(2, 3, 4))
    expected = expected[:, 1] - expected[:, 0]
    found = relative_errors(noise, step)[:, 1].double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)
    assert (exact[:, 1] - exact[:, 0] - expected).abs() > 1e-3 * expected.abs()


def test_bins_cover_the_noise_levels_evenly() -> None:
    grid = timesteps(1600, torch.tensor([LEAST_SIGMA]), MOST_SIGMA)[:, 0]
    assert torch.bincount(bin_of(grid)).tolist() == [100] * 16


def test_a_face_with_noise_of_its_own_starts_above_it() -> None:
    grid = timesteps(4, torch.tensor([0.05, 0.6, 2.0]), 1.0)
    assert (grid[:, 1] > 0.6).all()
    assert (grid[:, 1] < 1.0).all()
    assert torch.equal(grid[:, 2], torch.full((4,), 2.0))  # above the highest: it stays


@pytest.mark.parametrize("sigma", [0.1, 0.4, 0.8])
def test_own_noise_is_estimated_and_only_the_rest_is_added(sigma: float) -> None:
    generator = torch.Generator().manual_seed(7)
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    smooth = torch.sin(rows / 9) + torch.cos(columns / 7)
    x = smooth + sigma * torch.randn(64, 1, 48, 48, generator=generator)
    own = estimate_own_noise(x)
    assert float(own.mean()) == pytest.approx(sigma, rel=0.03)
    added = noise_to_add(torch.full((64,), 1.0), own)
    noisy = x + added[:, None, None, None] * torch.randn(x.shape, generator=generator)
    assert float((noisy - smooth).std()) == pytest.approx(1.0, rel=0.03)
    assert float(noise_to_add(torch.tensor([0.1]), torch.tensor([0.2]))) == 0.0


def test_sigma_and_alpha_bar_name_the_same_noisy_face() -> None:
    sigma = sigma_of(0.3)
    assert math.sqrt(0.3) * sigma == pytest.approx(math.sqrt(1 - 0.3))
