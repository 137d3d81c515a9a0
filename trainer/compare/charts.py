"""Figures of the comparison in `trainer.compare.tables`, and of features in the plane.

Every function returns a matplotlib Figure and needs no display. A figure of accuracies never mixes
weights trained under displays with weights trained on clean faces, nor different protocols.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from models.udc.suites import CLEAN, CORRUPTIONS, SEVERITIES
from trainer.compare import metrics
from trainer.compare.budgets import count_steps, is_udc_trained, without_steps
from trainer.compare.evaluate import Predictions, mark_correct
from trainer.compare.tables import PROTOCOL_FIELDS, Evaluation, suite_correctness

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
"""Of weights and suites: distinguishable with colour blindness (Okabe & Ito 2008)."""
CLASS_COLOURS = (
    *("#9A9A9A", "#E69F00", "#009E73", "#0072B2", "#D55E00", "#7A5A00", "#CC79A7", "#1A1A1A"),
    *("#56B4E9", "#F0E442", "#7B3FA0"),
)
"""Of classes, in their order: eleven, as many as any data set here has."""
LINES = ("-", "--", ":", "-.")
"""Line styles, where there are more lines than colours."""
GREY = "#888888"
Z_95 = 1.96
"""Standard errors on either side of a 95 % interval."""


@dataclass(frozen=True)
class Panel:
    """Faces in the plane: places (n, 2) and labels (n,) of `classes`, under a title."""

    title: str
    places: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def group_comparable(every: Iterable[Evaluation]) -> dict[tuple[str, ...], list[Evaluation]]:
    """The evaluations that may share a figure, by the protocol that they have in common."""
    groups: dict[tuple[str, ...], list[Evaluation]] = {}
    for one in every:
        groups.setdefault(_facts(one), []).append(one)
    return groups


def draw_all(every: Sequence[Evaluation]) -> Iterator[tuple[str, Figure]]:
    """A name and a figure, one after the other: confusion matrices, accuracy over severities, and
    over sampling steps. A name has those words of the protocol that not all of them share."""
    groups = group_comparable(every)
    differs = [len(set(values)) > 1 for values in zip(*map(_facts, every), strict=True)]
    files = Counter((*_facts(one), one.about["weights"]) for one in every)
    for group in groups.values():
        facts = _facts(group[0])
        words = [fact for fact, is_needed in zip(facts, differs, strict=True) if is_needed]
        for one in group:
            if CLEAN in one.predictions:
                name = one.about["weights"]
                is_ambiguous = files[(*facts, name)] > 1
                digest = one.about["sha256"][:8] * is_ambiguous
                yield slug("confusion", name, digest, *words), draw_confusion_matrix(one)
        severities = draw_severities(group)
        if severities is not None:
            yield slug("severity", *words), severities
        for sweep in _sweeps(group):
            yield slug("steps", sweep[0].about["weights"], *words), draw_steps(sweep)


def slug(*words: str) -> str:
    """Words as the name of a file.

    >>> slug("severity", "ferplus:public", "none")
    'severity-ferplus-public-none'
    """
    return re.sub(r"[^a-zA-Z0-9]+", "-", " ".join(words)).strip("-")


def draw_confusion_matrix(one: Evaluation, cell: str = CLEAN) -> Figure:
    """The confusion matrix under one condition, in shares of each label's faces."""
    faces, predictions = one.faces, one.predictions[cell]
    names, k = faces.classes, len(faces.classes)
    counts = metrics.confusion_matrix(predictions.predicted, faces.labels, k)
    totals = np.bincount(faces.labels, minlength=k)
    shares = counts / np.maximum(totals, 1)[:, None]
    figure = Figure(figsize=(1.6 + 0.72 * k, 1.3 + 0.6 * k), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(k, k):
        if counts[row, column]:
            dark = shares[row, column] > 0.55
            text = f"{100 * shares[row, column]:.0f}"
            colour = "white" if dark else "#222222"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    labels = [f"{name} ({n})" for name, n in zip(names, totals, strict=True)]
    axes.set_xticks(range(k), names, rotation=35, ha="right")
    axes.set_yticks(range(k), labels)
    axes.set(xlabel="predicted", ylabel="label (faces)")
    accuracy = float(mark_correct(predictions, faces).mean())
    axes.set_title(f"{one.about['weights']}, {cell}: accuracy {accuracy:.1%}; % of each label")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def draw_severities(group: Sequence[Evaluation]) -> Figure | None:
    """Accuracy over severities, a panel per corruption; clean faces are severity 0. None where no
    corruption was evaluated at two severities or more."""
    corruptions = [
        name for name in CORRUPTIONS if any(len(_levels(one, name)) > 1 for one in group)
    ]
    if not corruptions:
        return None
    figure, panels = _row_of(len(corruptions), width=3.6, height=3.4)
    for axes, name in zip(panels, corruptions, strict=True):
        for number, one in enumerate(group):
            levels = _levels(one, name)
            if levels:
                _curve(axes, levels, one, number)
        axes.set(title=name, xlabel="severity (0: clean)", xticks=(0, *SEVERITIES))
    guess = 100 * float(np.bincount(group[0].faces.labels).max() / len(group[0].faces))
    for axes in panels:
        axes.axhline(guess, color=GREY, ls=":", lw=1, label="constant guess")
    _finish(figure, panels)
    return figure


def draw_steps(sweep: Sequence[Evaluation]) -> Figure:
    """Accuracy over the number of sampling steps, of networks that differ in nothing else."""
    figure, (axes,) = _row_of(1, width=4.6, height=3.4)
    right = [dict(suite_correctness(one)) for one in sweep]
    names = [name for name in right[0] if all(name in each for each in right)]
    steps = [count_steps(one.about["card"]) or 0 for one in sweep]
    for colour, name in zip(COLOURS, names, strict=False):
        shares = np.array([each[name].mean() for each in right])
        errors = [Z_95 * each[name].std() / np.sqrt(len(each[name])) for each in right]
        axes.errorbar(
            steps, 100 * shares, 100 * np.array(errors), color=colour, marker="o", label=name
        )
    axes.set_xscale("log", base=2)
    ticks = sorted(set(steps))
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set(xlabel="steps T", title=f"{sweep[0].about['card']['model']} over its steps")
    _finish(figure, [axes])
    return figure


def draw_scatter(panels: Sequence[Panel], columns: int) -> Figure:
    """Panels of faces in the plane, in rows of `columns` panels, one colour per class."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.3 * rows + 0.7), layout="constrained")
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, number + 1)
        colours = np.array(CLASS_COLOURS)[panel.labels]
        x, y = panel.places.T
        axes.scatter(x, y, c=colours, s=9, alpha=0.75, linewidths=0)
        axes.set(title=panel.title, xticks=[], yticks=[])
        axes.spines[:].set_color("#cccccc")
    names = panels[0].classes
    dots = [
        Line2D([], [], ls="", marker="o", ms=6, color=colour, label=name)
        for colour, name in zip(CLASS_COLOURS, names, strict=False)
    ]
    figure.legend(handles=dots, loc="outside lower center", ncols=2 * columns, frameon=False)
    return figure


def _facts(one: Evaluation) -> tuple[str, ...]:
    """The protocol of an evaluation and the condition of its training, as words."""
    protocol = (str(one.about[key]) for key in PROTOCOL_FIELDS)
    return (*protocol, "displays" if is_udc_trained(one.about["card"]) else "clean-trained")


def _levels(one: Evaluation, corruption: str) -> dict[int, Predictions]:
    """The predictions by severity; those of clean faces are 0, where there are degraded ones."""
    cells = {level: f"{corruption}/{level}" for level in SEVERITIES}
    found = {
        level: one.predictions[cell] for level, cell in cells.items() if cell in one.predictions
    }
    return {0: one.predictions[CLEAN], **found} if found and CLEAN in one.predictions else found


def _sweeps(group: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Networks that were trained alike and differ in their number of steps alone, fewest first."""
    sweeps: dict[str, dict[int, Evaluation]] = {}
    for one in group:
        steps = count_steps(one.about["card"])
        if steps is not None:
            common = json.dumps(without_steps(one.about["card"]), sort_keys=True)
            sweeps.setdefault(common, {})[steps] = one
    return [
        [one for _, one in sorted(sweep.items())] for sweep in sweeps.values() if len(sweep) > 1
    ]


def _curve(axes: Axes, levels: dict[int, Predictions], one: Evaluation, number: int) -> None:
    """A line of accuracies, and a band of their sampling error."""
    colour, line = COLOURS[number % len(COLOURS)], LINES[number // len(COLOURS) % len(LINES)]
    shares = np.array([mark_correct(each, one.faces).mean() for each in levels.values()])
    error = Z_95 * np.sqrt(shares * (1 - shares) / len(one.faces))
    x = list(levels)
    axes.fill_between(x, 100 * (shares - error), 100 * (shares + error), color=colour, alpha=0.15)
    axes.plot(x, 100 * shares, line, color=colour, marker="o", ms=4, label=one.about["weights"])


def _row_of(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    columns = 2 if count == 4 else min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns + 0.6, height * rows + 0.6), layout="constrained")
    first = figure.add_subplot(rows, columns, 1)
    rest = [
        figure.add_subplot(rows, columns, number, sharey=first) for number in range(2, count + 1)
    ]
    return figure, [first, *rest]


def _finish(figure: Figure, panels: Sequence[Axes]) -> None:
    """A quiet frame, and one legend for all panels."""
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6", lw=0.8)
        axes.set_axisbelow(True)
    panels[0].set_ylabel("accuracy, %")
    handles, names = panels[0].get_legend_handles_labels()
    columns = min(len(names), 2 + len(panels))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
