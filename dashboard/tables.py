"""Plain tables and bars as HTML: numbers aligned, one colour an expression, text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import zip_longest

from dashboard.absence import KINDS
from models.emotions import EMOTIONS, UNKNOWN
from pipeline.camera_states import MEANINGS
from pipeline.palette import EMOTION_COLOURS
from pipeline.store.queries import Shares

LABELS = (*EMOTIONS, UNKNOWN)
NUMBER = "uc-number"
"""The class of a column of numbers."""


class Markup(str):
    """Text that is HTML already."""


def safe(value: object) -> str:
    """HTML as it is; anything else escaped."""
    return value if isinstance(value, Markup) else escape(str(value))


def table(
    columns: Mapping[str, str],
    rows: Sequence[Sequence[object]],
    keys: Sequence[str] = (),
    chosen: str | None = None,
) -> Markup:
    """A table; `columns` maps a heading to the class of its cells.

    With `keys`, one a row, a row can be chosen, see `dashboard.chooser`; `chosen` stands out.
    """
    head = "".join(f'<th class="{kind}">{escape(name)}</th>' for name, kind in columns.items())
    body = "".join(
        f"<tr{_key(key, chosen)}>{_cells(columns, row)}</tr>"
        for row, key in zip_longest(rows, keys)
    )
    return Markup(
        f'<div class="uc-scroll"><table class="uc-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def two_lines(first: object, second: object) -> Markup:
    """A cell with a quieter line below."""
    return Markup(f'{safe(first)}<div class="uc-quiet">{safe(second)}</div>')


def state(name: str) -> Markup:
    """A camera's state: a word with a dot of its colour, and what it means for the pointer."""
    meaning = escape(MEANINGS.get(name, ""))
    return Markup(
        f'<span class="uc-state uc-{escape(name)}" title="{meaning}">{escape(name)}</span>'
    )


def swatch(label: str) -> Markup:
    """An expression's name behind a square of its colour."""
    return Markup(f'<span class="uc-swatch" style="{_fill(label)}"></span>{escape(label)}')


def legend() -> Markup:
    """All labels with their colours, in a line."""
    return _legend(swatch(label) for label in LABELS)


def absence_legend(plain: str) -> Markup:
    """What the marks of charts mean, and what a plain place does, in a line."""
    marks = {"uc-plain": plain} | {f"uc-{name.replace(' ', '-')}": name for name in KINDS}
    return _legend(
        Markup(f'<span class="uc-swatch {mark}"></span>{escape(name)}')
        for mark, name in marks.items()
    )


def _legend(names: Iterable[Markup]) -> Markup:
    shown = "".join(f"<span>{name}</span>" for name in names)
    return Markup(f'<div class="uc-legend">{shown}</div>')


def stacked(shares: Mapping[str, float]) -> Markup:
    """One bar from the shares of the labels; they sum to at most 1."""
    parts = "".join(
        f'<i style="width:{shares[label]:.2%};{_fill(label)}" '
        f'title="{label} {shares[label]:.0%}"></i>'
        for label in LABELS
        if shares.get(label)
    )
    said = ", ".join(f"{name} {shares[name]:.0%}" for name in LABELS if shares.get(name))
    return Markup(f'<div class="uc-bar" role="img" aria-label="{said}">{parts}</div>')


def counted(shares: Shares) -> dict[str, float]:
    """Share of the looks that each label was shown in."""
    total = max(1, sum(shares.counts.values()))
    return {label: count / total for label, count in shares.counts.items()}


def share_table(shares: Shares) -> Markup:
    """Every label with its share of the looks as a bar, its looks, and its mean probability."""
    parts = counted(shares)
    rows = [
        (
            swatch(label),
            stacked({label: parts.get(label, 0.0)}),
            f"{parts.get(label, 0.0):.1%}",
            f"{shares.counts.get(label, 0):,}",
            f"{shares.mean[EMOTIONS.index(label)]:.2f}" if label in EMOTIONS else "",
        )
        for label in LABELS
    ]
    columns = {"Shown": "", "": "uc-wide", "Share": NUMBER, "Looks": NUMBER, "Mean p": NUMBER}
    return table(columns, rows)


def _key(key: str | None, chosen: str | None) -> str:
    current = ' aria-current="true"' if key == chosen else ""
    return f' data-key="{escape(key)}"{current}' if key else ""


def _cells(columns: Mapping[str, str], row: Sequence[object]) -> str:
    cells = zip(columns.values(), row, strict=True)
    return "".join(f'<td class="{kind}">{safe(value)}</td>' for kind, value in cells)


def _fill(label: str) -> str:
    return f"background:{EMOTION_COLOURS[label]}"
