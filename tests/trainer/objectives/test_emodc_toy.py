"""The whole method where Bayes is known: four Gaussians in the plane and a small network.

The Base model learns what theory demands, shared noise is worth its price, and the adaptive margin
raises the accuracy of few steps.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from models.emodc.noise import noise_errors, sigma_of
from trainer.objectives.emodc.amdit import MarginRule, MarginStatistics, discrepancy, margins

pytestmark = pytest.mark.slow
CLASSES, SPREAD, STEPS, BATCH = 4, 0.6, 4000, 256
MEANS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
BARS = torch.cumprod(1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64), 0)
SIGMAS = torch.tensor([sigma_of(float(bar)) for bar in BARS])


class Toy(nn.Module):
    """Noisy points (n, 2) at noise levels (n,) -> the noise under each class, (n, K, 1, 1, 2):
    all of them in one evaluation, as the head `multi`."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in (4, 128, 128):
            layers += [nn.Linear(size, 128), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(128, 2 * CLASSES))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.log()[:, None] / 4
        scaled = x / (1 + sigma.square()).sqrt()[:, None]
        out: Tensor = self.layers(torch.cat([scaled, level, level.square()], dim=1))
        return out.view(-1, CLASSES, 1, 1, 2)


def sample(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    labels = torch.randint(CLASSES, (n,), generator=generator)
    return MEANS[labels] + SPREAD * torch.randn(n, 2, generator=generator), labels


def fit(network: Toy, steps: int, lr: float, rule: MarginRule | None, seed: int) -> Toy:
    """Standard denoising training, or with a margin, from the network on."""
    generator, statistics = torch.Generator().manual_seed(seed), MarginStatistics()
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / steps)
        x, labels = sample(BATCH, generator)
        sigma = SIGMAS[torch.randint(1000, (BATCH,), generator=generator)]
        eps = torch.randn(BATCH, 2, generator=generator)
        errors = noise_errors(eps[:, None, None], network(x + sigma[:, None] * eps, sigma))
        right = errors[torch.arange(BATCH), labels]
        loss = right
        if rule is not None:
            is_wrong = nn.functional.one_hot(labels, CLASSES) == 0
            bins = torch.zeros_like(labels)
            margin = margins(rule, right, right, bins, statistics)
            loss, _ = discrepancy(errors, right, is_wrong, margin, rule)
        optimizer.zero_grad()
        loss.mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network


@torch.no_grad()
def classify(network: Toy, x: Tensor, steps: int, shared: bool = True, seed: int = 9) -> Tensor:
    """The class of the least mean error over `steps` timesteps, evenly spaced; the noise of a
    timestep is shared by the classes, or each has its own."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(x), CLASSES)
    start = 1000 // steps // 2
    for t in range(start, 1000, 1000 // steps):
        sigma = SIGMAS[t].expand(len(x))
        noises = torch.randn(1 if shared else CLASSES, len(x), 2, generator=generator)
        each = [
            noise_errors(eps[:, None, None], network(x + sigma[:, None] * eps, sigma))
            for eps in noises
        ]
        total += each[0] if shared else torch.stack([e[:, k] for k, e in enumerate(each)], dim=1)
    return total.argmin(dim=1)


def test_the_toy_is_bayes_and_the_margin_helps_few_steps() -> None:
    torch.manual_seed(0)
    base = fit(Toy(), STEPS, 2e-3, None, 1)
    x, labels = sample(4000, torch.Generator().manual_seed(2))
    bayes = torch.cdist(x, MEANS).argmin(dim=1)
    best = float((bayes == labels).float().mean())
    full = classify(base, x, 100)
    assert float((full == labels).float().mean()) >= best - 0.02
    assert float((full == bayes).float().mean()) >= 0.93
    shared = float((classify(base, x, 20) == bayes).float().mean())
    unshared = float((classify(base, x, 20, shared=False) == bayes).float().mean())
    assert shared >= unshared
    longer = fit(copy.deepcopy(base), STEPS // 4, 5e-4, None, 3)
    adapted = fit(copy.deepcopy(base), STEPS // 4, 5e-4, MarginRule("a1", 0.3), 3)
    few = [float((classify(each, x, 5) == bayes).float().mean()) for each in (longer, adapted)]
    many = [float((classify(each, x, 100) == bayes).float().mean()) for each in (longer, adapted)]
    assert few[1] >= few[0]
    assert many[1] >= many[0] - 0.02
