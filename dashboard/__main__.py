"""The server's process, started by `dashboard.launch`: Streamlit, ended with its parent."""

from __future__ import annotations

import os
import signal
import sys
from threading import Thread

from streamlit.web import cli


def main() -> None:
    """`streamlit` with the arguments given, until standard input closes."""
    # The parent holds the other end and says nothing: it closes when the parent stops or dies.
    Thread(target=_stop_with_parent, daemon=True).start()
    cli.main(prog_name="dashboard")


def _stop_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
