"""The track prior: the reverse process goes on from the Z of a track's earlier observations.

A first observation restores Z from noise. Each further one starts from the Z before it, with less
noise the more observations that Z knows of, and takes fewer steps: evidence adds up along a track.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MOST = 255
"""The largest count that a track's state keeps."""


@dataclass(frozen=True)
class Past:
    """What n tracks remember: Z (n, C), and the number of observations it knows of, (n,) int64; 0
    for a track without any, whose Z does not count."""

    z: Tensor
    count: Tensor

    @classmethod
    def none(cls, n: int, size: int, device: str | torch.device = "cpu") -> Past:
        """No memory."""
        return cls(torch.zeros(n, size, device=device), torch.zeros(n, dtype=torch.long).to(device))

    def levels(self, steps: int) -> Tensor:
        """The diffusion step (n,) that each track starts at, of T: T without memory, then one less
        for each observation, down to 1.

        >>> Past(torch.zeros(3, 1), torch.tensor([0, 1, 9])).levels(4).tolist()
        [4, 3, 1]
        """
        return (steps - self.count).clamp(min=1)

    def select(self, kept: Tensor) -> Past:
        """The same, forgotten where `kept` (n,) is False."""
        return Past(self.z, torch.where(kept, self.count, 0))


def pack_states(views: Sequence[Past]) -> list[bytes]:
    """A state for each of n tracks: its count, and its Z of each view (the face, and with TTA its
    horizontal flip) in half precision."""
    count = views[0].count.clamp(max=MOST).cpu().numpy().astype(np.uint8)
    z = torch.stack([view.z for view in views], dim=1).cpu().numpy().astype("<f2")
    return [bytes([number]) + each.tobytes() for number, each in zip(count, z, strict=True)]


def unpack_states(
    states: Sequence[bytes], views: int, size: int, device: str | torch.device = "cpu"
) -> list[Past]:
    """What `pack_states` packed; b"", or a state of another size, is no memory."""
    z = np.zeros((len(states), views, size), np.float32)
    count = np.zeros(len(states), np.int64)
    for row, state in enumerate(states):
        if len(state) == 1 + 2 * views * size:
            found = np.frombuffer(state, "<f2", offset=1).reshape(views, size)
            if np.isfinite(found).all():
                z[row], count[row] = found, state[0]
    counts = torch.from_numpy(count).to(device)
    return [Past(each, counts) for each in torch.from_numpy(z).to(device).unbind(dim=1)]
