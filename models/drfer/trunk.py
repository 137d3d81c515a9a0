"""The trunks of DR-FER: residual networks that give the maps of their first and last stage."""

from __future__ import annotations

from torch import Tensor, nn

from models.baselines.resnet import ResidualBlock

RESNET50_BLOCKS = (3, 4, 6, 3)
RESNET50_WIDTH = 64
EXPANSION = 4
"""Channels of a bottleneck block over those of its 3x3 convolution."""


class BottleneckBlock(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 with a skip (He et al. 2015, arXiv 1512.03385, section 4.1):
    (b, c_in, h, w) -> (b, c_out, h / stride, w / stride)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        narrow = c_out // EXPANSION
        self.conv1 = nn.Conv2d(c_in, narrow, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(narrow)
        self.conv3 = nn.Conv2d(narrow, c_out, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(c_out)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.skip = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm1(self.conv1(x)).relu()
        out = self.norm2(self.conv2(out)).relu()
        return (self.norm3(self.conv3(out)) + self.skip(x)).relu()


Block = type[ResidualBlock] | type[BottleneckBlock]


class Trunk(nn.Module):
    """`first`: faces (b, channels, h, w) -> maps of the first stage; `rest`: those -> maps of the
    last one, a `stride`-th of the face's side.

    `local_channels` and `global_channels` are those of the two; `block` makes further stages.
    """

    def __init__(
        self, stem: nn.Module, stem_stride: int, block: Block, widths: list[int], blocks: list[int]
    ) -> None:
        super().__init__()
        self.block, self.stride = block, stem_stride * 8
        self.local_channels, self.global_channels = widths[1], widths[-1]
        stages = []
        for number, (c_in, c_out, count) in enumerate(
            zip(widths[:-1], widths[1:], blocks, strict=True)
        ):
            first = block(c_in, c_out, 2 if number else 1)
            stages.append(nn.Sequential(first, *(block(c_out, c_out, 1) for _ in range(count - 1))))
        self.first = nn.Sequential(stem, stages[0])
        self.rest = nn.Sequential(*stages[1:])


def small_trunk(channels: int, width: int, stem_stride: int) -> Trunk:
    """A ResNet-18 of `width` channels in its first stage, each stage doubling them."""
    stem = nn.Sequential(
        nn.Conv2d(channels, width, 3, stem_stride, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
    widths = [width, *(width * times for times in (1, 2, 4, 8))]
    return Trunk(stem, stem_stride, ResidualBlock, widths, [2] * 4)


def resnet50_trunk(channels: int) -> Trunk:
    """A ResNet-50 (He et al. 2015, table 1), for faces of 112 pixels."""
    stem = nn.Sequential(
        nn.Conv2d(channels, RESNET50_WIDTH, 7, 2, 3, bias=False),
        nn.BatchNorm2d(RESNET50_WIDTH),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    )
    first = RESNET50_WIDTH * EXPANSION
    widths = [RESNET50_WIDTH, *(first * times for times in (1, 2, 4, 8))]
    return Trunk(stem, 4, BottleneckBlock, widths, list(RESNET50_BLOCKS))
