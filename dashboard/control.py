"""What an admin may do, through the supervisor's control interface alone, and the log of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import streamlit as st

from dashboard.access import current_user, may_change
from dashboard.database import settings
from pipeline.control_client import ControlClient, find_control
from pipeline.errors import UndercamError

Result = TypeVar("Result")
OUTCOME = "last change"
"""Key in the session: what the last change did, in a sentence, and whether it was done."""


def connect() -> ControlClient | None:
    """The client of the running `undercam run`; None where none can be found. Nothing is sent."""
    try:
        return find_control(settings())
    except UndercamError:
        return None


def read_delivery() -> dict[str, Any] | None:
    """What the supervisor says of its outboxes: `waiting` events and a `fault`; None where it does
    not answer."""
    client = connect()
    try:
        return client.health() if client else None
    except UndercamError:
        return None


def change(what: str, work: Callable[[ControlClient], str]) -> None:
    """Does what an admin wants and logs it; `work` returns the outcome in words.

    For callbacks. Whether this user may is asked here, right before.
    """
    user = current_user()
    if user is None or not may_change():
        st.session_state[OUTCOME] = (False, "Only an admin may do that.")
        return
    client = connect()
    if client is None:
        st.session_state[OUTCOME] = (False, "No `undercam run` answers: see control.url.")
        return
    try:
        outcome = work(client)
    except UndercamError as error:
        _log(user.name, f"{what}: refused: {error.what}")
        st.session_state[OUTCOME] = (False, f"{error.what}: {error.where}: {error.remedy}")
    else:
        _log(user.name, f"{what}: {outcome}")
        st.session_state[OUTCOME] = (True, outcome)


def _log(user: str, text: str) -> None:
    # One line whatever the names hold: what others wrote must not look like a line of ours.
    line = " ".join(f"{user} {text}".split())
    sys.stderr.write(f"undercam: dashboard: {line}\n")
    sys.stderr.flush()
