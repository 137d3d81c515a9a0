"""Whether anybody reads what a command writes, as nobody does after `| head` has seen enough."""

from __future__ import annotations

import os
import select
import sys
from typing import TextIO


def is_reader_gone() -> bool:
    """Whether stdout or stderr is a pipe that nobody reads any more."""
    return any(_is_unread(stream) for stream in (sys.stdout, sys.stderr))


def let_go() -> None:
    """Let what is still to be written vanish: Python would complain of it at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if _is_unread(stream):
            os.dup2(null, stream.fileno())
    os.close(null)


def _is_unread(stream: TextIO | None) -> bool:
    try:
        number = stream.fileno() if stream else -1
    except (OSError, ValueError):  # it has no file, or is closed
        return False
    if number < 0:
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
