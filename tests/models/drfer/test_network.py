"""DR-FER's network: its size, what a quadrant sees, what the decoder is graded on, its graph."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.baselines.resnet import ResNet18
from models.drfer.masking import (
    MaskDecoder,
    hide,
    normalise_patches,
    paint,
    reconstruction_loss,
    sample_masks,
)
from models.drfer.network import DRFER, to_embeddings
from models.drfer.trunk import Trunk
from models.export import TOLERANCE, write
from models.loading import build_network, fold_batch_norm
from models.weights import ModelCard
from trainer.presets import find_preset

CPU = torch.device("cpu")
SMALL = {"width": 8, "stem_stride": 2, "embedding": 16, "dropout": 0.0}


def count(build: Callable[[], nn.Module], px: int = 48) -> tuple[float, float]:
    """Multiply-adds of a face in G, parameters in M; shapes alone, nothing is computed."""
    counter = FlopCounterMode(display=False)
    with torch.device("meta"):
        network = build()
        with counter:
            network(torch.empty(1, 1, px, px))
    return counter.get_total_flops() / 2e9, sum(p.numel() for p in network.parameters()) / 1e6


def test_sizes() -> None:
    gmac, parameters = count(lambda: DRFER(8, **find_preset("drfer", "s").network))
    assert gmac == pytest.approx(0.85, abs=0.005)
    assert parameters == pytest.approx(7.23, abs=0.005)
    compact, _ = count(lambda: DRFER(8, **find_preset("drfer", "compact").network))
    baseline, _ = count(lambda: ResNet18(8, **find_preset("resnet18", "w36-40").network))
    assert compact == pytest.approx(baseline, rel=0.05)
    assert compact < baseline
    large = find_preset("drfer", "resnet50")
    gmac, parameters = count(lambda: DRFER(8, **large.network), large.input_px)
    assert parameters == pytest.approx(27.0, abs=0.1)
    assert gmac == pytest.approx(1.26, abs=0.01)


def late_split(network: DRFER) -> DRFER:
    """A copy whose maps are cut after the third stage."""
    late = copy.deepcopy(network)
    late.trunk.first = nn.Sequential(late.trunk.first, *late.trunk.rest[:2])
    channels = late.trunk.local_channels * 4
    late.local.blocks[0] = type(network.trunk.rest[0][0])(channels, 8, 2)
    late.local.blocks[1] = nn.Identity()
    return late


def seen_by(network: DRFER, part: int, px: int) -> Tensor:
    """(px, px) bool: the pixels that a quadrant's vector depends on."""
    x = torch.randn(1, 1, px, px, generator=torch.Generator().manual_seed(0)).requires_grad_()
    network.eval().local.encode_parts(network.trunk.first(x))[:, part].abs().sum().backward()
    assert x.grad is not None
    return x.grad[0, 0] != 0


@pytest.mark.parametrize(("stride", "px", "beyond"), [(1, 48, 5), (2, 48, 8)])
def test_a_quadrant_sees_its_own_pixels_alone(stride: int, px: int, beyond: int) -> None:
    """A stem and two blocks of two 3x3 convolutions: 5 pixels beyond the quadrant at stride 1; at
    stride 2, 9 around the centre of a place of the maps, which is at the even pixels: 8 beyond."""
    torch.manual_seed(0)
    network = DRFER(8, **SMALL | {"stem_stride": stride})
    reach = px // 2 + beyond
    for part, (low, left) in enumerate(
        [(False, False), (False, True), (True, False), (True, True)]
    ):
        seen = seen_by(network, part, px)
        seen = seen.flip(0) if low else seen
        seen = seen.flip(1) if left else seen
        grace = 1 if stride == 2 and (low or left) else 0  # odd pixels: the flip moves the centres
        assert not seen[reach + grace :].any()
        assert not seen[:, reach + grace :].any()
        assert seen[: px // 2, : px // 2].float().mean() > 0.9
    assert seen_by(late_split(network), 0, px)[reach:].any()  # what the test would find


def test_masks_hide_half_of_the_patches_of_every_face() -> None:
    torch.manual_seed(0)
    masks = sample_masks(20, 48, 8, 0.5, CPU)
    patches = masks.view(20, 6, 8, 6, 8).float()
    assert torch.equal(patches.amin(dim=(2, 4)), patches.amax(dim=(2, 4)))
    assert (patches.mean(dim=(1, 2, 3, 4)) == 0.5).all()
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 20
    x = torch.randn(20, 1, 48, 48)
    hidden = hide(x, masks)
    assert torch.equal(hidden[~masks], x[~masks])
    means = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    assert torch.equal(hidden[masks], means[masks])


def test_the_decoder_is_graded_on_hidden_pixels_alone() -> None:
    torch.manual_seed(0)
    masks = sample_masks(4, 48, 8, 0.5, CPU)
    x = torch.randn(4, 1, 48, 48)
    predicted = torch.randn(4, 1, 48, 48, requires_grad=True)
    loss = reconstruction_loss(predicted, x, masks)
    expected = (predicted - x)[masks].abs().mean()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert predicted.grad is not None
    assert (predicted.grad[masks] != 0).all()
    assert (predicted.grad[~masks] == 0).all()
    assert reconstruction_loss(x, x, masks) == 0
    nothing = torch.zeros_like(masks)
    assert torch.equal(hide(x, nothing), x)
    assert reconstruction_loss(hide(x, nothing), x, masks) == 0  # an identity decoder


def test_patches_are_normalised_one_by_one() -> None:
    x = torch.randn(3, 2, 16, 16) * 4 + 3
    patches = normalise_patches(x.contiguous(memory_format=torch.channels_last), 8)
    one = x[1, 1, 8:, :8]
    expected = (one - one.mean()) / (one.var(correction=0) + 1e-2).sqrt()
    assert torch.allclose(patches[1, 1, 8:, :8], expected, atol=1e-5)


@pytest.mark.parametrize("px", [48, 24])
def test_masked_faces_leave_no_trace_in_the_statistics(px: int) -> None:
    torch.manual_seed(0)
    network = DRFER(8, **SMALL)
    decoder = MaskDecoder(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert paint(network, decoder, torch.randn(4, 1, px, px)).shape == (4, 1, px, px)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network(torch.randn(4, 1, px, px))
    assert not torch.equal(
        network.trunk.first[0][1].running_mean, before["trunk.first.0.1.running_mean"]
    )


def test_embeddings_are_unit_vectors() -> None:
    vectors = to_embeddings(torch.randn(5, 32) * 7)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(5), atol=1e-6)


def test_a_backbone_that_is_unknown() -> None:
    with pytest.raises(ValueError, match="backbone 'vgg': give resnet18 or resnet50"):
        DRFER(8, backbone="vgg")


def test_it_is_folded_and_exported(make_card: Callable[..., ModelCard], tmp_path: Path) -> None:
    """Statistics as after training: folded normalisations would not be seen in fresh ones."""
    torch.manual_seed(0)
    card = make_card(model="drfer", network=SMALL)
    network = build_network(card)
    for _ in range(3):
        network(torch.randn(8, 1, 48, 48) * 2 + 1)
    assert write(network, card, tmp_path / "w.onnx") <= TOLERANCE
    x = torch.randn(3, 1, 48, 48)
    expected = network.eval()(x)
    assert torch.allclose(fold_batch_norm(network)(x), expected, atol=1e-4)


def test_a_resnet50_trunk_gives_the_maps_of_its_stages() -> None:
    with torch.device("meta"):
        trunk: Trunk = DRFER(8, backbone="resnet50").trunk
        first = trunk.first(torch.empty(1, 1, 112, 112))
        assert first.shape == (1, 256, 28, 28)
        assert trunk.rest(first).shape == (1, 2048, 4, 4)
        assert trunk.stride == 32
