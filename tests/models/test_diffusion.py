"""Forward and reverse are those of the closed form, at every step, in every parameterisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from models.diffusion import Diffusion, Schedule, cosine_betas, root_linear_betas

SIZE = 6


def draws(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def every_schedule() -> list[Diffusion]:
    plain = [Diffusion(steps, zero_snr=False) for steps in (1, 2, 4, 8)]
    return plain + [Diffusion(steps) for steps in (1, 2, 4, 8)]


def test_the_published_schedule() -> None:
    diffusion = Diffusion(zero_snr=False)
    assert [round(beta, 4) for beta in diffusion.betas] == [0.1, 0.2943, 0.5910, 0.99]
    assert [round(kept, 4) for kept in diffusion.alpha_bars] == [1, 0.9, 0.6351, 0.2598, 0.0026]


def test_pure_noise_at_the_end_changes_the_last_beta_alone() -> None:
    for steps in (1, 2, 4, 8, 16, 32):
        diffusion = Diffusion(steps)
        assert diffusion.betas == [*root_linear_betas(steps)[:-1], 1.0]
        noise = draws(3)
        assert torch.equal(diffusion.forward(draws(3, 1), noise), noise)


@pytest.mark.parametrize("zero_snr", [False, True])
def test_forward_has_the_marginals_of_the_chain(zero_snr: bool) -> None:
    """2e5 samples at every t: at once, and by q(Z_t | Z_{t-1}) step after step."""
    n, z0 = 200_000, 1.7
    diffusion = Diffusion(zero_snr=zero_snr)
    start = torch.full((n, 1), z0, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    chain = start
    for t in range(1, diffusion.steps + 1):
        kept = diffusion.alpha_bars[t]
        noises = torch.randn(2, n, 1, dtype=torch.float64, generator=generator)
        beta = diffusion.betas[t - 1]
        chain = math.sqrt(1 - beta) * chain + math.sqrt(beta) * noises[0]
        for z in (diffusion.forward(start, noises[1], t), chain):
            variance = 1 - kept
            assert abs(float(z.mean()) - math.sqrt(kept) * z0) < 4 * math.sqrt(variance / n)
            assert abs(float(z.var()) - variance) < 4 * variance * math.sqrt(2 / n)


def by_hand(diffusion: Diffusion, z0: Tensor, z: Tensor, t: int) -> tuple[Tensor, float]:
    """Mean and variance of Z_{t-1}: two Gaussian measurements of it, weighted by precision."""
    alpha, before = 1 - diffusion.betas[t - 1], diffusion.alpha_bars[t - 1]
    if before == 1:
        return z0, 0.0
    prior, likelihood = 1 / (1 - before), alpha / (1 - alpha)
    variance = 1 / (prior + likelihood)
    told = likelihood * z / math.sqrt(alpha) if alpha else 0.0
    return variance * (prior * math.sqrt(before) * z0 + told), variance


@pytest.mark.parametrize("diffusion", every_schedule(), ids=lambda d: f"{d.steps}-{d.betas[-1]}")
def test_a_step_back_is_the_posterior_mean(diffusion: Diffusion) -> None:
    z0 = draws(50, 1)
    for t in range(1, diffusion.steps + 1):
        z = diffusion.forward(z0, draws(50, t + 1), t)
        mean, variance = by_hand(diffusion, z0, z, t)
        torch.testing.assert_close(diffusion.step(z, t, z0), mean, atol=1e-6, rtol=0)
        assert diffusion.posterior(t)[2] == pytest.approx(variance, abs=1e-12)


def test_eps_steps_where_x0_steps() -> None:
    x0, eps = (Diffusion(param=param, zero_snr=False) for param in ("x0", "eps"))
    z0 = draws(50, 1)
    for t in range(1, 5):
        noise = draws(50, t + 1)
        z = x0.forward(z0, noise, t)
        torch.testing.assert_close(eps.step(z, t, noise), x0.step(z, t, z0), atol=1e-6, rtol=0)


def test_the_printed_step_differs_by_a_known_share_of_the_noise() -> None:
    """From one Z_t, by these multiples of eps; at t = 1 both are one."""
    right, printed = (Diffusion(param=p, zero_snr=False) for p in ("eps", "eps_printed16"))
    z, noise = draws(5, 1), draws(5, 2)
    for t, share in {4: -0.037, 3: -0.128, 2: -0.066, 1: 0.0}.items():
        shares = (printed.step(z, t, noise) - right.step(z, t, noise)) / noise
        torch.testing.assert_close(shares, torch.full_like(shares, share), atol=5e-4, rtol=0)


@pytest.mark.parametrize("param", ["x0", "eps", "eps_printed16"])
def test_an_oracle_asked_at_every_step_finds_the_answer(param: str) -> None:
    """Of every form, the printed one too: this alone proves nothing of the steps between."""
    diffusion = Diffusion(param=param, zero_snr=False)
    z0 = draws(50, 1)

    def oracle(z: Tensor, t: int) -> Tensor:
        kept = diffusion.alpha_bars[t]
        return z0 if param == "x0" else (z - math.sqrt(kept) * z0) / math.sqrt(1 - kept)

    found = diffusion.reverse(diffusion.forward(z0, draws(50, 2)), oracle)
    torch.testing.assert_close(found, z0, atol=1e-12, rtol=0)


def test_one_noise_for_all_steps_misses_by_a_known_share_of_it() -> None:
    """To go back along a straight line is what DDIM does, not DDPM."""
    diffusion = Diffusion(param="eps", zero_snr=False)
    z0, noise = draws(50, 1), draws(50, 2)
    found = diffusion.reverse(diffusion.forward(z0, noise), lambda z, t: noise)
    shares = (found - z0) / noise
    torch.testing.assert_close(shares, torch.full_like(shares, -2.147), atol=5e-4, rtol=0)


def test_an_error_of_eps_at_the_first_step_grows_nineteenfold() -> None:
    """Why x0 is the default: 1 / sqrt(alpha_T) is 10."""
    diffusion = Diffusion(param="eps", zero_snr=False)
    z, noise = draws(5, 1), draws(5, 2)

    def off(by: float) -> Tensor:
        return diffusion.reverse(z, lambda _, t: noise + (by if t == 4 else 0))

    growth = off(1e-3).sub(off(0)).abs() / 1e-3
    torch.testing.assert_close(growth, torch.full_like(growth, 19.4), atol=0.05, rtol=0)


def test_printed_steps_undo_the_noises_of_single_steps() -> None:
    """What eq. 16 means as printed."""
    diffusion = Diffusion(param="eps_printed16", zero_snr=False)
    z0 = draws(50, 1)
    noises = {t: draws(50, t + 1) for t in range(1, 5)}
    z = z0
    for t, noise in noises.items():
        beta = diffusion.betas[t - 1]
        z = math.sqrt(1 - beta) * z + math.sqrt(beta) * noise
    found = diffusion.reverse(z, lambda _, t: noises[t])
    torch.testing.assert_close(found, z0, atol=1e-13, rtol=0)


@pytest.mark.parametrize("param", ["x0", "eps"])
def test_inserted_noise_has_the_variance_of_the_posterior(param: str) -> None:
    n = 100_000
    diffusion = Diffusion(param=param, zero_snr=False, insert_noise=True)
    z, predicted = (torch.full((n, 1), value, dtype=torch.float64) for value in (0.3, -0.8))
    for t in range(4, 0, -1):
        noise = torch.randn(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(t))
        found = diffusion.step(z, t, predicted, noise)
        beta, now, before = (
            diffusion.betas[t - 1],
            diffusion.alpha_bars[t],
            diffusion.alpha_bars[t - 1],
        )
        variance = beta * (1 - before) / (1 - now)
        if t == 1:
            assert torch.equal(found, diffusion.step(z, t, predicted))
        else:
            assert abs(float(found.var()) - variance) < 4 * variance * math.sqrt(2 / n)


def test_each_step_but_the_last_takes_its_own_noise() -> None:
    diffusion = Diffusion(insert_noise=True)
    z, noises = draws(2), [draws(2, seed) for seed in (1, 2, 3)]
    taken: list[int] = []
    step = diffusion.step

    def spy(z: Tensor, t: int, predicted: Tensor, noise: Tensor | None) -> Tensor:
        taken.append(next((i for i, given in enumerate(noises) if given is noise), -1))
        return step(z, t, predicted, noise)

    diffusion.step = spy  # type: ignore[method-assign, assignment]
    diffusion.reverse(z, lambda z, t: z, noises)
    assert taken == [0, 1, 2, -1]


def test_without_insertion_noise_changes_nothing() -> None:
    diffusion = Diffusion()
    z, noises = draws(2), [draws(2, seed) for seed in (1, 2, 3)]
    plain = diffusion.reverse(z, lambda z, t: z / t)
    assert torch.equal(diffusion.reverse(z, lambda z, t: z / t, noises), plain)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "0 steps of 'x0'"),
        ({"param": "v"}, "4 steps of 'v': give 1 or more of x0, eps, eps_printed16"),
        ({"param": "eps"}, "zero_snr with param 'eps': it is defined for x0 alone"),
        ({"param": "eps_printed16", "zero_snr": True}, "zero_snr with param"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Diffusion(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "std", "found"),
    [(128, 1, 0.26), (128, 5, 0.90), (128, 10, 1.00), (64, 1, 0.21), (64, 5, 0.71), (64, 10, 0.98)],
)
def test_a_start_that_is_not_pure_noise_tells_the_label(size: int, std: int, found: float) -> None:
    """Eight classes, each with a Z of this spread; who knows them all reads Z_T."""
    n, generator = 20_000, torch.Generator().manual_seed(0)
    right = []
    for diffusion in (Diffusion(zero_snr=False), Diffusion()):
        z = std * torch.randn(20, 8, size, generator=generator)  # twenty worlds
        labels = torch.randint(8, (20, n // 20), generator=generator)
        own = z.gather(1, labels[..., None].expand(-1, -1, size))
        seen = diffusion.forward(own, torch.randn(own.shape, generator=generator))
        guess = torch.cdist(seen, math.sqrt(diffusion.alpha_bars[-1]) * z)
        right.append(float((guess.argmin(dim=2) == labels).float().mean()))
    assert right[0] == pytest.approx(found, abs=0.03)
    assert right[1] == pytest.approx(1 / 8, abs=4 * math.sqrt(7 / 64 / n))


@pytest.mark.parametrize("shape", [(6,), (2, 5, 5), (1, 3, 4, 2)])
def test_any_shape_goes_forward_each_sample_at_its_own_step(shape: tuple[int, ...]) -> None:
    diffusion = Diffusion(8, schedule=cosine_betas)
    generator = torch.Generator().manual_seed(2)
    z, noise = torch.randn(2, 9, *shape, dtype=torch.float64, generator=generator)
    steps = torch.arange(9)
    together = diffusion.forward(z, noise, steps)
    for row, t in enumerate(steps.tolist()):
        alone = diffusion.forward(z[row : row + 1], noise[row : row + 1], t)
        torch.testing.assert_close(together[row : row + 1], alone)


@pytest.mark.parametrize("schedule", [root_linear_betas, cosine_betas])
def test_a_network_that_knows_the_answer_is_led_to_it(schedule: Schedule) -> None:
    """Images, not vectors: z_0 comes back from pure noise, whatever the schedule."""
    diffusion = Diffusion(10, zero_snr=False, schedule=schedule)
    z = draws(3).view(3, 1, 2, 3)
    found = diffusion.reverse(draws(3, 5).view(3, 1, 2, 3), lambda noisy, t: z)
    torch.testing.assert_close(found, z)


def test_the_cosine_keeps_the_share_of_signal_it_was_made_for() -> None:
    """alpha_bar_t = cos^2(...) / cos^2(...) in closed form, but for the last step's bound."""
    steps, s = 50, 0.008
    share = [math.cos((t / steps + s) / (1 + s) * math.pi / 2) ** 2 for t in range(steps + 1)]
    found = Diffusion(steps, zero_snr=False, schedule=cosine_betas).alpha_bars
    assert found[:-1] == pytest.approx([one / share[0] for one in share[:-1]])
    assert 0 < found[-1] < 1e-4
