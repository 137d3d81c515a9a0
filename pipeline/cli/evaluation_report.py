"""The tables that `undercam evaluate` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from pipeline.cli.output import OUT

HEADINGS = ("accuracy", "new faces", "retained", "macro F1", "rater", "neutral", "ECE", "NLL")
"""New faces: accuracy on those whose pixels are not also in the training split; rater: agreement
with a random rater; neutral: share predicted neutral."""
TTA = {"flip": "horizontal-flip TTA", "none": "no TTA"}
"""By the `averaging` of an evaluation."""


def show(result: Mapping[str, Any]) -> None:
    """Print the JSON object of an evaluation as tables; means over suites are below the line."""
    title = f"{result['weights']} on {result['data']} ({result['protocol']}), {result['n']} faces"
    table = _table(title, *HEADINGS)
    for name, figures in result["conditions"].items():
        table.add_row(name, *_row(figures))
    table.add_section()
    for name, figures in result["means"].items():
        table.add_row(name, *_row(figures))
    OUT.print(table)
    rows = result["conditions"] | result["means"]
    _show_truth(next(iter(rows.values())))
    _show_recall(rows)
    OUT.print(TTA[result["averaging"]], end="; ")
    OUT.print(f"precision at 80 % coverage: {result['coverage']['precision_at_80']:.2%}")
    if "end_to_end" in result:
        found = result["end_to_end"]
        OUT.print(f"end-to-end: {found['detector']} found {found['found']:.2%} of the faces")
    if "against" in result:
        _show_against(result["against"])


def _show_truth(figures: Mapping[str, Any]) -> None:
    """What the columns rater and neutral would be for the labels themselves."""
    if "rater_labels" in figures:
        labels, true = figures["rater_labels"], figures["neutral_true_share"]
        OUT.print(f"the labels themselves: rater {labels:.2%}, neutral {true:.2%}")


def _show_recall(rows: Mapping[str, Mapping[str, Any]]) -> None:
    classes = list(next(iter(rows.values()))["recall"])
    table = _table("recall of each class, %", *classes)
    for name, figures in rows.items():
        table.add_row(name, *(f"{100 * figures['recall'][one]:.0f}" for one in classes))
    OUT.print(table)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    table.add_column("condition", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _row(figures: Mapping[str, Any]) -> list[str]:
    new = figures.get("deduplicated", {})
    return [
        f"{figures['accuracy']:.2%}",
        f"{new['accuracy']:.2%}" if new else "",
        f"{figures['retained']:.1%}" if "retained" in figures else "",
        f"{figures['macro_f1']:.3f}",
        *(
            f"{figures[key]:.1%}" if key in figures else ""
            for key in ("rater_agreement", "neutral_share")
        ),
        *(f"{figures[key]:.3f}" for key in ("ece", "nll")),
    ]


def _show_against(found: Mapping[str, Any]) -> None:
    table = _table(
        f"against {found['weights']}", "its accuracy", "difference", "95 % interval", "mCE"
    )
    rows = {"all": found, **found["conditions"], **found["means"]}
    for name, row in rows.items():
        low, high = row["interval"]
        table.add_row(
            name,
            f"{row['accuracy']:.2%}",
            f"{100 * row['delta']:+.2f}",
            f"{100 * low:+.2f} .. {100 * high:+.2f}",
            f"{row['mce']:.3f}" if "mce" in row else "",
        )
    OUT.print(table)
