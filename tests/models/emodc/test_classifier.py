"""What serves: the rule, the noise by the id in any batch, the cost, and weights in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.crops import Crops
from models.emodc import noisy_copies
from models.emodc.classifier import EmoDCClassifier
from models.emodc.cost import Cost
from models.emodc.encoder import NoiseResNet18
from models.emodc.network import HEADS, EmoDC
from models.emodc.noise import draw_noise, noise_errors, timesteps
from models.emodc.noisy_copies import NoiseResNetClassifier, NoisyClassifier
from models.errors import ModelError
from models.export import TOLERANCE, write
from models.loading import as_classifier, load_classifier
from models.model_input import to_model_input
from models.weights import ModelCard, save

IDS = np.array([7, 0, -3, 2**62, 8], np.int64)
MakeCard = Callable[..., ModelCard]
Make = Callable[..., NoisyClassifier]
EACH = pytest.mark.parametrize("kind", [*HEADS, "noise-resnet18"])


@pytest.fixture
def make_classifier(
    emodc_card: MakeCard,
    make_emodc: Callable[..., EmoDC],
    make_encoder: Callable[..., NoiseResNet18],
) -> Make:
    """Of a head, or of the baseline; keyword arguments are its own."""

    def make(kind: str, settings: dict[str, Any] | None = None, **options: Any) -> NoisyClassifier:
        settings = settings or {}
        if kind == "noise-resnet18":
            card = emodc_card(kind, **settings)
            return NoiseResNetClassifier(make_encoder(**settings), card, **options)
        settings |= {"head": kind}
        network = make_emodc(**settings)
        with torch.no_grad():
            network.timestep_weights.copy_(torch.linspace(0.5, 2, 16))
            network.log_scale.copy_(torch.linspace(-4, -2, 16))
        return EmoDCClassifier(network, emodc_card(**settings), **options)

    return make


def slow_logits(classifier: NoisyClassifier, x: Tensor, ids: NDArray[np.int64]) -> Tensor:
    """One face, one level, one emotion at a time, as the definition has it."""
    network, rows = classifier._network, []
    assert isinstance(network, EmoDC)
    for face, number in zip(x, ids, strict=True):
        noise = torch.from_numpy(draw_noise(int(number), 0, network.steps, face.shape))
        grid = timesteps(network.steps, torch.tensor([network.encoder.low]), network.encoder.high)
        total = torch.zeros(8)
        for level, eps in zip(grid, noise, strict=True):
            noisy = (face + level * eps)[None]
            weight = network.timestep_weights[noise_bin(level)] * network.scale(level)
            for emotion in range(8):
                predicted = network.predict_under(noisy, level, torch.tensor([emotion]))
                error = noise_errors(eps[None], predicted[:, None])[0, 0]
                total[emotion] -= float(weight) * error * face.numel() / network.steps
        rows.append(total)
    return torch.stack(rows) + network.log_prior


def noise_bin(level: Tensor) -> int:
    place = torch.log(level / 0.002) / torch.log(torch.tensor(500.0)) * 16
    return int(place)


@pytest.mark.parametrize("head", HEADS)
def test_logits_are_the_definitions(make_classifier: Make, crops: Crops, head: str) -> None:
    classifier = make_classifier(head, flip=False, own_noise="ignore")
    x = to_model_input(crops, classifier.card)[:2]
    with torch.inference_mode():
        found, slow = classifier.logits(x, IDS[:2]), slow_logits(classifier, x, IDS[:2])
    torch.testing.assert_close(found - found[:, :1], slow - slow[:, :1], atol=1e-3, rtol=1e-3)
    assert float((found.max(dim=1).values - found.min(dim=1).values).min()) > 1


@EACH
def test_the_id_decides_in_any_batch(make_classifier: Make, crops: Crops, kind: str) -> None:
    classifier = make_classifier(kind, {"steps": 2})
    together = classifier.predict(crops, IDS).probabilities
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    turned = classifier.predict(np.ascontiguousarray(crops[::-1]), IDS[::-1]).probabilities[::-1]
    np.testing.assert_allclose(turned, together, atol=1e-4)
    for row in range(5):
        alone = classifier.predict(crops[row : row + 1], IDS[row : row + 1]).probabilities
        np.testing.assert_allclose(alone, together[row : row + 1], atol=1e-4)
    if kind in ("multi", "noise-resnet18"):  # more than fit one forward
        many = classifier.predict(np.concatenate([crops] * 4), np.concatenate([IDS] * 4))
        np.testing.assert_allclose(many.probabilities[-5:], together, atol=1e-4)
    assert abs(classifier.predict(crops, IDS + 1).probabilities - together).max() > 1e-5


@EACH
def test_memory_is_bounded_and_the_bound_changes_nothing(
    make_classifier: Make, crops: Crops, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = make_classifier(kind, {"steps": 3})
    expected = classifier.predict(crops, IDS).probabilities
    monkeypatch.setattr(noisy_copies, "AT_ONCE", 2)
    monkeypatch.setattr("models.emodc.classifier.AT_ONCE", 2)
    sizes: list[int] = []
    bounded = make_classifier(kind, {"steps": 3})
    stem = next(part for part in bounded._network.modules() if isinstance(part, torch.nn.Conv2d))
    stem.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    np.testing.assert_allclose(bounded.predict(crops, IDS).probabilities, expected, atol=1e-4)
    assert max(sizes) <= (8 if kind == "cond" else 2)  # all emotions of one face are one forward
    assert bounded.cost == classifier.cost


def test_draws_are_other_noise(make_classifier: Make, crops: Crops) -> None:
    several, one = make_classifier("multi", draws=3), make_classifier("multi")
    each = several.predict_draws(crops, IDS)
    assert each.shape == (3, 5, 8)
    np.testing.assert_allclose(each[0], one.predict(crops, IDS).probabilities, atol=1e-5)
    assert abs(each[0] - each[1]).max() > 1e-4
    assert (several.mode, one.mode) == ("emodc-multi-4-flip-x3", "emodc-multi-4-flip")


@pytest.mark.parametrize(
    ("kind", "steps", "flip", "evaluations"),
    [
        ("multi", 4, False, 4),
        ("multi", 4, True, 8),
        ("multi", 100, False, 100),
        ("split", 4, False, 4),
        ("cond", 4, False, 32),
        ("noise-resnet18", 4, True, 8),
    ],
)
def test_cost_is_counted(
    make_classifier: Make, crops: Crops, kind: str, steps: int, flip: bool, evaluations: int
) -> None:
    classifier = make_classifier(kind, {"steps": steps}, flip=flip, own_noise="ignore")
    classifier.predict(crops[:2], IDS[:2])
    assert classifier.cost.evaluations == 2 * evaluations
    one = classifier.cost.multiply_adds
    assert one % (2 * steps) == 0
    classifier.predict(crops, IDS)
    assert classifier.cost == Cost(7 * evaluations, one // 2 * 7)


@pytest.mark.parametrize(
    ("rule", "evaluations"), [("halving", 4 * 8 + 4 * 4 + 8 * 2), ("paired-test", None)]
)
def test_pruning_costs_less_and_predicts_alike(
    make_classifier: Make, crops: Crops, rule: str, evaluations: int | None
) -> None:
    options: dict[str, Any] = {"flip": False, "own_noise": "subtract"}
    full = make_classifier("cond", {"steps": 16}, **options)
    pruned = make_classifier("cond", {"steps": 16}, rule=rule, **options)
    x = to_model_input(crops, full.card)
    with torch.inference_mode():
        expected, found = full.logits(x, IDS), pruned.logits(x, IDS)
    assert torch.equal(found.argmax(dim=1), expected.argmax(dim=1))
    assert full.cost.evaluations == 5 * 16 * 8
    assert pruned.cost.evaluations < full.cost.evaluations
    if evaluations is not None:
        assert pruned.cost.evaluations == 5 * evaluations
    per = full.cost.multiply_adds / full.cost.evaluations
    assert pruned.cost.multiply_adds / pruned.cost.evaluations == pytest.approx(per, rel=0.01)


def test_only_faces_with_noise_of_their_own_are_denoised(make_classifier: Make) -> None:
    classifier = make_classifier("multi", flip=False)
    assert isinstance(classifier, EmoDCClassifier)
    x, own = torch.randn(3, 1, 48, 48), torch.tensor([0.0, 0.5, 0.01])
    with torch.inference_mode():
        clean = classifier.denoise(x, own)
    assert torch.equal(clean[[0, 2]], x[[0, 2]])
    assert not torch.equal(clean[1], x[1])
    assert classifier.cost.evaluations == 1


def test_without_descriptions_the_prior_decides(make_classifier: Make, crops: Crops) -> None:
    classifier = make_classifier("cond")
    assert isinstance(classifier._network, EmoDC)
    with torch.no_grad():
        classifier._network.descriptions.weight.zero_()
        assert (classifier.predict(crops).probabilities.argmax(axis=1) == 0).all()
        classifier._network.log_prior[5] = 0.1
        assert (classifier.predict(crops).probabilities.argmax(axis=1) == 5).all()


def test_a_noisy_face_gets_less_noise_on_top(
    make_classifier: Make, crops: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crops of noise have plenty: no level is below it, and one evaluation denoises."""
    classifier = make_classifier("multi", flip=False, own_noise="denoise")
    x = to_model_input(crops, classifier.card)
    levels, own = classifier.levels(x)
    assert (own > 0.05).all()
    assert (levels > 1.5 * own - 1e-6).all()
    ignored, none = make_classifier("multi", own_noise="ignore").levels(x)
    assert not none.any()
    assert (ignored < levels).any()
    with torch.inference_mode():
        denoised = classifier.logits(x, IDS)
        subtracted = make_classifier("multi", flip=False, own_noise="subtract").logits(x, IDS)
    assert classifier.cost.evaluations == 5 * (4 + 1)
    assert float((denoised - subtracted).abs().max()) > 1e-3
    # What clean faces are measured to have is subtracted: then these are clean faces.
    classifier._encoder.films.own_noise_floor.fill_(100.0)
    torch.testing.assert_close(classifier.levels(x)[0], ignored)
    with torch.inference_mode():
        clean = classifier.logits(x, IDS)
        expected = make_classifier("multi", flip=False, own_noise="ignore").logits(x, IDS)
    torch.testing.assert_close(clean, expected, atol=1e-3, rtol=1e-4)


def test_the_baseline_averages_probabilities(make_classifier: Make, crops: Crops) -> None:
    classifier = make_classifier("noise-resnet18", flip=False, own_noise="ignore")
    x, network = to_model_input(crops, classifier.card), classifier._network
    grid = timesteps(4, torch.full((5,), 0.05), 0.5)
    noise = torch.from_numpy(np.stack([draw_noise(int(i), 0, 4, (1, 16, 16)) for i in IDS], 1))
    with torch.inference_mode():
        copies = [
            torch.softmax(network(x + s[:, None, None, None] * eps, s), dim=1)
            for s, eps in zip(grid, noise, strict=True)
        ]
    expected = torch.stack(copies).mean(dim=0).numpy()
    np.testing.assert_allclose(classifier.predict(crops, IDS).probabilities, expected, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"draws": 0}, {"own_noise": "add"}, {"rule": "halving"}, {"rule": "some"}]
)
def test_options_that_cannot_be(make_classifier: Make, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        make_classifier("multi", **options)


@pytest.mark.parametrize("kind", ["multi", "noise-resnet18"])
def test_weights_in_a_file_serve_and_are_exported(
    make_classifier: Make, emodc_card: MakeCard, crops: Crops, tmp_path: Path, kind: str
) -> None:
    made = make_classifier(kind)
    save(tmp_path / "w.safetensors", made.card, made._network.state_dict())
    loaded = load_classifier(str(tmp_path / "w.safetensors"))
    expected = made.predict(crops, IDS).probabilities
    np.testing.assert_allclose(loaded.predict(crops, IDS).probabilities, expected, atol=0.02)
    assert write(made._network, made.card, tmp_path / "w.onnx") <= TOLERANCE


def test_heads_of_many_evaluations_are_not_exported(make_classifier: Make, tmp_path: Path) -> None:
    made = make_classifier("cond")
    with pytest.raises(ModelError, match="cannot be exported"):
        write(made._network, made.card, tmp_path / "w.onnx")


def test_the_registry_builds_it(make_emodc: Callable[..., EmoDC], emodc_card: MakeCard) -> None:
    assert isinstance(as_classifier(make_emodc(), emodc_card(), draws=2), EmoDCClassifier)
