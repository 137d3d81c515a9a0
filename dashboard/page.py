"""The common frame of the pages: title, refresh, notices and error messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import tzinfo
from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.database import now_ms, settings
from dashboard.time_format import format_moment, load_zone
from pipeline.errors import UndercamError

NO_CAMERA = (
    "No camera has reported yet.",
    "Start `undercam demo`, or `undercam run` with your cameras.",
)


def show_page(title: str, draw: Callable[[], None], every_s: float | None = None) -> None:
    """A page whose content below the title is drawn again at each refresh, or every `every_s`.

    Only the fragment below reruns: a rerun of the whole page would close an open list and move the
    scroll position. `draw` should run all its queries before it shows more than selectors, so that
    an error replaces the content instead of following half of it.
    """
    st.title(title, anchor=False)
    refresh_s = max(settings().dashboard.refresh_s, every_s or 0)

    @st.fragment(run_every=refresh_s, key=f"live-{title.lower()}")
    def content() -> None:
        now = format_moment(now_ms(), viewer_zone())
        st.caption(f"As of {now}, times in {viewer_zone()}; refreshed every {refresh_s:g} s")
        try:
            draw()
        except UndercamError as error:
            show_error(error)

    content()


def two_columns(left: int = 1, right: int = 1) -> list[DeltaGenerator]:
    """Two columns of these relative widths; below each other on a narrow screen."""
    with st.container(key="halves"):
        return st.columns([left, right], gap="large")


def viewer_zone() -> tzinfo:
    """The viewer's time zone, as reported by the browser."""
    return load_zone(st.context.timezone)


def escape_markdown(text: str) -> str:
    """A text for Streamlit's titles and captions that shows as it is.

    >>> escape_markdown("Hall *3* :red[x]")
    'Hall \\\\*3\\\\* \\\\:red\\\\[x\\\\]'
    """
    return re.sub(r"([\\`*_{}\[\]()#+.!|<>~:$&-])", r"\\\1", text)


def show_error(error: UndercamError) -> None:
    """Shows what is wrong, where, and what helps."""
    what = f"{error.what}: {error.where}"
    show_notice(what[:1].upper() + what[1:], f"{error.remedy}. This page keeps trying.")


def show_notice(what: str, remedy: str) -> None:
    """A notice in place of data, and what to do about it; backticks mark a `command`."""
    pieces = escape(remedy[:1].upper() + remedy[1:]).split("`")
    html = "".join(f"<code>{text}</code>" if i % 2 else text for i, text in enumerate(pieces))
    st.html(
        f'<div class="uc-notice" role="status"><strong>{escape(what)}</strong>'
        f"<span>{html}</span></div>"
    )
