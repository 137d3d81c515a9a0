"""The command that holds a lock or a camera, in words that another command can show."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pipeline.redact import redact

MOST_CHARACTERS = 300
"""Longest description that is kept."""


@dataclass(frozen=True)
class Holder:
    """`incarnation`: unique to every command that is started; `who`: its process, machine, start
    and command line."""

    incarnation: str
    who: str

    @classmethod
    def here(cls) -> Holder:
        """This command."""
        name = Path(sys.argv[0]).name
        command = shlex.join(["undercam" if name == "__main__.py" else name, *sys.argv[1:]])
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        who = f"pid {os.getpid()} on {socket.gethostname()}, since {since}, `{redact(command)}`"
        return cls(uuid4().hex, who[:MOST_CHARACTERS])
