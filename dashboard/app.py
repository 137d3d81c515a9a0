"""The Streamlit script, run once per viewer and page load; `dashboard.launch` starts it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.access import may_change, show_exposure, show_user
from dashboard.database import settings
from dashboard.links import follow, register_pages
from dashboard.page import show_error
from dashboard.views import about, admin, compare, expressions, health, overview, tracks
from pipeline.errors import UndercamError

_EYE = (
    '<g fill="none" stroke="#4c86bd" stroke-width="2.6"><rect x="3" y="3" width="26" height="26" '
    'rx="7"/><circle cx="16" cy="16" r="6.5"/></g><circle cx="16" cy="16" r="2.4" fill="#4c86bd"/>'
)
MARK = f'<svg viewBox="0 0 32 32">{_EYE}</svg>'
NAME = (
    f'<svg viewBox="0 0 168 32">{_EYE}<text x="40" y="23.5" fill="#4c86bd" font-size="22" '
    'font-weight="600" font-family="system-ui, sans-serif">Undercam</text></svg>'
)
STATEMENT = (
    "Undercam labels facial expressions; it does not read feelings. It errs more often on rare "
    "expressions and on under-represented people. Not for workplaces or schools (EU AI Act, "
    "Art. 5(1)(f))."
)


def main() -> None:
    """Navigation, logo and footer, and the current page."""
    st.set_page_config(page_title="Undercam", page_icon=MARK, layout="wide")
    st.html(Path(__file__).with_name("style.css"))
    st.logo(NAME, size="large")
    about_page = st.Page(about.show, title="About", url_path="about")
    register_pages(pages := _list_pages(about_page))
    page = st.navigation(pages, position="top")
    follow()
    st.set_page_config(page_title=f"{page.title} · Undercam")
    with st.bottom, st.container(horizontal=True, wrap=False, key="statement"):
        st.caption(STATEMENT)
        st.page_link(about_page, label="Limitations and law")
    try:
        settings()
    except UndercamError as error:
        show_error(error)
    else:
        show_exposure()
        show_user()
        page.run()


def _list_pages(about_page: Any) -> list[Any]:
    """The pages of this user."""
    pages = [
        st.Page(overview.show, title="Overview", default=True),
        st.Page(expressions.show, title="Expressions", url_path="expressions"),
        st.Page(tracks.show, title="Tracks", url_path="tracks"),
        st.Page(compare.show, title="Compare", url_path="compare"),
        st.Page(health.show, title="Health", url_path="health"),
    ]
    with suppress(UndercamError):  # it is shown below
        if may_change():
            pages.append(st.Page(admin.show, title="Admin", url_path="admin"))
    return [*pages, about_page]


if __name__ == "__main__":
    main()
