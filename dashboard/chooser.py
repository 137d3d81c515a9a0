"""A table whose rows can be chosen by mouse or keyboard.

Streamlit's own selection counts rows, and here the rows move on while one reads them: so the row
says its key.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import streamlit as st

from dashboard.tables import Markup

_SCRIPT = """
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".uc-chooser")
  if (root.shown !== data) {
    const focused = document.activeElement?.closest("[data-key]")?.dataset.key
    root.innerHTML = root.shown = data
    if (focused) root.querySelector(`[data-key="${CSS.escape(focused)}"] button`)?.focus()
  }
  root.onclick = (event) => {
    const row = event.target.closest("[data-key]")
    if (row) setTriggerValue("chosen", row.dataset.key)
  }
}
"""


def choose(table: Markup, parameter: str) -> None:
    """Shows a table with keys; the key of a chosen row goes into that parameter of the address."""
    name = f"choose-{parameter}"

    def remember() -> None:
        st.query_params[parameter] = st.session_state[name].chosen

    _component()(data=table, key=name, on_chosen_change=remember)


@cache
def _component() -> Any:
    return st.components.v2.component(
        "undercam.chooser",
        html='<div class="uc-chooser"></div>',
        js=_SCRIPT,
        isolate_styles=False,
    )
