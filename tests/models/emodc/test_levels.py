"""The table of levels by quality: how quality is measured, and which levels a face then gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.crops import Crops
from models.emodc.classifier import EmoDCClassifier
from models.emodc.levels import QualityLevels, measure_quality
from models.emodc.network import EmoDC
from models.emodc.noise import bin_of, draw_noise, noise_errors
from models.emodc.noisy_copies import add_noise
from models.loading import load_classifier
from models.model_input import to_model_input
from models.weights import ModelCard, save

IDS = np.arange(5)
TABLE = torch.linspace(0.1, 0.9, 18).view(9, 2)
WEIGHTS = torch.linspace(0.5, 2, 18).view(9, 2)


def faces_of(frequency: float, n: int = 6) -> Tensor:
    """Smooth images with stripes of that many waves, 48 pixels wide."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(n, 1, 4, 4, generator=generator)
    smooth = functional.interpolate(coarse, 48, mode="bicubic")
    waves = torch.sin(torch.linspace(0, 2 * torch.pi * frequency, 48))
    return smooth + 0.3 * waves


def test_sharpness_falls_with_blur_and_heeds_no_noise_brightness_or_contrast() -> None:
    sharp = faces_of(14)
    kernel = torch.ones(1, 1, 3, 3) / 9
    blurred = functional.conv2d(functional.pad(sharp, (1, 1, 1, 1), mode="replicate"), kernel)
    clean, less = measure_quality(sharp)[1], measure_quality(blurred)[1]
    assert (less < 0.8 * clean).all()
    torch.testing.assert_close(measure_quality(3 * sharp + 2)[1], clean, rtol=1e-3, atol=1e-4)
    noisy = sharp + 0.2 * torch.randn(sharp.shape, generator=torch.Generator().manual_seed(2))
    noise, with_noise = measure_quality(noisy)
    assert float((with_noise - clean).abs().mean()) < 0.1 * float(clean.mean())
    assert float((noise - 0.2).abs().max()) < 0.08


def test_a_cell_is_a_tercile_of_noise_and_one_of_sharpness() -> None:
    table = QualityLevels(2)
    x = torch.cat([faces_of(f) + s * torch.randn(6, 1, 48, 48) for f in (4, 9, 14) for s in (0, 1)])
    noise, sharpness = measure_quality(x)
    table.edges.copy_(
        torch.stack([v.quantile(torch.tensor([1 / 3, 2 / 3])) for v in (noise, sharpness)])
    )
    cells = table.find_cells(x)
    for values, parts in ((noise, cells // 3), (sharpness, cells % 3)):
        assert torch.bincount(parts, minlength=3).tolist() == [12, 12, 12]
        for part in range(2):
            assert values[parts == part].max() < values[parts == part + 1].min()


@pytest.fixture
def make_classifier(
    make_emodc: Callable[..., EmoDC], emodc_card: Callable[..., ModelCard], crops: Crops
) -> Callable[..., EmoDCClassifier]:
    """With terciles of the crops' own noise and sharpness."""

    def make(head: str = "multi", **options: object) -> EmoDCClassifier:
        settings = {"head": head, "steps": 2, "levels": "quality"}
        network = make_emodc(**settings)
        assert network.quality is not None
        network.quality.levels.copy_(TABLE)
        network.quality.weights.copy_(WEIGHTS)
        qualities = measure_quality(to_model_input(crops, emodc_card(**settings)))
        shares = torch.tensor([1 / 3, 2 / 3])
        network.quality.edges.copy_(torch.stack([each.quantile(shares) for each in qualities]))
        network.encoder.films.own_noise_floor.fill_(100.0)  # clean faces, all of them
        card = emodc_card(**settings)
        return EmoDCClassifier(network, card, flip=False, **options)  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize(
    ("head", "rule"), [("multi", "all"), ("cond", "all"), ("cond", "paired-test")]
)
def test_each_face_is_evaluated_at_the_levels_of_its_cell(
    make_classifier: Callable[..., EmoDCClassifier], crops: Crops, head: str, rule: str
) -> None:
    classifier = make_classifier(head, rule=rule)
    network, x = classifier._network, to_model_input(crops, classifier.card)
    assert network.quality is not None
    cells = network.quality.find_cells(x)
    assert len(set(cells.tolist())) > 1
    assert torch.equal(classifier.levels(x)[0], TABLE[cells].T)
    with torch.inference_mode():
        found = classifier.logits(x, IDS)
        expected = torch.zeros(5, 8)
        for row, cell in enumerate(cells.tolist()):
            noise = torch.from_numpy(draw_noise(row, 0, 2, x.shape[1:]))
            for level, weight, eps in zip(TABLE[cell], WEIGHTS[cell], noise, strict=True):
                noisy, sigma = (x[row] + level * eps)[None], level[None]
                errors = noise_errors(eps[None], network(noisy, sigma, torch.arange(8)))[0]
                expected[row] -= errors * weight * network.scale(sigma) * eps.numel() / 2
    if rule == "all":
        torch.testing.assert_close(
            found - found[:, :1], expected - expected[:, :1], atol=1e-2, rtol=1e-3
        )
    assert torch.equal(found.argmax(dim=1), expected.argmax(dim=1))


def test_other_steps_are_even_and_none_is_below_a_faces_own_noise(
    make_classifier: Callable[..., EmoDCClassifier], crops: Crops
) -> None:
    classifier = make_classifier()
    x = to_model_input(crops, classifier.card)
    classifier.steps = 4
    even = classifier.levels(x)[0]
    assert torch.equal(even, even[:, :1].expand(4, 5))
    classifier.steps = 2
    classifier._encoder.films.own_noise_floor.zero_()
    assert classifier._network.quality is not None
    classifier._network.quality.levels.fill_(0.01)
    sigma, own = classifier.levels(x)
    assert (own > 0.05).all()  # crops of noise
    assert torch.equal(sigma, 1.5 * own.expand(2, 5))


def test_only_what_is_missing_is_added_to_a_noisy_face() -> None:
    """The noise of face and copy together is that of the level."""
    generator = torch.Generator().manual_seed(0)
    own, sigma = torch.full((1,), 0.3), torch.tensor([[0.5], [0.2]])
    face = 0.3 * torch.randn(1, 1, 200, 200, generator=generator)
    noisy = add_noise(face, sigma, own, torch.randn(2, 1, 1, 200, 200, generator=generator))
    assert noisy.std(dim=(1, 2, 3)).tolist() == pytest.approx([0.5, 0.3], rel=0.02)
    assert bin_of(sigma).shape == (2, 1)


def test_the_table_is_in_the_weights(
    make_classifier: Callable[..., EmoDCClassifier], crops: Crops, tmp_path: Path
) -> None:
    made = make_classifier()
    made._encoder.films.own_noise_floor.fill_(0.5)
    save(tmp_path / "w.safetensors", made.card, made._network.state_dict())
    loaded = load_classifier(str(tmp_path / "w.safetensors"), flip=False)
    expected = made.predict(crops, IDS).probabilities
    np.testing.assert_allclose(loaded.predict(crops, IDS).probabilities, expected, atol=0.02)
    assert not any(name.startswith("quality") for name in EmoDC(8, width=8).state_dict())
