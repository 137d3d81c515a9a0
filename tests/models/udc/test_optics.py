"""The closed form against wave optics: a real grating's FFT, energy, linearity, symmetry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.udc.optics import ORDERS, Padding, blur, line_spread, order_shares
from models.udc.panel import to_linear, to_srgb


def number(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def spread(
    light: Tensor,
    open_x: float = 0.48,
    open_y: float = 0.48,
    spacing_px: float = 2.5,
    lens_px: float = 0.5,
    padding: Padding = "reflect",
) -> Tensor:
    values = (number(value) for value in (open_x, open_y, spacing_px, lens_px))
    return blur(light, *values, padding=padding)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 1, shape))


@pytest.mark.parametrize("share", [0.21, 0.48, 0.7, 1.0])
def test_orders_carry_all_the_light(share: float) -> None:
    k = order_shares(number(share), torch.arange(-200_000, 200_001, dtype=torch.float64))[0]
    beyond = 0 if share == 1 else 1 / (np.pi**2 * share * 200_000)
    assert float(k.sum()) == pytest.approx(1 - beyond, abs=1e-8)
    assert beyond < 2.5e-6
    assert float(k[200_000]) == pytest.approx(share)
    assert float(k[200_001] / k[200_000]) == pytest.approx(np.sinc(share) ** 2, abs=1e-12)


def test_orders_are_those_of_a_grating() -> None:
    """Intensities in the far field of slits, amplitude 1 over the open share and 0 elsewhere."""
    slit = np.arange(64) < 16
    orders = torch.arange(0, 4, dtype=torch.float64)
    field = np.abs(np.fft.fft(slit)[:4]) ** 2
    shares = order_shares(number(0.25), orders)[0].numpy()
    assert field[1] / field[0] == pytest.approx(0.8112, abs=1e-4)
    assert shares[1] / shares[0] == pytest.approx(0.8106, abs=1e-4)
    np.testing.assert_allclose(shares / shares[0], field / field[0], atol=3e-3)
    # The light that passes, of which the zero order is one share, is r of what falls on the panel.
    assert field[0] / (np.abs(np.fft.fft(slit)) ** 2).sum() == pytest.approx(shares[0])


def test_zero_order_of_holes_is_the_product_of_their_shares() -> None:
    holes = np.outer(np.arange(64) < 16, np.arange(64) < 32)
    field = np.abs(np.fft.fft2(holes)) ** 2
    k = [float(order_shares(number(r), number(0))[0, 0]) for r in (0.25, 0.5)]
    assert field[0, 0] / field.sum() == pytest.approx(k[0] * k[1])
    point = torch.zeros(1, 3, 129, 129)
    point[:, :, 64, 64] = 1
    seen = spread(point, open_x=0.25, open_y=0.5, spacing_px=10, lens_px=0)
    assert float(seen[0, 1, 64, 64]) == pytest.approx(k[0] * k[1], abs=1e-4)


def test_kept_orders_carry_nine_tenths() -> None:
    kept = torch.arange(-ORDERS, ORDERS + 1, dtype=torch.float64)
    assert float(order_shares(number(0.21), kept).sum()) == pytest.approx(0.90, abs=0.01)
    assert float(order_shares(number(0.5), kept).sum()) == pytest.approx(0.95, abs=0.01)


def test_open_panel_is_the_lens_alone() -> None:
    taps = line_spread(number(1), number(7), number(0.5), 4)[0].numpy()
    edges = torch.arange(-4.5, 5, dtype=torch.float64) / 0.5
    expected = torch.special.ndtr(edges).diff().numpy()
    np.testing.assert_allclose(taps, expected, atol=2**-18)
    delta = line_spread(number(1), number(7), number(0), 4)[0]
    assert delta.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_without_lens_each_order_lies_in_one_pixel_and_sides_are_alike() -> None:
    taps = line_spread(number(0.5), number(1.5), number(0), 9)[0]
    assert torch.equal(taps, taps.flip(0))
    assert int((taps > 0).sum()) == 5  # k_m of r = 1/2 is zero for even m but 0
    assert float(taps[9]) == 0.5
    assert float(taps[11]) == pytest.approx(0.5 * np.sinc(0.5) ** 2, abs=2**-18)


def test_orders_stand_one_spacing_apart_and_spread_with_the_wavelength() -> None:
    light = torch.zeros(1, 3, 5, 201)
    light[..., 100] = 1
    rows = spread(light, open_x=0.48, open_y=1, spacing_px=20, lens_px=0)[0, :, 0]
    first = [100 + int(row[110:].argmax()) + 10 for row in rows]
    assert first == [100 + round(20 * nm / 530) for nm in (610, 530, 470)]


def test_grey_is_the_three_colours_by_luminance() -> None:
    light = noise(2, 1, 40, 36)
    red, green, blue = spread(light.expand(-1, 3, -1, -1)).unbind(dim=1)
    grey = spread(light)[:, 0]
    np.testing.assert_allclose(grey, 0.2126 * red + 0.7152 * green + 0.0722 * blue, atol=1e-12)
    assert float((grey - green).abs().max()) > 1e-3


@pytest.mark.parametrize("padding", ["reflect", "circular"])
@pytest.mark.parametrize(("height", "width"), [(48, 48), (31, 64), (6, 5)])
def test_no_light_is_lost(padding: Padding, height: int, width: int) -> None:
    light = noise(3, 3, height, width)
    seen = spread(light, open_x=0.21, spacing_px=3.2, padding=padding)
    np.testing.assert_allclose(seen.mean(dim=(2, 3)), light.mean(dim=(2, 3)), atol=2**-15)
    flat = spread(torch.full((1, 3, height, width), 0.375), open_x=0.21, padding=padding)
    np.testing.assert_allclose(flat, 0.375, atol=1e-12)
    assert float(seen.min()) >= 0


def test_light_superposes_in_linear_light_and_not_in_srgb() -> None:
    a, b = noise(1, 1, 48, 48, seed=1), noise(1, 1, 48, 48, seed=2)
    both = spread(0.3 * a + 0.6 * b)
    np.testing.assert_allclose(both, 0.3 * spread(a) + 0.6 * spread(b), atol=2**-15)

    def coded(light: Tensor) -> Tensor:
        return to_linear(spread(to_srgb(light)))

    wrong = coded(0.3 * a + 0.6 * b) - 0.3 * coded(a) - 0.6 * coded(b)
    assert float(wrong.abs().max()) > 0.02


def test_a_shifted_picture_gives_a_shifted_blur() -> None:
    light = noise(1, 3, 32, 44)
    moved = spread(light.roll((5, -9), (2, 3)), padding="circular")
    assert torch.equal(moved, spread(light, padding="circular").roll((5, -9), (2, 3)))


def test_reflection_mirrors_at_the_edge() -> None:
    light = noise(1, 3, 20, 20)
    mirrored = torch.cat([light.flip(3), light, light.flip(3)], dim=3)
    tall = torch.cat([mirrored.flip(2), mirrored, mirrored.flip(2)], dim=2)
    inside = spread(tall, spacing_px=0.8)[..., 20:40, 20:40]
    np.testing.assert_allclose(spread(light, spacing_px=0.8), inside, atol=1e-12)


def test_each_picture_has_its_own_panel() -> None:
    light = noise(3, 1, 48, 48)
    shares, spacings, lenses = noise(3, seed=3) / 2 + 0.4, noise(3) * 3, noise(3, seed=4)
    seen = blur(light, shares, shares.flip(0), spacings, lenses)
    for row in range(3):
        alone = spread(
            light[[row]],
            *(float(v[row]) for v in (shares, shares.flip(0), spacings, lenses)),
        )
        assert torch.equal(seen[[row]], alone)


@pytest.mark.needs("gpu")
def test_every_device_sees_the_same_bits() -> None:
    light = noise(5, 3, 48, 48)
    values = [number(value) for value in (0.48, 0.48, 2.5, 0.5)]
    there = blur(light.cuda(), *(value.cuda() for value in values)).cpu()
    assert torch.equal(there, blur(light, *values))
