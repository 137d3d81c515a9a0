"""`undercam dashboard`: serves the web pages."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from pipeline.cli.options import Config
from pipeline.cli.output import OUT, drop_unset
from pipeline.config import load, resolve
from pipeline.errors import ServiceError


def dashboard(
    config: Config = None,
    store: Annotated[str, Option(help="SQLAlchemy URL of the database, or a reference.")] = "",
    port: Annotated[int | None, Option(help="Port to listen on; 0: a free one.")] = None,
    base_path: Annotated[
        str, Option(help="Path under which the pages are served, such as /cameras.")
    ] = "",
) -> None:
    """Serve the dashboard, until Ctrl-C (exit code 130).

    The pages read the database and need none of the other commands to run.
    """
    from dashboard.launch import serve

    pages = {"port": port, "base_path": base_path}
    settings = load(config, **drop_unset({"store": {"url": store}, "dashboard": pages}))
    with serve(settings, resolve(settings.store.url)) as server:
        OUT.print(f"dashboard at {server.url}, press Ctrl-C to stop")
        server.wait()
        raise ServiceError("the dashboard server has ended", server.url, "see its messages above")
