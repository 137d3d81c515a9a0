"""The pages in a real browser: renewed in place, quiet, legible, and to themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dashboard.launch import serve
from pipeline.clock import wall_clock
from pipeline.config import load

pytestmark = pytest.mark.needs("chromium")

PATIENCE_MS = 60_000
"""For a machine that is busy with something else."""
REFRESH_S = 1.0
CHART = '[data-testid="stEChartsChart"] svg'
PAGES = {
    "Overview": ".uc-table",
    "Expressions": CHART,
    "Tracks": "[data-key]",
    "Compare": CHART,
    "Health": CHART,
    "About": "li",
}
"""What stands on each page once it is drawn."""
FAINT = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number)
  const over = ([r, g, b, a = 1], under) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a))
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map(
      (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const ground = (node) => node === null ? [255, 255, 255] : over(
    parse(getComputedStyle(node).backgroundColor), ground(node.parentElement))
  const opacity = (node) => node === null ? 1
    : getComputedStyle(node).opacity * opacity(node.parentElement)
  const faint = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement, box = node.getBoundingClientRect()
    if (!walk.currentNode.data.trim() || !box.width || !node.checkVisibility()) continue
    if (node.closest("style, script, button[disabled]")) continue
    const style = getComputedStyle(node), under = ground(node)
    const [r, g, b, a = 1] = parse(node.closest("svg") ? style.fill : style.color)
    const text = over([r, g, b, a * opacity(node)], under)
    const [high, low] = [light(text), light(under)].sort((x, y) => y - x)
    const ratio = (high + 0.05) / (low + 0.05)
    if (ratio < (node.closest("svg") ? 3 : 4.5))
      faint.push([walk.currentNode.data.trim(), ratio.toFixed(2)])
  }
  return faint
}"""
"""Texts whose contrast with what lies under them is too low to read: WCAG 2 level AA, for the
numbers along a chart's axes that of graphics."""


@pytest.fixture(scope="session")
def address(
    live_house: Any, tmp_path_factory: pytest.TempPathFactory, strange_app: Callable[[Path], None]
) -> Iterator[str]:
    """The pages, started in a folder with somebody else's modules of the same names as ours."""
    folder = tmp_path_factory.mktemp("strange")
    strange_app(folder)
    settings = load(dashboard={"port": 0, "refresh_s": REFRESH_S})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        served = serve(settings, live_house.url)
    with served:
        yield served.url


@pytest.fixture(scope="session")
def viewer(chromium: Any) -> Any:
    """One person's browser: what it has fetched once, it keeps."""
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, timezone_id="Europe/Vienna"
    )
    context.set_default_timeout(PATIENCE_MS)
    return context


class Visit:
    """A tab on the pages, and everything that was wrong in it."""

    def __init__(self, viewer: Any, address: str, scheme: str) -> None:
        self.wrong: list[str] = []
        self.tab = viewer.new_page()
        self.tab.emulate_media(color_scheme=scheme)
        self.tab.on("console", self._heard)
        self.tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.tab.on("request", self._asked)
        self.tab.goto(address)
        self.tab.get_by_role("heading", name="Overview", level=1).wait_for()

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.wrong.append(f"asked {request.url}")

    def go(self, name: str) -> Any:
        """To another page, as a person does; returns the tab when the page is drawn."""
        self.tab.get_by_test_id("stTopNavLink").filter(has_text=name).click()
        self.tab.get_by_role("heading", name=name, level=1).wait_for()
        self.tab.locator(PAGES[name]).first.wait_for()
        return self.tab

    def refreshed(self, times: int = 2) -> None:
        """Waits until the page has renewed itself so often."""
        stamp = self.tab.get_by_text("As of")
        for _ in range(times):
            before = stamp.inner_text()
            self.tab.wait_for_function("old => !document.body.innerText.includes(old)", arg=before)


@pytest.fixture
def visit(viewer: Any, address: str) -> Iterator[Visit]:
    made = Visit(viewer, address, "light")
    yield made
    made.tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_legible_and_to_itself(viewer: Any, address: str, scheme: str) -> None:
    visit = Visit(viewer, address, scheme)
    for name in PAGES:
        tab = visit.go(name)
        assert tab.evaluate(FAINT) == [], name
        assert tab.get_by_text("Undercam labels facial expressions").is_visible()
    visit.tab.close()
    assert visit.wrong == []


def test_new_rows_appear_in_place(visit: Visit, live_house: Any) -> None:
    tab = visit.go("Expressions")
    observations = tab.get_by_test_id("stMetric").filter(has_text="Observations")
    before = int(observations.get_by_test_id("stMetricValue").inner_text())
    drawn = tab.locator(CHART).inner_html()
    nodes = [CHART, '[data-testid="stMetric"]', '[data-testid="stSelectbox"]']
    tab.evaluate("here = 1")
    for node in nodes:
        tab.locator(node).first.evaluate("node => node.same = true")
    live_house.face("door", ["fear"] * 9, wall_clock() - 6_000, track=50)
    observations.get_by_text(str(before + 9), exact=True).wait_for()
    tab.wait_for_function(f"old => document.querySelector({CHART!r}).innerHTML !== old", arg=drawn)
    visit.refreshed()
    assert tab.evaluate("here") == 1, "the page was loaded again"
    assert [n for n in nodes if not tab.locator(n).first.evaluate("node => node.same")] == []
    _an_open_list_stays_open(visit)
    assert visit.wrong == []


def _an_open_list_stays_open(visit: Visit) -> None:
    visit.tab.get_by_test_id("stSelectbox").click()
    option = visit.tab.get_by_role("option", name="hall")
    option.wait_for()
    visit.refreshed()
    option.click()
    visit.tab.get_by_role("heading", name="Expressions seen by hall").wait_for()
    assert "camera=hall" in visit.tab.url


def test_choosing_a_face(visit: Visit) -> None:
    tab = visit.go("Tracks")
    by_key, by_mouse = (
        tab.locator(f'[data-key="trk:{name}"]') for name in ("hall:e1:1", "door:e1:2")
    )
    by_key.get_by_role("button").focus()
    visit.refreshed()
    tab.keyboard.press("Enter")
    tab.get_by_text("hall · 1 from").wait_for()
    by_mouse.get_by_text("neutral").click()
    tab.get_by_text("door · 2 from").wait_for()
    tab.locator(CHART).first.wait_for()
    tab.locator('[data-key="trk:door:e1:2"][aria-current]').wait_for()
    assert by_key.get_attribute("aria-current") is None
    assert visit.wrong == []


def test_trouble_is_told_and_passes(visit: Visit, live_house: Any) -> None:
    file = Path(live_house.url.removeprefix("sqlite:///"))
    tab = visit.go("Overview")
    away = file.rename(file.with_suffix(".away"))
    try:
        tab.get_by_text("No such database").wait_for()
    finally:
        away.rename(file)
    tab.get_by_test_id("stMetric").first.wait_for()
    assert tab.get_by_text("No such database").count() == 0
    assert visit.wrong == []


def yesterday_at(hour: int) -> int:
    """Milliseconds UTC of a full hour of yesterday in the viewer's zone."""
    today = datetime.now(ZoneInfo("Europe/Vienna")).replace(minute=0, second=0, microsecond=0)
    return round((today - timedelta(days=1)).replace(hour=hour).timestamp() * 1000)


def metric(tab: Any, label: str) -> Any:
    shown = tab.get_by_test_id("stMetric").filter(has_text=label)
    return shown.get_by_test_id("stMetricValue")


def click(tab: Any, wanted: Any) -> None:
    """Click something that has just appeared, once the page has been drawn to its end: before, a
    click may be lost."""
    wanted.wait_for()
    tab.locator('[data-test-script-state="notRunning"]').first.wait_for()
    tab.wait_for_timeout(500)
    wanted.click()


@pytest.mark.slow
def test_an_operators_questions_take_at_most_two_clicks(visit: Visit, live_house: Any) -> None:
    """Each begins on the Overview."""
    three, now = yesterday_at(15), wall_clock()
    live_house.face("hall", ["fear"] * 7, three, track=300)
    live_house.face("hall", ["anger"] * 45, now - 50_000, track=301, pace_ms=1_000)
    tab = visit.tab
    # Is everything up, and what happens now?
    tab.get_by_text("cameras need attention").wait_for()
    metric(tab, "Faces in view").wait_for()
    # Yesterday at 15:00, the camera in the hall.
    tab.locator("a[data-page]").filter(has_text="hall").click()
    tab.get_by_role("radio", name="yesterday").click()
    tab.get_by_text(f"{datetime.fromtimestamp(three / 1000):%a %-d %b} 00:00").wait_for()
    metric(tab, "Observations").get_by_text("7", exact=True).wait_for()
    assert {"camera=hall", "window=yesterday"} <= set(tab.url.partition("?")[2].split("&"))
    # Which faces were negative for long?
    visit.go("Tracks")
    click(tab, tab.get_by_role("button", name="Negative for longer than 30 s"))
    tab.wait_for_url("**negative=30**")
    # The camera and the time of the other page are still chosen.
    tab.get_by_text("No track in this time range fits.").wait_for()
    tab.get_by_role("radio", name="1 h", exact=True).click()
    tab.locator('[data-key="trk:hall:e1:301"]').wait_for()
    # How sure was it, how bad was the picture, and how often is such a label right?
    click(tab, tab.locator('[data-key="trk:hall:e1:301"] button'))
    for text in ("Uncertainty, mean", "Blur, 0 sharp to 1", "Where it says anger, it is right"):
        tab.get_by_text(text).wait_for()
    # Export.
    with tab.expect_download() as download:
        click(tab, tab.get_by_role("button", name="CSV"))
    assert b"trk:hall:e1:301" in Path(download.value.path()).read_bytes()
    # What was lost? How do cameras compare?
    visit.go("Health")
    tab.get_by_text("No event is known to be lost.").wait_for()
    visit.go("Compare")
    tab.get_by_text("Hours of the week").wait_for()
    assert visit.wrong == []


@pytest.mark.slow
def test_zooming_by_dragging_and_a_link_that_stays_true(
    visit: Visit, viewer: Any, live_house: Any
) -> None:
    now = wall_clock()
    live_house.face("door", ["happiness"] * 30, now - 1_800_000, track=400, pace_ms=5_000)
    tab = visit.go("Expressions")
    tab.get_by_role("radio", name="1 h", exact=True).click()
    chart = tab.locator('.st-key-timeline [data-testid="stEChartsChart"]')
    tab.get_by_text("One bar is 1 min.").wait_for()
    box, times = chart.bounding_box(), tab.locator(".uc-times")
    hour = times.inner_text()
    # The middle third, in which that face is.
    left, width, y = box["x"] + 55, box["width"] - 85, box["y"] + 100
    tab.mouse.move(left + width / 3, y)
    tab.mouse.down()
    tab.mouse.move(left + width / 2, y, steps=4)
    assert tab.locator(".uc-shade").count() == 1
    tab.mouse.move(left + 2 * width / 3, y, steps=4)
    tab.mouse.up()
    tab.wait_for_url("**from=**")
    times.filter(has_not_text=hour.splitlines()[0]).wait_for()
    metric(tab, "Observations").get_by_text("30", exact=True).wait_for()
    link, shown = tab.url, times.inner_text()
    other = viewer.new_page()
    other.goto(link)
    other.get_by_text(shown.splitlines()[0]).wait_for()
    metric(other, "Observations").get_by_text("30", exact=True).wait_for()
    other.close()
    # A click on the bar in the middle leads to its faces.
    bar = chart.locator("path[fill='#E4D21E' i]").first.bounding_box()
    tab.mouse.click(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    tab.get_by_role("heading", name="Tracks", level=1).wait_for()
    tab.locator('[data-key="trk:door:e1:400"]').wait_for()
    assert "camera=door" in tab.url
    assert visit.wrong == []
