"""A display with a camera under it: light is diffracted, dimmed, counted in electrons, encoded.

u is the linear light of the image, k the display's and the lens's kernel, tau its transmission:

    electrons v_e = Poisson(L tau (k * u)) + N(0, read_e^2)
    reported  v   = min(v_e, well_e) / (L tau^auto_exposure)

then cut to 0..1 and coded as sRGB. L, `white_e`, is the electrons of a white pixel without display.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from models.udc.optics import LUMINANCE, Padding, blur

Images = NDArray[np.uint8]
READ_E = 4.87
FACE_PX = 48
"""The height of a face at which a panel's numbers hold."""


@dataclass(frozen=True)
class Panel:
    """A display and the camera behind it, for a face 48 pixels high.

    `open_x`, `open_y`: open share of each axis, 0..1, with 1 no grating; `transmission` of the
    display, 0..1; `spacing_px` of two diffraction orders at 530 nm; `white_e`: electrons of white,
    with infinity no noise; `lens_px`: sigma of the lens; `auto_exposure`: 0 leaves the image
    dark, 1 brings it back to full brightness; `read_e`: sigma of the read noise, electrons;
    `well_e`: electrons that a pixel holds; `haze`: share of white light over everything, 0..1;
    `scatter`: share of the image's own light that falls into a Gaussian of sigma `scatter_px`;
    `blue`: transmission of blue, a share of that of red and green.

    Raises ValueError for a number out of range.
    """

    open_x: float
    open_y: float
    transmission: float
    spacing_px: float
    white_e: float
    lens_px: float = 0.5
    auto_exposure: float = 1.0
    read_e: float = READ_E
    well_e: float = 15506.0
    haze: float = 0.0
    scatter: float = 0.0
    scatter_px: float = 0.0
    blue: float = 1.0

    def __post_init__(self) -> None:
        for name, right in (
            ("open_x", 0 < self.open_x <= 1),
            ("open_y", 0 < self.open_y <= 1),
            ("transmission", 0 < self.transmission <= 1),
            ("spacing_px", 0 <= self.spacing_px < math.inf),
            ("white_e", self.white_e > 0),
            ("lens_px", 0 <= self.lens_px < math.inf),
            ("auto_exposure", 0 <= self.auto_exposure <= 1),
            ("read_e", 0 <= self.read_e < math.inf),
            ("well_e", self.well_e > 0),
            ("haze", 0 <= self.haze <= 1),
            ("scatter", 0 <= self.scatter <= 1),
            ("scatter_px", 0 <= self.scatter_px < math.inf),
            ("blue", 0 <= self.blue <= 1),
        ):
            if not right:
                raise ValueError(f"{name} {getattr(self, name)!r} is out of range")

    def at(self, scale: float) -> Panel:
        """The same panel for images whose pixels are `scale` times finer: a face of 48 * scale.

        What falls on a face stays: its blur, its electrons, and its noise once it is averaged down.

        >>> Panel(0.48, 0.48, 0.029, 3.2, 4005).at(4).spacing_px
        12.8
        """
        return dataclasses.replace(
            self,
            spacing_px=self.spacing_px * scale,
            lens_px=self.lens_px * scale,
            scatter_px=self.scatter_px * scale,
            white_e=self.white_e / scale**2,
            read_e=self.read_e / scale,
            well_e=self.well_e / scale**2,
        )


Panels = Panel | Sequence[Panel]
"""One for all images, or one for each."""
Generators = Generator | Sequence[Generator]
"""One for the whole batch, or one for each image: its noise then hangs on nothing else."""


def apply_panel(
    images: Images, panels: Panels, generators: Generators, padding: Padding = "reflect"
) -> Images:
    """Images (n, h, w) grey or (n, h, w, 3) RGB uint8 as the camera under the panel records them.
    Raises ValueError for others, and where panels or generators do not fit n."""
    check_images(images)
    stacked = images if images.ndim == 4 else images[..., None]
    x = torch.from_numpy(stacked / np.float64(255)).permute(0, 3, 1, 2)
    levels = (render_panel(x, panels, generators, padding) * 255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().numpy().reshape(images.shape)


def render_panel(
    x: Tensor, panels: Panels, generators: Generators, padding: Padding = "reflect"
) -> Tensor:
    """sRGB (n, c, h, w) in 0..1, c 1 or 3, as the camera records it: the same shape and type, 0..1,
    not yet rounded to 8 bits."""
    return to_srgb(expose(x, panels, generators, padding).clamp(0, 1)).to(x.dtype)


def expose(
    x: Tensor, panels: Panels, generators: Generators, padding: Padding = "reflect"
) -> Tensor:
    """The sensor's report of sRGB (n, c, h, w) in 0..1: linear light before it is cut to 0..1.

    Returns the same shape, float64. Raises ValueError for other shapes, for values that are not
    finite, and where panels or generators do not fit n.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"images: expected (n, 1 or 3, h, w), got {tuple(x.shape)}")
    if not x.isfinite().all():
        raise ValueError("images: expected values 0..1, got some that are not finite")
    panel = _stack_fields(panels, len(x), x.device)
    names = ("open_x", "open_y", "spacing_px", "lens_px", "scatter", "scatter_px")
    light = blur(to_linear(x.double()), **{name: panel[name] for name in names}, padding=padding)
    panel = {name: values[:, None, None, None] for name, values in panel.items()}
    light = (light + panel["haze"] * (1 - light)) * _tint(panel["blue"], x.shape[1])
    transmitted, gain = panel["transmission"], panel["transmission"] ** -panel["auto_exposure"]
    noisy = panel["white_e"].isfinite()
    if not noisy.any():
        return light * transmitted * gain
    expected = torch.where(noisy, light * transmitted * panel["white_e"], 0)
    counted = torch.minimum(
        _sample_electrons(expected, panel["read_e"], generators), panel["well_e"]
    )
    return torch.where(noisy, counted / panel["white_e"], light * transmitted) * gain


def check_images(images: Images) -> None:
    """Raises ValueError for what is not (n, h, w) grey or (n, h, w, 3) RGB, uint8."""
    shape, is_rgb = images.shape, images.ndim == 4 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (images.ndim == 3 or is_rgb):
        wanted = "(n, h, w) or (n, h, w, 3) uint8"
        raise ValueError(f"images: expected {wanted}, got {shape} {images.dtype}")


def to_linear(x: Tensor) -> Tensor:
    """sRGB to linear light, both in 0..1 (IEC 61966-2-1)."""
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def to_srgb(light: Tensor) -> Tensor:
    """Linear light to sRGB, both in 0..1 (IEC 61966-2-1)."""
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _tint(blue: Tensor, channels: int) -> Tensor:
    """What is left of each channel, (n, channels, 1, 1), where blue (n, 1, 1, 1) is dimmed."""
    if channels == 1:
        return 1 - LUMINANCE[2] * (1 - blue)
    return torch.cat([torch.ones_like(blue), torch.ones_like(blue), blue], dim=1)


def _stack_fields(panels: Panels, n: int, device: torch.device) -> dict[str, Tensor]:
    """Each field of the panels, (n,) or (1,) float64."""
    rows = [panels] if isinstance(panels, Panel) else list(panels)
    if len(rows) not in (1, n):
        raise ValueError(f"panels: expected 1 or {n}, got {len(rows)}")
    return {
        field.name: torch.tensor(
            [getattr(row, field.name) for row in rows], dtype=torch.float64, device=device
        )
        for field in dataclasses.fields(Panel)
    }


def _sample_electrons(expected: Tensor, read_e: Tensor, generators: Generators) -> Tensor:
    """Electrons (n, c, h, w), drawn on the CPU: every device sees the same."""
    rates = expected.cpu().numpy()
    parts = [rates]
    if isinstance(generators, Generator):
        generators = [generators]
    elif len(generators) == len(rates):
        parts = list(rates)
    else:
        raise ValueError(f"generators: expected 1 or {len(rates)}, got {len(generators)}")
    photons, read = [], []
    for generator, part in zip(generators, parts, strict=True):
        photons.append(generator.poisson(part))
        read.append(generator.standard_normal(part.shape))
    noise = torch.from_numpy(np.array(read).reshape(rates.shape)).to(expected.device)
    electrons = torch.from_numpy(np.array(photons).reshape(rates.shape)).to(expected.device)
    return electrons + read_e * noise
