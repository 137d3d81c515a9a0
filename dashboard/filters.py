"""Filters of a page, each kept in a query parameter, so that a link holds them all.

The value is part of a selector's key. A selector with one key would have to be given its value in
every run, and Streamlit may do so after the viewer has selected another one: the click is lost.
"""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

PAGE = "page"
"""The query parameter of the page of a list; any change of a filter returns to the first."""


def select_parameter(title: str, name: str, options: Mapping[str, str]) -> str:
    """The value of a query parameter, selected from a list: value to shown text.

    The first option is the default, which is not in the address. An address with another value
    than these means the default.
    """
    default, wanted = next(iter(options)), read_parameter(name, options)
    key = f"filter {name} {wanted}"

    def remember() -> None:
        st.query_params.pop(PAGE, None)
        st.query_params.pop(name, None)
        if st.session_state[key] != default:
            st.query_params[name] = st.session_state[key]

    st.selectbox(title, list(options), format_func=options.__getitem__, key=key, on_change=remember)
    return wanted


def read_parameter(name: str, options: Mapping[str, str]) -> str:
    """The value of a query parameter, or the first option."""
    found: str = st.query_params.get(name, "")
    return found if found in options else next(iter(options))


def set_parameters(values: Mapping[str, str], known: Mapping[str, object]) -> None:
    """For a saved query: these parameters, and none of the other known ones."""
    for name in (*known, PAGE):
        st.query_params.pop(name, None)
    st.query_params.update(dict(values))


def read_page() -> int:
    """The number of the selected page of a list, the first is 0."""
    text = st.query_params.get(PAGE, "1")
    return max(int(text) - 1, 0) if text.isdecimal() and len(text) < 6 else 0


def select_page(total: int, size: int, page: int) -> None:
    """The selector of the page of a list of `total` rows; `page`, the first is 0, is shown now."""
    if total <= size:
        return
    pages, key = -(-total // size), f"list page {page}"

    def remember() -> None:
        st.query_params[PAGE] = str(st.session_state[key])

    st.pagination(pages, default=page + 1, key=key, on_change=remember, max_visible_pages=5)
