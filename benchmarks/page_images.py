"""Images of the dashboard's pages, for docs/guides/operate.md: made rows, a real browser.

    python -m benchmarks.page_images
    python -m benchmarks.page_images --all --out /tmp/pages      to look at every page

Fills a database in a temporary folder with a synthetic week (see `rows.py`), in which one camera is
offline, one is refused and one lags, serves the pages, and takes an image of each; with --all whole
pages, light and dark, 1440 and 390 pixels wide. It needs Playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import delete, update

from benchmarks.rows import fill
from dashboard.launch import serve
from pipeline.clock import wall_clock
from pipeline.config import load
from pipeline.records import CameraStatus
from pipeline.settings import CameraSettings
from pipeline.store.engine import for_writing, open_store
from pipeline.store.queries import TrackFilter, search_tracks
from pipeline.store.registry import register
from pipeline.store.schema import camera_status, observations
from pipeline.store.writer import StoreWriter

ROWS = 300_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
AHEAD_MS = 45_000
QUIETLY = ("--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")
CHART = '[data-testid="stEChartsChart"] svg'
NAMES = {"cam-0": "Front door", "cam-3": "Lobby, under the panel", "cam-5": "Back yard"}
GUIDE = "guide"
WIDTHS = {"wide": (1440, 900), "phone": (390, 844), GUIDE: (1440, 1180)}


def make_rows(url: str) -> str:
    """A week of faces, and cameras in different states now; returns the id of a long track."""
    engine, now = open_store(url), wall_clock()
    # A little into the future, so that there are faces in view when the images are taken.
    fill(engine, ROWS, now + AHEAD_MS)
    for camera, name in NAMES.items():
        register(engine, camera, CameraSettings(url="rtsp://10.0.0.7/live", display_name=name))
    states = {
        "cam-3": ("offline", 25, "no frame for 20 s"),
        "cam-5": ("refused", 190, "wrong user or password"),
        "cam-7": ("lagging", 4, "classifier is busy"),
    }
    with for_writing(engine).begin() as connection:
        for camera, (_, minutes, _) in states.items():
            since = now - minutes * 60_000
            later = camera_status.c.stored_ms > since, camera_status.c.camera == camera
            connection.execute(delete(camera_status).where(*later))
            seen = observations.c.captured_ms > since, observations.c.camera == camera
            if camera != "cam-7":
                connection.execute(delete(observations).where(*seen))
        connection.execute(delete(camera_status).where(camera_status.c.stored_ms > now - 60_000))
        day = camera_status.c.since_ms - camera_status.c.since_ms % DAY_MS
        connection.execute(update(camera_status).values(since_ms=day))
    for number in range(16):
        camera = f"cam-{number}"
        state, minutes, reason = states.get(camera, ("online", 3_000, ""))
        status = CameraStatus(
            id=CameraStatus.make_id(camera, "e0", 10**6 + number),
            camera=camera,
            run="e0",
            seq=10**6 + number,
            state=state,
            since_ms=now - minutes * 60_000,
            reason=reason,
            fps=0.0 if state in ("offline", "refused") else 14.9,
            lag_ms=2_300 if state == "lagging" else 90,
            shed={"newest wins": 1_840} if state == "lagging" else {},
        )
        StoreWriter(engine).write([status])
    longest = search_tracks(engine, now - HOUR_MS, now, TrackFilter(), sort="duration", limit=1)
    engine.dispose()
    return longest[0].id


@contextmanager
def browse() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIETLY))
        yield browser
        browser.close()


def take(browser: Any, url: str, track: str, out: Path, scheme: str, width: str) -> None:
    """One image of every page, from its top to its end; of the guide's, of what fits a screen."""
    x, y = WIDTHS[width]
    context = browser.new_context(
        viewport={"width": x, "height": y}, timezone_id="Europe/Vienna", color_scheme=scheme
    )
    context.set_default_timeout(60_000)
    tab = context.new_page()
    pages = {
        "overview": ("", "a[data-page]"),
        "expressions": ("expressions?camera=cam-0&window=24+h", CHART),
        "tracks": (f"tracks?window=1+h&duration=5&sort=duration&track={track}", CHART),
        "compare": ("compare?window=24+h", f"{CHART} >> nth=2"),
        "health": ("health", CHART),
        "about": ("about", "[data-testid=stMarkdown] li"),
    }
    if width == GUIDE:
        del pages["about"]  # it is nothing but text
    for name, (path, sign) in pages.items():
        tab.goto(f"{url}/{path}")
        tab.locator(sign).first.wait_for()
        tab.wait_for_timeout(1_500)
        if width == GUIDE:
            tab.screenshot(path=out / f"{name}.png")
            shrink(out / f"{name}.png")
            continue
        height = tab.evaluate(
            "document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight + 60"
        )
        tab.set_viewport_size({"width": x, "height": min(max(y, height), 4_000)})
        tab.wait_for_timeout(700)
        tab.screenshot(path=out / f"{name}-{width}-{scheme}.png")
        tab.set_viewport_size({"width": x, "height": y})
    context.close()


def shrink(path: Path) -> None:
    """Keep 256 colours, small areas as well as large ones: flat areas and text need no more."""
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    small.save(path, optimize=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("docs/figures/pages"), help="folder")
    parser.add_argument("--all", action="store_true", help="whole pages, light, dark and narrow")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = [(scheme, width) for scheme in ("light", "dark") for width in ("wide", "phone")]
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{folder}/week.db"
        track = make_rows(database)
        with serve(load(dashboard={"port": 0}), database) as served, browse() as browser:
            for scheme, width in wanted if options.all else [("light", GUIDE)]:
                take(browser, served.url, track, options.out, scheme, width)


if __name__ == "__main__":
    main()
