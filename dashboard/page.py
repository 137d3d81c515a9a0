"""What every page stands in: its title, its part that renews itself, and a sentence in place of
data that is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.database import now_ms, settings
from dashboard.times import time_of_day, zone_of
from pipeline.errors import UndercamError

NO_CAMERA = ("No camera has reported yet.", "Start one with `undercam demo`.")


def live(title: str, draw: Callable[[], None]) -> None:
    """A page whose part below the title is drawn again each refresh, without a rerun of the page.

    Let `draw` ask everything before it draws more than choices: an error leaves no half a page.
    """
    st.title(title, anchor=False)
    refresh_s = settings().dashboard.refresh_s

    @st.fragment(run_every=refresh_s, key=f"live-{title.lower()}")
    def part() -> None:
        now = time_of_day(now_ms(), now_ms(), zone())
        st.caption(f"As of {now}, times in {zone()}; renewed every {refresh_s:g} s")
        try:
            draw()
        except UndercamError as error:
            trouble(error)

    part()


def halves(left: int = 1, right: int = 1) -> list[DeltaGenerator]:
    """Two columns of these widths, one below the other where the screen is narrow."""
    with st.container(key="halves"):
        return st.columns([left, right], gap="large")


def zone() -> tzinfo:
    """The viewer's time zone, as the browser tells it."""
    return zone_of(st.context.timezone)


def trouble(error: UndercamError) -> None:
    """Says what is wrong, where, and what helps; the page goes on trying."""
    what = f"{error.what}: {error.where}"
    notice(what[:1].upper() + what[1:], f"{error.remedy}. This page keeps trying.")


def notice(what: str, remedy: str) -> None:
    """One sentence where data would stand, and what to do about it; `command` in backticks."""
    pieces = escape(remedy[:1].upper() + remedy[1:]).split("`")
    said = "".join(f"<code>{text}</code>" if i % 2 else text for i, text in enumerate(pieces))
    st.html(
        f'<div class="uc-notice" role="status"><strong>{escape(what)}</strong>'
        f"<span>{said}</span></div>"
    )
