"""Filters of a page, each kept in a query parameter, so that a link holds them all."""

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
    default, key = next(iter(options)), f"filter {name}"
    wanted = read_parameter(name, options)
    if st.session_state.get(key) != wanted:
        st.session_state[key] = wanted

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


def select_page(total: int, size: int) -> int:
    """The number of rows before the selected page of a list; a selector where it has several."""
    pages = max(1, -(-total // size))
    text = st.query_params.get(PAGE, "1")
    number = min(int(text), pages) if text.isdecimal() and len(text) < 9 else 1
    number = max(number, 1)
    if pages == 1:
        return 0
    if st.session_state.get("list page") != number:
        st.session_state["list page"] = number

    def remember() -> None:
        st.query_params[PAGE] = str(st.session_state["list page"])

    st.pagination(pages, key="list page", on_change=remember, max_visible_pages=5)
    return (number - 1) * size
