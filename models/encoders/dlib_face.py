"""dlib's face-recognition network (Davis King 2017, public domain), as a pretrained trunk.

The pip package `face-recognition-models` (CC0) carries it as dlib wrote it: a run of records from
the input up, each a name of known length and a tensor. The file is read here, its affine layers
are folded into the convolutions before them, and the package itself is never imported.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError
from models.weights import State

PACKAGE = "face_recognition_models"
FILE = "models/dlib_face_recognition_resnet_model_v1.dat"
INPUT_PX = 150
RGB_MEAN, RGB_SCALE = (122.782, 117.001, 104.298), 256.0
"""What dlib subtracts from 0..255, and then divides by."""
EMBEDDING = 128
LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""Channels, residual blocks, and whether the first of them halves the size, of each level."""
_RECORD = re.compile(rb"\x01\x05con_4|\x01\x07affine_|\x01\x04fc_2")


class DlibBlock(nn.Module):
    """Two 3x3 convolutions with a skip: (b, c_in, h, w) -> (b, c_out, h', w').

    A `down` block halves the size; its skip is an average over 2x2 pixels, and the smaller of the
    two is padded with zeros at the right, below and in channels. `crop`: as dlib's, its first
    convolution sees no border, which costs a small face a third of its map.
    """

    def __init__(self, c_in: int, c_out: int, down: bool, crop: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, 2 if down else 1, 0 if down and crop else 1)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1)
        self._down = down

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(torch.relu(self.conv1(x)))
        skip = functional.avg_pool2d(x, 2) if self._down else x
        size = [
            max(ours, theirs) for ours, theirs in zip(out.shape[1:], skip.shape[1:], strict=True)
        ]
        return torch.relu(_pad(out, size) + _pad(skip, size))


class DlibFaceTrunk(nn.Module):
    """Faces to the maps of each level: (b, channels, h, w) float32 -> five of (b, c, h', w').

    29 convolutions with the embedding's layer, 5.6 M parameters; no normalisation inside. One
    channel takes x = (grey - mean) / std, see `to_grey_stem`.
    """

    def __init__(self, channels: int = 3, crop: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, LEVELS[0][0], 7, 2)
        self.levels = nn.ModuleList()
        c_in = LEVELS[0][0]
        for c_out, blocks, down in LEVELS:
            level: list[nn.Module] = []
            for number in range(blocks):
                level.append(DlibBlock(c_in, c_out, down and number == 0, crop))
                c_in = c_out
            self.levels.append(nn.Sequential(*level))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = functional.max_pool2d(torch.relu(self.stem(x)), 3, 2)
        maps: list[Tensor] = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        return maps


def find_file() -> Path:
    """The file inside the installed package; raises ModelError where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    path = Path(spec.origin).parent / FILE if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ModelError(
            "no dlib face network", PACKAGE, "pip install face-recognition-models (public domain)"
        )
    return path


def read_trunk(path: Path) -> tuple[State, Tensor]:
    """The state of `DlibFaceTrunk()` for RGB, affine layers folded in, and the embedding's matrix
    (256, 128) float32. Raises ModelError for anything but dlib's file."""
    records = _read_records(path)
    names = [name for name, _ in records]
    if names != ["con_4", "affine_"] * (len(names) // 2) + ["fc_2"]:
        raise ModelError("not dlib's face network", str(path), "install its package again")
    state: State = {}
    values = iter(array for _, array in records)
    trunk = DlibFaceTrunk()
    for name, conv in trunk.named_modules():
        if isinstance(conv, nn.Conv2d):
            filters, affine = next(values), next(values)
            expected = conv.weight.numel() + conv.out_channels
            if filters.size != expected or affine.size != 2 * conv.out_channels:
                raise ModelError(f"{name} has another size", str(path), "install its package again")
            gamma, beta = torch.from_numpy(affine).chunk(2)
            weight = torch.from_numpy(filters[: conv.weight.numel()]).view_as(conv.weight)
            bias = torch.from_numpy(filters[conv.weight.numel() :])
            state[f"{name}.weight"] = weight * gamma[:, None, None, None]
            state[f"{name}.bias"] = bias * gamma + beta
    return state, torch.from_numpy(next(values)).view(-1, EMBEDDING)


def rgb_to_input(images: NDArray[np.uint8]) -> Tensor:
    """Images (n, h, w, 3) uint8 RGB as dlib normalises them: (n, 3, h, w) float32."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    return (x - torch.tensor(RGB_MEAN).view(1, 3, 1, 1)) / RGB_SCALE


def to_grey_stem(state: State, mean: float, std: float) -> State:
    """The state for one channel x = (grey - mean) / std, grey in 0..1: the same maps as for three
    equal channels, to the last bit but rounding, since the stem sees no padding."""
    weight, bias = state["stem.weight"], state["stem.bias"]
    offset = (255 * mean - torch.tensor(RGB_MEAN)) / RGB_SCALE
    return state | {
        "stem.weight": weight.sum(dim=1, keepdim=True) * (255 * std / RGB_SCALE),
        "stem.bias": bias + (weight.sum(dim=(2, 3)) * offset).sum(dim=1),
    }


def _read_records(path: Path) -> list[tuple[str, NDArray[np.float32]]]:
    """Names and tensors in the order of the file; everything between them is skipped."""
    data = path.read_bytes()
    found: list[tuple[str, NDArray[np.float32]]] = []
    position = 0
    try:
        while match := _RECORD.search(data, position):
            position = match.end()
            for _ in range(2 if match[0].endswith(b"fc_2") else 0):  # its outputs and inputs
                _, position = _read_integer(data, position)
            version, position = _read_integer(data, position)
            sizes = []
            for _ in range(4):
                size, position = _read_integer(data, position)
                sizes.append(size)
            count = int(np.prod(sizes))
            if version != 2 or not 0 < 4 * count <= len(data) - position:
                raise ValueError(f"a tensor of version {version}, sizes {sizes}")
            found.append(
                (match[0][2:].decode(), np.frombuffer(data, "<f4", count, position).copy())
            )
            position += 4 * count
    except (ValueError, IndexError) as error:
        what = f"not dlib's face network ({error})"
        raise ModelError(what, str(path), "install its package again") from error
    return found


def _read_integer(data: bytes, position: int) -> tuple[int, int]:
    """dlib's integer: a byte of length and sign, then its bytes, the lowest first; and where it
    ends."""
    length, negative = data[position] & 0x0F, data[position] & 0x80
    end = position + 1 + length
    value = int.from_bytes(data[position + 1 : end], "little")
    return (-value if negative else value), end


def _pad(x: Tensor, size: list[int]) -> Tensor:
    """(b, c, h, w) with zeros behind, below and at the right, up to `size` (c, h, w)."""
    behind = [wanted - got for wanted, got in zip(size, x.shape[1:], strict=True)]
    if not any(behind):
        return x
    return functional.pad(x, (0, behind[2], 0, behind[1], 0, behind[0]))
