"""The server process, started by `dashboard.launch`: Streamlit, which ends with its parent."""

from __future__ import annotations

import logging
import os
import signal
import sys
from threading import Thread

from streamlit import file_util, net_util
from streamlit.web import cli

from dashboard.sign_in.users import UsersFile
from pipeline.config import load

STDIN = 0


def main() -> None:
    """Runs `streamlit` with the given arguments until standard input closes."""
    # The current folder may hold the settings of another Streamlit app: read only the user's own.
    file_util.get_project_streamlit_file_path = file_util.get_streamlit_file_path
    # For a connection from an unknown origin, Streamlit asks a server on the internet for its own
    # address. This program opens no connection that nobody asked for.
    net_util.get_external_ip = lambda: None
    # uvicorn reports its start and end, on stderr.
    logging.disable(logging.WARNING)
    # uvicorn raises a signal again when it has ended for it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    _warn()
    # The parent holds the other end of the pipe and writes nothing: it closes when the parent dies.
    Thread(target=_stop_with_parent, daemon=True).start()
    cli.main(prog_name="dashboard")


def _warn() -> None:
    wanted = load().dashboard
    if exposure := wanted.find_exposure():
        remedies = [
            text
            for text, is_done in (
                ("dashboard.users_file or dashboard.oidc", wanted.has_sign_in),
                ("dashboard.certificate or dashboard.tls_by_proxy", wanted.has_tls),
            )
            if not is_done
        ]
        remedy = ", and ".join(remedies)
        sys.stderr.write(f"undercam: the pages are {exposure}: {wanted.host}: set {remedy}\n")
    if wanted.users_file and not UsersFile(wanted.users_file).accounts():
        sys.stderr.write(
            f"undercam: nobody can sign in yet: {wanted.users_file}: make a user with "
            f"`undercam users add NAME --role admin --file {wanted.users_file}`\n"
        )


def _stop_with_parent() -> None:
    # os.read, not sys.stdin: Python cannot exit while a thread blocks in a buffered read.
    while os.read(STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
