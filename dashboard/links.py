"""Changes from one page to another without loading anew, by a callback's wish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

_PAGES, _NEXT = "pages", "next page"


def register_pages(pages: Sequence[Any]) -> None:
    """Makes the pages known by their paths to `follow`."""
    st.session_state[_PAGES] = {page.url_path: page for page in pages}


def open_page(path: str, parameters: Mapping[str, str]) -> None:
    """For callbacks: changes to another page. The whole script runs again, for a change of the page
    in the middle of a fragment, which is drawn by itself, breaks the page in the browser."""
    st.session_state[_NEXT] = (path, dict(parameters))
    st.rerun()


def follow() -> None:
    """Changes to the page that a callback has asked for, if one has."""
    path, parameters = st.session_state.pop(_NEXT, ("", {}))
    page = st.session_state.get(_PAGES, {}).get(path)
    if parameters and page is not None:
        st.switch_page(page, query_params=parameters)
