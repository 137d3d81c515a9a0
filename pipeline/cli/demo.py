"""`undercam demo`: a camera, the pipeline, a database and the dashboard, with nothing to set up."""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from pipeline.cli.options import MOST_SECONDS
from pipeline.cli.output import ERRORS, print_json
from pipeline.cli.state import SAMPLE, close_to_others, state_folder
from pipeline.clock import wall_clock
from pipeline.config import Settings, load, resolve
from pipeline.permissions import FILE, make_folder
from pipeline.records import Event, FaceObserved
from pipeline.redact import redact

if TYPE_CHECKING:
    from pipeline.live.stage_runner import RunSummary
    from pipeline.store.writer import StoreWriter

CAMERA = "sample"
ANALYSE_FPS = 5.0
FLUSH_MS = 500


def demo(
    seconds: Annotated[
        float,
        Option(help="How long to play; 0: until Ctrl-C.", min=0, max=MOST_SECONDS),
    ] = 0.0,
    headless: Annotated[bool, Option("--headless", help="Open no browser window.")] = False,
    config: Annotated[Path | None, Option("-c", "--config", help="A TOML file.")] = None,
    port: Annotated[
        int, Option(help="Port of the dashboard; 0: a free one.", min=0, max=65535)
    ] = 0,
) -> None:
    """Play real faces through the whole pipeline and watch them on the dashboard.

    The faces come from photographs inside the installed packages. The last line is one JSON object.
    """
    from dashboard.launch import serve
    from pipeline.media.sample_clip import write_sample
    from pipeline.store.engine import use_store
    from pipeline.store.writer import StoreWriter

    settings = load(config, source={"analyse_fps": ANALYSE_FPS}, dashboard={"port": port})
    url = resolve(settings.store.url)
    with ExitStack() as stack:
        stack.enter_context(state_folder(settings))
        clip = SAMPLE
        if not clip.exists():
            ERRORS.print("making the sample clip from photographs in the installed packages")
            make_folder(clip.parent)
            write_sample(clip)
            clip.chmod(FILE)
            close_to_others([clip])
        engine = stack.enter_context(use_store(url, settings.store.busy_timeout_s))
        server = stack.enter_context(serve(settings, url))
        until = f"for {seconds:g} s" if seconds else "until Ctrl-C"
        ERRORS.print(f"dashboard at {server.url}, {until}")
        if not headless:
            webbrowser.open(server.url)
        player = _Player(settings, clip, StoreWriter(engine, batch_rows=settings.store.batch_rows))
        try:
            player.play(seconds)
        except KeyboardInterrupt:
            ERRORS.print("stopped")
        print_json(
            {
                "dashboard": server.url,
                "database": redact(url.removeprefix("sqlite:///")),
                "tracks": player.tracks,
                "observations": player.observations,
                "shed": player.shed,
                "ok": player.observations > 0 and server.is_running,
            }
        )


class _Player:
    """Plays the clip as a live camera would, again and again, into the store."""

    def __init__(self, settings: Settings, clip: Path, writer: StoreWriter) -> None:
        from pipeline.stages.classify import open_classify
        from pipeline.stages.detect import open_detect

        self.tracks = self.observations = 0
        self.shed: dict[str, int] = {}
        self._settings, self._clip, self._writer = settings, clip, writer
        self._detect = open_detect(settings.detector)
        self._classify = open_classify(settings.emotion)
        self._waiting: list[Event] = []
        self._written_ms = 0

    def play(self, seconds: float) -> None:
        """Play for so many seconds, or for ever if 0; each time round is a run of its own."""
        from pipeline.live.stage_runner import run_stages
        from pipeline.stages.source.file import VideoSource

        end_s = time.monotonic() + seconds if seconds else float("inf")
        try:
            while time.monotonic() < end_s:
                run = f"e{wall_clock()}"
                fps = self._settings.source.analyse_fps
                with VideoSource(self._clip, CAMERA, run, realtime=True, analyse_fps=fps) as source:
                    summary = run_stages(
                        source,
                        self._detect,
                        self._classify,
                        self._settings,
                        self._take,
                        should_stop=lambda: time.monotonic() >= end_s,
                    )
                self._count(summary)
        finally:
            self._flush()

    def _take(self, events: Sequence[Event]) -> None:
        self.observations += sum(isinstance(event, FaceObserved) for event in events)
        self._waiting += events
        if wall_clock() - self._written_ms >= FLUSH_MS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write(self._waiting)
        self._waiting.clear()
        self._written_ms = wall_clock()

    def _count(self, summary: RunSummary) -> None:
        self.tracks += len(summary.tracks)
        for cause, frames in summary.shed.items():
            self.shed[cause] = self.shed.get(cause, 0) + frames
