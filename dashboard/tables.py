"""Tables and bars as HTML: text escaped, numbers right-aligned, one colour per expression."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import zip_longest
from urllib.parse import urlencode

from dashboard.no_data import KINDS, NoData
from dashboard.time_format import format_duration
from models.emotions import EMOTIONS, UNKNOWN
from pipeline.camera_states import MEANINGS
from pipeline.palette import EMOTION_COLOURS
from pipeline.store.queries import Shares

LABELS = (*EMOTIONS, UNKNOWN)
NUMBER = "uc-number"
"""CSS class of a column of numbers."""
MINOR = "uc-minor"
"""Further class of a column that is left out where the table is narrow."""
LEAST = "uc-least"
"""The same on a phone only."""
FEW = 3
"""A table of at most so many columns on a phone stays one; a wider one becomes cards."""


class Markup(str):
    """A string that is HTML already, with its text escaped."""


def to_html(value: object) -> str:
    """Markup unchanged; anything else as escaped text."""
    return value if isinstance(value, Markup) else escape(str(value))


def table(
    columns: Mapping[str, str],
    rows: Sequence[Sequence[object]],
    keys: Sequence[str] = (),
    selected: str | None = None,
) -> Markup:
    """A table; `columns` maps a heading to the classes of its cells.

    With `keys`, one per row, rows can be selected (see `dashboard.selectable_table`); the row of
    `selected` is highlighted. Where it is narrow, each row is a card (see `style.css`), so the
    roles are written down: without them a browser may take the cards for no table.
    """
    head = "".join(
        f'<th role="columnheader" scope="col" class="{kind}">{escape(name)}</th>'
        for name, kind in columns.items()
    )
    body = "".join(
        f'<tr role="row"{_key(key, selected)}>{_cells(columns, row)}</tr>'
        for row, key in zip_longest(rows, keys)
    )
    is_small = sum(LEAST not in kind.split() for kind in columns.values()) <= FEW
    shape = "" if is_small else " uc-cards"
    return Markup(
        f'<div class="uc-scroll"><table role="table" class="uc-table{shape}">'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table></div>'
    )


def link(text: object, path: str, parameters: Mapping[str, str]) -> Markup:
    """A link to another page; see `dashboard.selectable_table.show_linked_table`."""
    address = escape(f"{path or './'}?{urlencode(parameters)}")
    return Markup(f'<a class="uc-link" data-page href="{address}">{to_html(text)}</a>')


def two_lines(first: object, second: object) -> Markup:
    """A cell with a second, smaller line."""
    return Markup(f'{to_html(first)}<div class="uc-quiet">{to_html(second)}</div>')


def state_badge(name: str, is_alarm: bool = False) -> Markup:
    """A camera's state with a coloured dot, and its meaning as a tooltip; an alarm in the alarm
    colour."""
    meaning, alarm = escape(MEANINGS.get(name, "")), " uc-alarm" * is_alarm
    return Markup(
        f'<span class="uc-state uc-{escape(name)}{alarm}" title="{meaning}">{escape(name)}</span>'
    )


def no_data_strip(found: NoData, since_ms: int, until_ms: int) -> Markup:
    """A bar of [since_ms, until_ms) on which the times without data are marked as in the charts."""
    length = until_ms - since_ms
    parts, words = [], []
    for kind, start, end in found.intervals():
        first, last = max(start, since_ms), min(max(end, start + length // 60), until_ms)
        if last <= first:
            continue
        parts.append(
            f'<i class="uc-{kind.replace(" ", "-")}" style="left:{(first - since_ms) / length:.2%};'
            f'width:{(last - first) / length:.2%}"></i>'
        )
        words.append(f"{kind} {format_duration(min(end, until_ms) - first)}")
    text = escape(", ".join(words) or "video all the time")
    return Markup(
        f'<div class="uc-strip" role="img" aria-label="{text}" title="{text}">'
        f"{''.join(parts)}</div>"
    )


def swatch(label: str) -> Markup:
    """A square in the label's colour, then its name."""
    return Markup(f'<span class="uc-swatch" style="{_fill(label)}"></span>{escape(label)}')


def label_legend() -> Markup:
    """Legend of all labels with their colours."""
    return _legend(swatch(label) for label in LABELS)


def no_data_legend(plain: str) -> Markup:
    """Legend of the marks for times without data; `plain` explains an unmarked empty place."""
    marks = {"uc-plain": plain} | {f"uc-{name.replace(' ', '-')}": name for name in KINDS}
    return _legend(
        Markup(f'<span class="uc-swatch {mark}"></span>{escape(name)}')
        for mark, name in marks.items()
    )


def _legend(names: Iterable[Markup]) -> Markup:
    shown = "".join(f"<span>{name}</span>" for name in names)
    return Markup(f'<div class="uc-legend">{shown}</div>')


def stacked_bar(shares: Mapping[str, float]) -> Markup:
    """One bar with a segment per label; the shares sum to at most 1."""
    parts = "".join(
        f'<i style="width:{shares[label]:.2%};{_fill(label)}" '
        f'title="{label} {shares[label]:.0%}"></i>'
        for label in LABELS
        if shares.get(label)
    )
    description = ", ".join(f"{name} {shares[name]:.0%}" for name in LABELS if shares.get(name))
    return Markup(f'<div class="uc-bar" role="img" aria-label="{description}">{parts}</div>')


def label_shares(shares: Shares) -> dict[str, float]:
    """Each label's share of the observations, in [0, 1]."""
    total = max(1, sum(shares.counts.values()))
    return {label: count / total for label, count in shares.counts.items()}


def share_table(shares: Shares) -> Markup:
    """Table of all labels: share of observations, number of observations, mean probability."""
    parts = label_shares(shares)
    rows = [
        (
            swatch(label),
            stacked_bar({label: parts.get(label, 0.0)}),
            f"{parts.get(label, 0.0):.1%}",
            f"{shares.counts.get(label, 0):,}",
            f"{shares.mean[EMOTIONS.index(label)]:.2f}" if label in EMOTIONS else "",
        )
        for label in LABELS
    ]
    columns = {
        "Expression": "",
        "": "uc-wide",
        "Share": NUMBER,
        "Observations": f"{NUMBER} {LEAST}",
        "Mean prob.": f"{NUMBER} {LEAST}",
    }
    return table(columns, rows)


def _key(key: str | None, selected: str | None) -> str:
    current = ' aria-current="true"' if key == selected else ""
    return f' data-key="{escape(key)}"{current}' if key else ""


def _cells(columns: Mapping[str, str], row: Sequence[object]) -> str:
    return "".join(
        f'<td role="cell" class="{kind}" data-label="{escape(name)}">{to_html(value)}</td>'
        for (name, kind), value in zip(columns.items(), row, strict=True)
    )


def _fill(label: str) -> str:
    return f"background:{EMOTION_COLOURS[label]}"
