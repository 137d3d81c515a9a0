"""Stage 1 knows the label, stage 2 cannot; settings that cannot be are refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from models.emotions import EMOTIONS
from models.errors import ModelError
from models.loading import build_network
from models.lrdif.encoders import LabelEncoder
from models.lrdif.network import LRDif, LRDifWithLabel, Poster
from models.weights import ModelCard

MakeNetwork = Callable[..., LRDif]
LABEL_NAMES = {"y", "label", "labels", "shares", "targets", "q", "target"}


def faces(n: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 16, 16, generator=generator), torch.randn(n, 12, generator=generator)


def with_label(small: dict[str, Any], **changes: Any) -> LRDifWithLabel:
    torch.manual_seed(0)
    return LRDifWithLabel(EMOTIONS, **(small | changes)).eval()


def test_stage_two_has_no_input_for_a_label() -> None:
    for asked in (LRDif.forward, LRDif.restore):
        names = list(inspect.signature(asked).parameters)
        assert names == ["self", "x", "start", "noises"]
        assert not LABEL_NAMES & set(names)


def test_nothing_in_stage_two_holds_a_label(make_network: MakeNetwork) -> None:
    network = make_network()
    assert not any(isinstance(part, LabelEncoder) for part in network.modules())
    assert {name.partition(".")[0] for name in network.state_dict()} == {
        "encoder", "restorer", "former",
    }  # fmt: skip


def test_stage_one_follows_the_label(small: dict[str, Any]) -> None:
    network, (x, _) = with_label(small), faces()
    shares = torch.eye(8)[[0, 1, 2, 3]]
    before, after = network(x, shares), network(x, shares.flip(0))
    assert (before - after).abs().amax(dim=1).min() > 1e-4


def test_labels_are_mixed_as_votes_are(small: dict[str, Any]) -> None:
    torch.manual_seed(0)
    encoder = LabelEncoder(8)
    table = encoder(torch.eye(8))
    torch.testing.assert_close(table @ table.T, torch.eye(8), atol=1e-6, rtol=0)  # orthogonal
    votes = torch.tensor([[0.5, 0, 0.3, 0, 0, 0, 0, 0.2]])
    wanted = 0.5 * table[:1] + 0.3 * table[2:3] + 0.2 * table[7:]
    torch.testing.assert_close(encoder(votes), wanted)


def test_both_stages_norm_z_or_do_not(small: dict[str, Any], make_network: MakeNetwork) -> None:
    x, start = faces()
    for norm in (True, False):
        z = with_label(small, norm=norm).z(x, torch.eye(8)[:4])
        restored = make_network(norm=norm).restore(x, start)
        for found in (z, restored):
            variance = found.var(dim=1, correction=0)
            assert torch.allclose(variance, torch.ones(4), atol=1e-2) == norm


def test_a_face_is_answered_for_itself(make_network: MakeNetwork) -> None:
    network, (x, start) = make_network(), faces()
    together = network(x, start)
    alone = torch.cat([network(x[i : i + 1], start[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_z_matters(make_network: MakeNetwork) -> None:
    network, (x, start) = make_network(), faces()
    assert (network(x, start) - network(x, start.flip(0))).abs().max() > 1e-5
    assert (network.former(x, start) - network.former(x, start.flip(0))).abs().max() > 1e-3


def test_every_parameter_learns_but_the_landmarks() -> None:
    torch.manual_seed(0)
    sizes = {"prior": 12, "input_px": 16, "widths": (8, 16, 32), "width": 16}
    network, (x, start) = LRDif(8, **sizes), faces()  # type: ignore[arg-type]
    network(x, start).square().sum().backward()
    idle = {name for name, value in network.named_parameters() if value.grad is None}
    landmarks = {name for name, _ in network.named_parameters() if ".landmarks." in name}
    assert idle == landmarks != set()


@pytest.mark.parametrize("param", ["x0", "eps", "eps_printed16"])
@pytest.mark.parametrize("insert_noise", [False, True])
def test_inserted_noise_is_used(param: str, insert_noise: bool) -> None:
    torch.manual_seed(0)
    network = LRDif(8, 12, 4, param, param == "x0", insert_noise, input_px=16, widths=(8, 16, 32),
                    width=16).eval()  # fmt: skip
    x, start = faces()
    noises = [torch.randn(4, 12) for _ in range(3)]
    answers = [network(x, start, given) for given in (noises, [-noise for noise in noises])]
    assert torch.equal(*answers) != insert_noise


def test_poster_knows_no_z() -> None:
    assert list(inspect.signature(Poster.forward).parameters) == ["self", "x"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"param": "eps"}, "zero_snr with param 'eps'"),
        ({"input_px": 50}, "input_px 50: give a multiple of 8"),
        ({"widths": [8, 16, 16]}, r"widths \[8, 16, 16\]: give three, each twice the one before"),
        ({"dil_blocks": [2, 2]}, r"dil_blocks \[2, 2\]: give three, each 1 or more"),
        ({"restorer": "gan"}, "restorer 'gan'"),
        ({"steps": 0}, "0 steps"),
        ({"depth": 3}, "unexpected keyword argument 'depth'"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(
    small: dict[str, Any], small_card: Callable[..., ModelCard], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        LRDif(8, **(small | changes))
    with pytest.raises(ModelError, match="lrdif cannot be built from .*: tiny: use other weights"):
        build_network(small_card(**changes))


def test_a_decoder_is_a_setting(make_network: MakeNetwork) -> None:
    x, start = faces()
    plain, decoder = make_network(), make_network(dt_decoder=True)
    assert decoder(x, start).shape == (4, 8)
    more = decoder.state_dict().keys() - plain.state_dict().keys()
    assert {".".join(name.split(".")[:3]) for name in more} == {
        "former.dt.up",
        "former.dt.back",
    }
