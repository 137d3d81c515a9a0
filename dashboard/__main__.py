"""The server process, started by `dashboard.launch`: Streamlit, which ends with its parent."""

from __future__ import annotations

import os
import signal
from threading import Thread

from streamlit import file_util, net_util
from streamlit.web import cli

STDIN = 0


def main() -> None:
    """Runs `streamlit` with the given arguments until standard input closes."""
    # The current folder may hold the settings of another Streamlit app: read only the user's own.
    file_util.get_project_streamlit_file_path = file_util.get_streamlit_file_path
    # For a connection from an unknown origin, Streamlit asks a server on the internet for its own
    # address. This program opens no connection that nobody asked for.
    net_util.get_external_ip = lambda: None
    # The parent holds the other end of the pipe and writes nothing: it closes when the parent dies.
    Thread(target=_stop_with_parent, daemon=True).start()
    cli.main(prog_name="dashboard")


def _stop_with_parent() -> None:
    # os.read, not sys.stdin: Python cannot exit while a thread blocks in a buffered read.
    while os.read(STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
