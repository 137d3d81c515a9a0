"""Tables whose rows can be selected, and whose links open another page without loading it anew.

Streamlit's own selection is by row number, and here rows move at every refresh. So this table
reports the key of the selected row.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import streamlit as st

from dashboard.links import open_page
from dashboard.tables import Markup

_SCRIPT = """
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".uc-selectable")
  if (root.shown !== data) {
    const active = document.activeElement, row = active?.closest("[data-key]")?.dataset.key
    const address = active?.closest("a[data-page]")?.getAttribute("href")
    root.innerHTML = root.shown = data
    if (row) root.querySelector(`[data-key="${CSS.escape(row)}"] button`)?.focus()
    else if (address) root.querySelector(`a[href="${CSS.escape(address)}"]`)?.focus()
  }
  // Where the table is drawn anew between press and release, the click meets no row.
  root.onpointerdown = (event) => {
    root.pressed = event.target.closest("[data-key]")?.dataset.key
  }
  root.onclick = (event) => {
    const link = event.target.closest("a[data-page]")
    if (link) {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return
      event.preventDefault()
      setTriggerValue("opened", link.getAttribute("href"))
      return
    }
    const key = event.target.closest("[data-key]")?.dataset.key ?? root.pressed
    if (key) setTriggerValue("selected", key)
  }
}
"""


def show_selectable_table(table: Markup, parameter: str) -> None:
    """Shows a table made with keys; selecting a row puts its key into that query parameter."""
    name = f"select-{parameter}"

    def remember() -> None:
        st.query_params[parameter] = st.session_state[name].selected

    _component()(data=table, key=name, on_selected_change=remember)


def show_linked_table(table: Markup, key: str) -> None:
    """Shows a table, or any markup, with links of `dashboard.links.link`."""

    def go() -> None:
        address = urlsplit(st.session_state[key].opened or "")
        open_page(address.path.removeprefix("./"), dict(parse_qsl(address.query)))

    _component()(data=table, key=key, on_opened_change=go)


@cache
def _component() -> Any:
    return st.components.v2.component(
        "undercam.selectable_table",
        html='<div class="uc-selectable"></div>',
        js=_SCRIPT,
        isolate_styles=False,
    )
