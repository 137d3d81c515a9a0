"""A check tests one part within a time limit; its result is a finding, also when it raises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UndercamError
from pipeline.redact import redact

LOCAL_TIMEOUT_S, REMOTE_TIMEOUT_S = 60.0, 15.0
"""For what this machine computes, and for services and cameras, which may never answer."""
LATE_EXIT_CODE = 4
Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What a check found, the remedy, and the exit code of a failure."""

    status: Status
    found: str
    remedy: str = ""
    exit_code: int = 0

    @classmethod
    def from_error(cls, error: UndercamError) -> Finding:
        """The failure that an error describes."""
        found = one_line(f"{error.what}: {error.where}")
        return cls("fail", found, one_line(error.remedy), error.exit_code)


@dataclass(frozen=True)
class Check:
    """`probe` returns a short description of what it found, or a finding; raises UndercamError."""

    probe: Callable[[], str | Finding]
    timeout_s: float = REMOTE_TIMEOUT_S


def warning(found: str, remedy: str) -> Finding:
    """A finding about a part that works now but may fail later."""
    return Finding("warn", found, remedy)


def run_checks(checks: Mapping[str, Check]) -> dict[str, Finding]:
    """Run all checks concurrently; one past its timeout has failed, and its thread is abandoned."""
    found: dict[str, Finding] = {}

    def run(name: str, check: Check) -> None:
        found[name] = _run_check(check)

    began_s = time.monotonic()
    threads = {
        name: threading.Thread(target=run, args=(name, check), name=f"check {name}", daemon=True)
        for name, check in checks.items()
    }
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, began_s + checks[name].timeout_s - time.monotonic()))
    return {name: found.get(name) or _late(checks[name]) for name in checks}


def one_line(text: str) -> str:
    """Text without line breaks and credentials."""
    return redact(" ".join(text.split()))


def _run_check(check: Check) -> Finding:
    try:
        found = check.probe()
    except UndercamError as error:
        return Finding.from_error(error)
    except Exception as error:  # noqa: BLE001 - a check that fails in a new way is a finding too
        what = one_line(f"{type(error).__name__}: {error}")
        return Finding("fail", what, "unexpected: check its settings, and report this fault", 1)
    return found if isinstance(found, Finding) else Finding("ok", one_line(found))


def _late(check: Check) -> Finding:
    found = f"no answer within {check.timeout_s:.0f} s"
    return Finding("fail", found, "check that it runs and can be reached", LATE_EXIT_CODE)
