"""The server's process, started by `dashboard.launch`: Streamlit, ended with its parent."""

from __future__ import annotations

import os
import signal
from threading import Thread

from streamlit import file_util, net_util
from streamlit.web import cli

STDIN = 0


def main() -> None:
    """`streamlit` with the arguments given, until standard input closes."""
    # A folder in which somebody works on another Streamlit app holds settings that are not ours.
    file_util.get_project_streamlit_file_path = file_util.get_streamlit_file_path
    # For a connection from a strange page, Streamlit asks a server on the internet for our address.
    net_util.get_external_ip = lambda: None
    # The parent holds the other end and writes nothing: it closes when the parent stops or dies.
    Thread(target=_stop_with_parent, daemon=True).start()
    cli.main(prog_name="dashboard")


def _stop_with_parent() -> None:
    # Not through sys.stdin: Python cannot end while a thread waits inside one of its buffers.
    while os.read(STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
