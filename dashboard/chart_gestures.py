"""Dragging over a chart zooms into that time, and a click opens the faces of a bar.

Streamlit reports a region of an ECharts chart only after a tool of the chart was switched on, which
is a click more and hides the tooltips. So this listens itself: the distances of the time axis from
the chart's edges are known, and what lies under the pointer follows from them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import streamlit as st

from dashboard.time_axis import LEFT_PX, RIGHT_PX
from dashboard.time_choice import LEAST_MS

_SCRIPT = """
export default function ({ data, setTriggerValue }) {
  const chart = document.querySelector(`.st-key-${data.chart} [data-testid="stEChartsChart"]`)
  if (!chart) return
  // This runs at every refresh; the chart stays, and so does a drag that is under way.
  chart.ucGestures = { ...data, send: setTriggerValue }
  if (chart.ucListens) return
  chart.ucListens = true
  chart.style.position = "relative"
  chart.style.cursor = "crosshair"
  let start = null, shade = null
  const clip = (part) => Math.min(1, Math.max(0, part))
  const width = () => {
    const { left, right } = chart.ucGestures
    return chart.getBoundingClientRect().width - left - right
  }
  const share = (event) =>
    (event.clientX - chart.getBoundingClientRect().left - chart.ucGestures.left) / width()
  const time = (part, round) => {
    const { since, until, step } = chart.ucGestures
    return since + round(clip(part) * (until - since) / step) * step
  }
  const end = () => { shade?.remove(); start = shade = null }
  chart.addEventListener("pointerdown", (event) => {
    const part = share(event)
    if (event.button || part < 0 || part > 1) return
    start = { x: event.clientX, part, isMouse: event.pointerType !== "touch" }
  })
  chart.addEventListener("pointermove", (event) => {
    if (!start?.isMouse || !shade && Math.abs(event.clientX - start.x) < 5) return
    if (!shade) {
      chart.setPointerCapture(event.pointerId)
      shade = document.createElement("div")
      shade.className = "uc-shade"
      chart.append(shade)
    }
    const [a, b] = [start.part, clip(share(event))].sort((x, y) => x - y)
    shade.style.left = `${chart.ucGestures.left + a * width()}px`
    shade.style.width = `${(b - a) * width()}px`
  })
  chart.addEventListener("pointerup", (event) => {
    if (!start) return
    const { step, send } = chart.ucGestures
    const [a, b] = [start.part, clip(share(event))].sort((x, y) => x - y)
    const isDrag = shade !== null
    end()
    if (isDrag) {
      const first = time(a, Math.floor)
      send("zoomed", [first, Math.max(time(b, Math.ceil), first + step)])
    } else {
      const first = time(Math.min(a, 1 - 1e-9), Math.floor)
      send("opened", [first, first + step])
    }
  })
  chart.addEventListener("pointercancel", end)
}
"""
Interval = tuple[int, int]


def listen(
    chart: str,
    interval: Interval,
    step_ms: int,
    on_zoom: Callable[[Interval], None],
    on_open: Callable[[Interval], None],
) -> None:
    """Calls `on_zoom` with the time that was dragged over, `on_open` with that of a clicked bar.

    `chart` is the chart's key; `interval` what its time axis spans; results are whole steps.
    """
    name = f"gestures-{chart}"

    def take(kind: str, use: Callable[[Interval], None]) -> Callable[[], None]:
        def handle() -> None:
            found = st.session_state[name][kind]
            if found:
                first, last = (int(ms) for ms in found)
                use((first, max(last, first + LEAST_MS)))

        return handle

    since_ms, until_ms = interval
    sizes = {"since": since_ms, "until": until_ms, "step": step_ms}
    _component()(
        data=sizes | {"chart": chart, "left": LEFT_PX, "right": RIGHT_PX},
        key=name,
        on_zoomed_change=take("zoomed", on_zoom),
        on_opened_change=take("opened", on_open),
    )


@cache
def _component() -> Any:
    return st.components.v2.component(
        "undercam.chart_gestures", html="<span></span>", js=_SCRIPT, isolate_styles=False
    )
