"""A table whose rows can be selected by mouse or keyboard.

Streamlit's own selection is by row number, and here rows move at every refresh. So this table
reports the key of the selected row.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import streamlit as st

from dashboard.tables import Markup

_SCRIPT = """
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".uc-selectable")
  if (root.shown !== data) {
    const focused = document.activeElement?.closest("[data-key]")?.dataset.key
    root.innerHTML = root.shown = data
    if (focused) root.querySelector(`[data-key="${CSS.escape(focused)}"] button`)?.focus()
  }
  root.onclick = (event) => {
    const row = event.target.closest("[data-key]")
    if (row) setTriggerValue("selected", row.dataset.key)
  }
}
"""


def show_selectable_table(table: Markup, parameter: str) -> None:
    """Shows a table made with keys; selecting a row puts its key into that query parameter."""
    name = f"select-{parameter}"

    def remember() -> None:
        st.query_params[parameter] = st.session_state[name].selected

    _component()(data=table, key=name, on_selected_change=remember)


@cache
def _component() -> Any:
    return st.components.v2.component(
        "undercam.selectable_table",
        html='<div class="uc-selectable"></div>',
        js=_SCRIPT,
        isolate_styles=False,
    )
