"""The networks: what they start as, and that the three heads are one model computed three ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.emodc.decoder import PATCH, from_patches, to_patches
from models.emodc.encoder import NoiseResNet18
from models.emodc.network import HEADS, EmoDC, precondition
from models.emodc.noise import noise_errors
from models.loading import fold_batch_norm, load_network
from models.weights import ModelCard
from trainer.pretrained import load_encoder

Make = Callable[..., EmoDC]
EACH = pytest.mark.parametrize("head", HEADS)


@pytest.fixture
def noisy() -> tuple[Tensor, Tensor]:
    """Four faces at four noise levels."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(4, 1, 16, 16, generator=generator), torch.tensor([0.01, 0.1, 0.4, 1.0])


def test_a_clean_face_gets_the_plain_networks_logits_bit_for_bit(
    make_card: Callable[..., ModelCard],
) -> None:
    plain, card = load_network("resnet18-w36")
    network = NoiseResNet18(8)
    load_encoder("resnet18-w36", network, card)
    x = torch.randn(3, 1, 48, 48, generator=torch.Generator().manual_seed(4))
    network.eval()
    assert torch.equal(network(x, torch.zeros(3)), plain(x))
    assert torch.equal(network(x), plain(x))
    # At any other level too, but for the variance of its input.
    sigma = torch.full((3,), 0.75)
    torch.testing.assert_close(network(x * 1.25, sigma), plain(x))


def test_an_emodc_starts_with_the_encoders_weights() -> None:
    network = EmoDC(8)
    card = load_network("resnet18-w36")[1]
    load_encoder("resnet18-w36", network, card)
    plain = load_network("resnet18-w36")[0].state_dict()
    ours = network.encoder.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in plain.items())


@EACH
def test_at_the_start_no_emotion_differs_from_another(head: str) -> None:
    torch.manual_seed(0)
    network = EmoDC(8, head=head, width=8).eval()
    x = torch.randn(2, 1, 16, 16)
    predicted = network(x, torch.tensor([0.1, 0.5]))
    assert predicted.shape == (2, 9, 1, 16, 16)
    torch.testing.assert_close(predicted, predicted[:, :1].expand(-1, 9, -1, -1, -1))


@EACH
def test_one_emotion_at_a_time_is_all_at_once(
    make_emodc: Make, head: str, noisy: tuple[Tensor, Tensor]
) -> None:
    network = make_emodc(head=head)
    together = network(*noisy)
    assert (
        float((together[:, 1:] - together[:, :1]).detach().abs().amax(dim=(2, 3, 4)).min()) > 1e-3
    )
    for emotion in range(9):
        alone = network.predict_under(*noisy, torch.full((4,), emotion))
        torch.testing.assert_close(together[:, emotion], alone, atol=1e-5, rtol=1e-5)
    some = network(*noisy, torch.tensor([5, 2]))
    torch.testing.assert_close(some, together[:, [5, 2]], atol=1e-5, rtol=1e-5)


@EACH
def test_emotions_may_be_in_any_order(
    make_emodc: Make, head: str, noisy: tuple[Tensor, Tensor]
) -> None:
    order = torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    network = make_emodc(head=head)
    expected = network(*noisy)[:, torch.cat([order, torch.tensor([8])])]
    with torch.no_grad():
        if head == "multi":
            per = PATCH**2
            for value in (network.decoder.out.weight, network.decoder.out.bias):
                assert value is not None
                value[per:] = torch.unflatten(value[per:], 0, (8, per))[order].flatten(0, 1)
            network.gates.weight.copy_(network.gates.weight[order])
            network.gates.bias.copy_(network.gates.bias[order])
        else:
            rows = torch.cat([order, torch.tensor([8])])
            network.descriptions.weight.copy_(network.descriptions.weight[rows])
    torch.testing.assert_close(network(*noisy), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("head", ["cond", "split"])
def test_heads_that_are_tied_predict_the_same(
    make_emodc: Make, head: str, noisy: tuple[Tensor, Tensor]
) -> None:
    """Without descriptions `cond` and `split` are the network whose one evaluation `multi` is."""
    network, multi = make_emodc(head=head), make_emodc()
    with torch.no_grad():
        network.descriptions.weight.zero_()
        state, first = network.state_dict(), PATCH**2
        for name, value in multi.state_dict().items():
            if name.startswith("decoder.out."):
                value.zero_()
                value[:first] = state[name]
            elif name in state:
                value.copy_(state[name])
    errors = noise_errors(noisy[0], network(*noisy))
    torch.testing.assert_close(multi(*noisy), network(*noisy), atol=1e-5, rtol=1e-5)
    # With nothing to tell the emotions apart, the first is the prediction.
    torch.testing.assert_close(errors, errors[:, :1].expand(-1, 9), atol=1e-6, rtol=0)


@EACH
def test_folding_changes_nothing(make_emodc: Make, head: str, noisy: tuple[Tensor, Tensor]) -> None:
    network = make_emodc(head=head)
    expected = network(*noisy)
    torch.testing.assert_close(fold_batch_norm(network)(*noisy), expected, atol=1e-4, rtol=1e-4)


def test_an_output_of_zero_is_the_best_guess_for_white_data() -> None:
    generator = torch.Generator().manual_seed(5)
    x, eps = torch.randn(2, 1000, 1, 8, 8, generator=generator)
    for sigma in (0.1, 1.0):
        noisy, level = x + sigma * eps, torch.full((1000,), sigma)
        guessed = precondition(noisy, level, torch.zeros(1000, 1, 8, 8))
        error = float((guessed - eps).square().mean())
        assert error == pytest.approx(1 / (1 + sigma**2), rel=0.02)
        # What is left to learn has variance 1 at every level.
        target = (sigma * noisy - eps * (1 + sigma**2)) / (1 + sigma**2) ** 0.5
        assert float(target.var()) == pytest.approx(1, rel=0.02)


def test_patches_are_space_to_depth() -> None:
    x = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    assert to_patches(x).shape == (2, 12, 2, 2)
    assert torch.equal(from_patches(to_patches(x)), x)


@pytest.mark.parametrize(
    "settings", [{"head": "none"}, {"steps": 0}, {"low": 0.5, "high": 0.5}, {"low": 0.0}]
)
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give"):
        EmoDC(8, **settings)  # type: ignore[arg-type]


def test_sizes_are_those_of_the_shipped_preset() -> None:
    """Multiply-adds of one evaluation; the naive EmoDC-S has 730 million, and 8 of them."""
    costs = {}
    for head in HEADS:
        with torch.device("meta"):
            network = EmoDC(8, head=head)
            counter = FlopCounterMode(display=False)
            with counter:
                network(torch.empty(1, 1, 48, 48), torch.empty(1), torch.arange(8))
            costs[head] = counter.get_total_flops() / 2e6
    assert costs["multi"] == pytest.approx(130, rel=0.1)
    assert costs["multi"] < costs["split"] < costs["cond"]
    assert sum(p.numel() for p in network.parameters()) < 8e6  # 16 MB of float16
