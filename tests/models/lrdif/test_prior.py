"""The restorer asks T times, learns from every call, and its norm is one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.diffusion import Diffusion
from models.lrdif.prior import FPEN, Denoiser, PriorRestorer, epr_norm

FEATURES, SIZE = 10, 12


def restorer(diffusion: Diffusion | None = None, norm: bool = True, kind: str = "diffusion",
             size: int = SIZE) -> PriorRestorer:  # fmt: skip
    torch.manual_seed(3)
    return PriorRestorer(FEATURES, size, diffusion or Diffusion(), norm, kind)


def inputs(size: int = SIZE) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(5, FEATURES, generator=generator), torch.randn(5, size, generator=generator)


def gradients(network: PriorRestorer, z: Tensor) -> list[Tensor]:
    """Of the restorer's parameters, under a loss that every coordinate of Z enters."""
    wanted = torch.linspace(-2, 2, z.numel()).view_as(z)
    return list(torch.autograd.grad((z - wanted).square().mean(), list(network.parameters())))


def test_two_linear_layers_each_with_its_slope() -> None:
    torch.manual_seed(0)
    net, x = FPEN(FEATURES, SIZE), torch.randn(4, FEATURES)
    hidden = functional.leaky_relu(functional.linear(x, net[0].weight, net[0].bias), 0.1)  # type: ignore[arg-type]
    found = functional.leaky_relu(functional.linear(hidden, net[2].weight, net[2].bias), 0.1)  # type: ignore[arg-type]
    torch.testing.assert_close(net(x), found)
    assert (found < 0).any()


def test_the_norm() -> None:
    z = epr_norm(7 + 3 * torch.randn(6, 128, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(z.mean(dim=1), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.var(dim=1, correction=0), torch.ones(6), atol=1e-4, rtol=0)


def test_size_of_the_denoiser() -> None:
    count = sum(value.numel() for value in Denoiser(128, 4).parameters())
    assert count == pytest.approx(49_500, rel=0.002)
    control = restorer(kind="mlp", size=128).regressor
    assert control is not None
    assert sum(value.numel() for value in control.parameters()) == count


def test_the_denoiser_is_told_the_step() -> None:
    torch.manual_seed(0)
    net, z = Denoiser(SIZE, 4), torch.randn(2, SIZE)
    first = net.layers[0]
    first.register_forward_pre_hook(lambda _, given: places.append(float(given[0][0, SIZE])))
    places: list[float] = []
    for t in (4, 3, 2, 1):
        net(z, z, t)
    assert places == pytest.approx([3 / 40, 2 / 40, 1 / 40, 0])


def test_the_last_call_is_the_answer() -> None:
    net, (features, start) = restorer(), inputs()
    assert net.denoiser is not None
    said: list[Tensor] = []
    net.denoiser.register_forward_hook(lambda _module, _given, out: said.append(out))
    z = net(features, start)
    assert len(said) == 4
    torch.testing.assert_close(z, epr_norm(said[-1]))


@pytest.mark.parametrize("param", ["x0", "eps"])
def test_norm_of_every_answer_or_of_the_last(param: str) -> None:
    diffusion = Diffusion(param=param, zero_snr=False)
    features, start = inputs()
    for norm in (True, False):
        z = restorer(diffusion, norm)(features, start)
        is_normed = torch.allclose(z.var(dim=1, correction=0), torch.ones(5), atol=1e-3)
        assert is_normed == norm


def test_a_normed_answer_is_what_the_chain_goes_on_with() -> None:
    net, (features, start) = restorer(), inputs()
    condition, z = net.fpen(features), start
    assert net.denoiser is not None
    for t in (4, 3, 2, 1):
        a, b, _ = net.diffusion.posterior(t)
        z = a * epr_norm(net.denoiser(condition, z, t)) + b * z
    torch.testing.assert_close(net(features, start), z)


def test_every_call_learns() -> None:
    """The denoiser, and through its condition the FPEN."""
    net, (features, start) = restorer(), inputs()
    assert net.denoiser is not None
    asked, said = [], []

    def own_condition(_module: object, given: tuple[Tensor, Tensor, int]) -> tuple[object, ...]:
        asked.append(given[0].clone())
        return asked[-1], *given[1:]

    net.denoiser.register_forward_pre_hook(own_condition)
    net.denoiser.register_forward_hook(lambda _module, _given, out: said.append(out))
    loss = net(features, start).square().mul(torch.arange(SIZE)).sum()
    assert len(asked) == len(said) == 4
    for reached in torch.autograd.grad(loss, [*asked, *said]):
        assert reached.abs().max() > 1e-6


@pytest.mark.parametrize("cut", [4, 3, 2, 1])
def test_gradients_go_through_the_whole_chain(cut: int) -> None:
    """Z_t cut off before call t: nothing is lost at T, where it is noise; all else is missed."""
    net, (features, start) = restorer(), inputs()
    whole = gradients(net, net(features, start))
    step = net.diffusion.step

    def cutting(z: Tensor, t: int, predicted: Tensor, noise: Tensor | None) -> Tensor:
        found = step(z, t, predicted, noise)
        return found.detach() if t - 1 == cut else found

    net.diffusion.step = cutting  # type: ignore[method-assign, assignment]
    start = start.detach() if cut == 4 else start
    shorter = gradients(net, net(features, start))
    same = all(torch.allclose(a, b, rtol=1e-4) for a, b in zip(whole, shorter, strict=True))
    assert same == (cut == 4)


@pytest.mark.parametrize("kind", ["mlp", "none"])
def test_controls_do_not_look_at_the_start(kind: str) -> None:
    net, (features, start) = restorer(kind=kind), inputs()
    assert torch.equal(net(features, start), net(features, start + 1))
    learning = restorer()
    assert not torch.equal(learning(features, start), learning(features, start + 1))


def test_the_control_none_is_the_condition() -> None:
    net, (features, start) = restorer(kind="none"), inputs()
    assert torch.equal(net(features, start), epr_norm(net.fpen(features)))


def test_another_restorer() -> None:
    with pytest.raises(ValueError, match="restorer 'gan': give one of diffusion, mlp, none"):
        restorer(kind="gan")
