"""Figures of faces: under conditions, painted from a part of them, and beside their neighbours.

Every function returns a matplotlib Figure and needs no display.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from trainer.compare.charts import CLASS_COLOURS
from trainer.data.faceset import FaceSet


@dataclass(frozen=True)
class Retrieval:
    """A face and its nearest neighbours, each a tile (h, w[, 3]) uint8 under a title, and the
    average precision (K,) of each class."""

    face: tuple[NDArray[np.uint8], str]
    neighbours: list[tuple[NDArray[np.uint8], str]]
    precisions: NDArray[np.float32]


def draw_samples(by_condition: Mapping[str, FaceSet]) -> Figure:
    """The same faces side by side under several conditions: a row for each, named at its left."""
    columns = max(map(len, by_condition.values()))
    figure = Figure(figsize=(0.9 * columns + 1.2, 0.95 * len(by_condition)), layout="constrained")
    for row, (cell, faces) in enumerate(by_condition.items()):
        for column, tile in enumerate(faces.tiles):
            axes = figure.add_subplot(len(by_condition), columns, row * columns + column + 1)
            _show_image(axes, tile, 255)
            if column == 0:
                axes.set_ylabel(cell, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def draw_image_rows(rows: Mapping[str, NDArray[np.float32]]) -> Figure:
    """Rows of grey images (n, h, w) in 0..1, each row with its name at the left."""
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(0.95 * columns + 1.2, 1.0 * len(rows)), layout="constrained")
    for row, (name, images) in enumerate(rows.items()):
        for column, image in enumerate(images):
            axes = figure.add_subplot(len(rows), columns, row * columns + column + 1)
            _show_image(axes, image, 1.0)
            if column == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def draw_retrieval(rows: Sequence[Retrieval], classes: Sequence[str]) -> Figure:
    """A row for each face: the face, its nearest neighbours, and the AP of each class."""
    columns = 1 + max(len(row.neighbours) for row in rows)
    figure = Figure(figsize=(1.15 * columns + 3.2, 1.5 * len(rows)), layout="constrained")
    grid = figure.add_gridspec(len(rows), columns + 1, width_ratios=[*[1.0] * columns, 2.6])
    for number, row in enumerate(rows):
        for column, (image, title) in enumerate([row.face, *row.neighbours]):
            axes = figure.add_subplot(grid[number, column])
            _show_image(axes, image, 255)
            axes.set_title(title, fontsize=7)
        axes = figure.add_subplot(grid[number, columns])
        axes.barh(range(len(classes)), row.precisions, color=CLASS_COLOURS[: len(classes)])
        axes.set_yticks(range(len(classes)), classes, fontsize=6)
        axes.tick_params(axis="x", labelsize=6)
        axes.set_xlim(0, 1)
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        if number == 0:
            axes.set_title("average precision", fontsize=8)
    return figure


def _show_image(axes: Axes, image: NDArray[Any], most: float) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=most)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
