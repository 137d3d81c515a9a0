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
export default function ({ data, parentElement, setTriggerValue }) {
  const chart = document.querySelector(`.st-key-${data.chart} [data-testid="stEChartsChart"]`)
    ?? document.querySelector(`.st-key-${data.chart}`)
  if (!chart) return
  chart.style.position = "relative"
  chart.style.cursor = "crosshair"
  const share = (event) => {
    const box = chart.getBoundingClientRect()
    const width = box.width - data.left - data.right
    return (event.clientX - box.left - data.left) / width
  }
  const clip = (part) => Math.min(1, Math.max(0, part))
  const step = (part, round) => {
    const steps = (data.until - data.since) / data.step
    return Math.round(data.since + round(clip(part) * steps) * data.step)
  }
  let start = null, shade = null
  const end = () => { shade?.remove(); start = shade = null }
  const down = (event) => {
    const part = share(event)
    if (event.button || part < 0 || part > 1) return
    start = { x: event.clientX, part, isMouse: event.pointerType !== "touch" }
  }
  const move = (event) => {
    if (!start?.isMouse || Math.abs(event.clientX - start.x) < 5 && !shade) return
    if (!shade) {
      shade = document.createElement("div")
      shade.className = "uc-shade"
      chart.append(shade)
    }
    const box = chart.getBoundingClientRect(), width = box.width - data.left - data.right
    const [a, b] = [start.part, clip(share(event))].sort((x, y) => x - y)
    shade.style.left = `${data.left + a * width}px`
    shade.style.width = `${(b - a) * width}px`
  }
  const up = (event) => {
    if (!start) return
    const [a, b] = [start.part, clip(share(event))].sort((x, y) => x - y)
    const isDrag = shade !== null
    end()
    if (isDrag) {
      const first = step(a, Math.floor), last = Math.max(step(b, Math.ceil), first + data.step)
      setTriggerValue("zoomed", [first, last])
    } else {
      const first = step(Math.min(a, 1 - 1e-9), Math.floor)
      setTriggerValue("opened", [first, first + data.step])
    }
  }
  chart.addEventListener("pointerdown", down)
  window.addEventListener("pointermove", move)
  window.addEventListener("pointerup", up)
  window.addEventListener("pointercancel", end)
  return () => {
    end()
    chart.removeEventListener("pointerdown", down)
    window.removeEventListener("pointermove", move)
    window.removeEventListener("pointerup", up)
    window.removeEventListener("pointercancel", end)
  }
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
