"""A small landmark network: positions of eyes, nose and mouth, and its feature maps."""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (16, 32, 64)
POINTS = 5


class LandmarkNet(nn.Module):
    """Faces (n, channels, H, W) -> feature maps of H/2, H/4, H/8 with 16, 32, 64 channels."""

    def __init__(self, channels: int, input_px: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for c_in, c_out in zip((channels, *WIDTHS), WIDTHS, strict=False):
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False),
                    nn.BatchNorm2d(c_out),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False),
                    nn.BatchNorm2d(c_out),
                    nn.ReLU(inplace=True),
                )
            )
        side = input_px // 8
        self.head = nn.Linear(WIDTHS[-1] * side * side, 2 * POINTS)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def points(self, x: Tensor) -> Tensor:
        """(n, 5, 2): right eye, left eye, nose, mouth's corners, as (x, y) in 0..1 of the face."""
        last = self.forward(x)[-1].flatten(1)
        points: Tensor = 0.5 + self.head(last).view(-1, POINTS, 2)
        return points
