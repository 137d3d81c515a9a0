"""A check tries one part within its time; whatever happens in it is a finding, and never more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UndercamError
from pipeline.redact import redact

NEAR_S, FAR_S = 60.0, 15.0
"""For what this machine computes, and for what lies elsewhere: that may never answer."""
LATE_EXIT_CODE = 4
Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What a check found, what a person does about it, and the exit code of a failure."""

    status: Status
    found: str
    remedy: str = ""
    exit_code: int = 0

    @classmethod
    def of(cls, error: UndercamError) -> Finding:
        """A failure that the part itself explains."""
        found = one_line(f"{error.what}: {error.where}")
        return cls("fail", found, one_line(error.remedy), error.exit_code)


@dataclass(frozen=True)
class Check:
    """`look` says in a few words what it found, or gives the finding; raises UndercamError."""

    look: Callable[[], str | Finding]
    within_s: float = FAR_S


def warning(found: str, remedy: str) -> Finding:
    """Something that works, and may not for long."""
    return Finding("warn", found, remedy)


def run_checks(checks: Mapping[str, Check]) -> dict[str, Finding]:
    """All of them at once; a check that is late has failed, and is left to itself."""
    found: dict[str, Finding] = {}

    def run(name: str, check: Check) -> None:
        found[name] = _tried(check)

    began_s = time.monotonic()
    threads = {
        name: threading.Thread(target=run, args=(name, check), name=f"check {name}", daemon=True)
        for name, check in checks.items()
    }
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, began_s + checks[name].within_s - time.monotonic()))
    return {name: found.get(name) or _late(checks[name]) for name in checks}


def one_line(text: str) -> str:
    """Text without line breaks and credentials."""
    return redact(" ".join(text.split()))


def _tried(check: Check) -> Finding:
    try:
        found = check.look()
    except UndercamError as error:
        return Finding.of(error)
    except Exception as error:  # noqa: BLE001 - a check that fails in a new way is a finding too
        what = one_line(f"{type(error).__name__}: {error}")
        return Finding("fail", what, "nobody foresaw this: see its setting, and report it", 1)
    return found if isinstance(found, Finding) else Finding("ok", one_line(found))


def _late(check: Check) -> Finding:
    found = f"no answer within {check.within_s:.0f} s"
    return Finding(
        "fail", found, "see whether it runs, and whether it can be reached", LATE_EXIT_CODE
    )
