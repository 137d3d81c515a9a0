"""Drawings of what `trainer.compare.tables` says in numbers, and of features in the plane.

Every function gives a matplotlib Figure; none looks at a screen. Figures of accuracy never hold
weights that learned behind displays beside weights that did not, nor any asked in different ways.
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

from models.registry import FAMILIES
from models.udc.suites import CLEAN, CORRUPTIONS, SEVERITIES
from trainer.compare import metrics
from trainer.compare.budgets import saw_displays
from trainer.compare.evaluate import Predictions, correctness
from trainer.compare.tables import GROUPED_BY, Evaluated, suites

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
"""Of weights and suites: told apart by eyes that see few colours, too (Okabe & Ito 2008)."""
CLASS_COLOURS = (
    *("#9A9A9A", "#E69F00", "#009E73", "#0072B2", "#D55E00", "#7A5A00", "#CC79A7", "#1A1A1A"),
    *("#56B4E9", "#F0E442", "#7B3FA0"),
)
"""Of classes, in their order: eleven, as many as any data set here has."""
LINES = ("-", "--", ":", "-.")
"""Where there are more than colours."""
GREY = "#888888"
SURE = 1.96
"""Standard errors either way that hold 95 % of repetitions."""


@dataclass(frozen=True)
class Panel:
    """Faces in the plane: places (n, 2), labels (n,) of `classes`, and what they are of."""

    title: str
    places: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def comparable(every: Iterable[Evaluated]) -> dict[tuple[str, ...], list[Evaluated]]:
    """The evaluations that may stand in one drawing, by what they have in common."""
    groups: dict[tuple[str, ...], list[Evaluated]] = {}
    for one in every:
        groups.setdefault(_facts(one), []).append(one)
    return groups


def of_kept(every: Sequence[Evaluated]) -> Iterator[tuple[str, Figure]]:
    """A name and a drawing, one after the other: confusions, severities, and steps. A name says
    what not all of them have in common."""
    groups = comparable(every)
    telling = [len(set(values)) > 1 for values in zip(*map(_facts, every), strict=True)]
    files = Counter((*_facts(one), one.about["weights"]) for one in every)
    for group in groups.values():
        facts = _facts(group[0])
        asked = [fact for fact, tells in zip(facts, telling, strict=True) if tells]
        for one in group:
            if CLEAN in one.said:
                name = one.about["weights"]
                twice = files[(*facts, name)] > 1
                yield (
                    slug("confusion", name, one.about["sha256"][:8] * twice, *asked),
                    confusion(one),
                )
        drawn = severity(group)
        if drawn is not None:
            yield slug("severity", *asked), drawn
        for sweep in _sweeps(group):
            yield slug("steps", sweep[0].about["weights"], *asked), steps(sweep)


def slug(*words: str) -> str:
    """Words as the name of a file.

    >>> slug("severity", "ferplus:public", "none")
    'severity-ferplus-public-none'
    """
    return re.sub(r"[^a-zA-Z0-9]+", "-", " ".join(words)).strip("-")


def confusion(one: Evaluated, cell: str = CLEAN) -> Figure:
    """Which labels are taken for which, in shares of each label's faces."""
    faces, said = one.faces, one.said[cell]
    names, k = faces.classes, len(faces.classes)
    counts = metrics.confusion(said.answers, faces.labels, k)
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
    axes.set(xlabel="named", ylabel="label (faces)")
    right = float(correctness(said, faces).mean())
    axes.set_title(f"{one.about['weights']}, {cell}: {right:.1%} right; % of each label")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def severity(group: Sequence[Evaluated]) -> Figure | None:
    """Accuracy over severities, a panel for each corruption; clean faces stand at 0. None where
    nothing was asked at two severities or more."""
    drawn = [name for name in CORRUPTIONS if any(len(_levels(one, name)) > 1 for one in group)]
    if not drawn:
        return None
    figure, panels = _row_of(len(drawn), width=3.6, height=3.4)
    for axes, name in zip(panels, drawn, strict=True):
        for number, one in enumerate(group):
            levels = _levels(one, name)
            if levels:
                _curve(axes, levels, one, number)
        axes.set(title=name, xlabel="severity (0: clean)", xticks=(0, *SEVERITIES))
    guess = 100 * float(np.bincount(group[0].faces.labels).max() / len(group[0].faces))
    for axes in panels:
        axes.axhline(guess, color=GREY, ls=":", lw=1, label="a constant guess")
    _finish(figure, panels)
    return figure


def steps(sweep: Sequence[Evaluated]) -> Figure:
    """Accuracy over the number of diffusion steps, of networks that differ in nothing else."""
    figure, (axes,) = _row_of(1, width=4.6, height=3.4)
    said = [dict(suites(one)) for one in sweep]
    names = [name for name in said[0] if all(name in each for each in said)]
    for colour, name in zip(COLOURS, names, strict=False):
        shares = np.array([each[name].mean() for each in said])
        errors = [SURE * each[name].std() / np.sqrt(len(each[name])) for each in said]
        x = [_steps(one) for one in sweep]
        axes.errorbar(x, 100 * shares, 100 * np.array(errors), color=colour, marker="o", label=name)
    axes.set_xscale("log", base=2)
    at = sorted({_steps(one) for one in sweep})
    axes.set_xticks(at, [str(t) for t in at])
    axes.set(xlabel="steps T", title=f"{sweep[0].about['card']['model']} over its steps")
    _finish(figure, [axes])
    return figure


def scatter(panels: Sequence[Panel], columns: int) -> Figure:
    """Panels of faces in the plane, so many beside each other, one colour a class."""
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


def _facts(one: Evaluated) -> tuple[str, ...]:
    """What was asked, how, and which condition it was trained under, as words."""
    asked = (str(one.about[key]) for key in GROUPED_BY[2:])
    return (*asked, "displays" if saw_displays(one.about["card"]) else "clean-trained")


def _levels(one: Evaluated, corruption: str) -> dict[int, Predictions]:
    """What was said at each severity; with clean faces as 0 where there are harmed ones."""
    cells = {level: f"{corruption}/{level}" for level in SEVERITIES}
    found = {level: one.said[cell] for level, cell in cells.items() if cell in one.said}
    return {0: one.said[CLEAN], **found} if found and CLEAN in one.said else found


def _sweeps(group: Sequence[Evaluated]) -> list[list[Evaluated]]:
    """Networks that were trained alike and differ in their number of steps alone, fewest first."""
    sweeps: dict[str, dict[int, Evaluated]] = {}
    for one in group:
        card = one.about["card"]
        if "steps" in FAMILIES[card["model"]].complete:
            told = [card["network"] | {"steps": 0}, card["recipe"] | {"network": 0}]
            sweeps.setdefault(json.dumps(told, sort_keys=True), {})[_steps(one)] = one
    return [
        [one for _, one in sorted(sweep.items())] for sweep in sweeps.values() if len(sweep) > 1
    ]


def _curve(axes: Axes, levels: dict[int, Predictions], one: Evaluated, number: int) -> None:
    """A line of accuracies, and a band of their sampling error."""
    colour, line = COLOURS[number % len(COLOURS)], LINES[number // len(COLOURS) % len(LINES)]
    shares = np.array([correctness(said, one.faces).mean() for said in levels.values()])
    error = SURE * np.sqrt(shares * (1 - shares) / len(one.faces))
    x = list(levels)
    axes.fill_between(x, 100 * (shares - error), 100 * (shares + error), color=colour, alpha=0.15)
    axes.plot(x, 100 * shares, line, color=colour, marker="o", ms=4, label=one.about["weights"])


def _row_of(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(count, 3)
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


def _steps(one: Evaluated) -> int:
    card = one.about["card"]
    return int({**FAMILIES[card["model"]].complete, **card["network"]}["steps"])
