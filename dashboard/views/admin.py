"""The Admin page: cameras, dead letters and erasure, for admins only.

Everything goes through the control interface of `undercam run`; what cannot be undone is asked
once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import streamlit as st

from dashboard.access import may_change
from dashboard.control import OUTCOME, change, connect
from dashboard.page import escape_markdown, show_error, show_notice, viewer_zone
from dashboard.time_format import format_moment
from pipeline.clock import wall_clock
from pipeline.control_client import ControlClient
from pipeline.erasure import make_erasure
from pipeline.errors import UndercamError

MODES = ("", "fast", "robust", "auto")
_MODE_NAMES = {"": "as configured"}
Values = dict[str, Any]


def show() -> None:
    """The page; it is not refreshed, so that nothing changes under an admin's hands."""
    st.title("Admin", anchor=False)
    if not may_change():
        show_notice("Only an admin may change anything.", "Sign in as one.")
        return
    client = connect()
    if client is None:
        show_notice(
            "No control interface was found.",
            "Start `undercam run` on this machine, or set control.url and control.token",
        )
        return
    is_done, outcome = st.session_state.pop(OUTCOME, (True, ""))
    if outcome:
        show_notice("Done" if is_done else "Not done", outcome)
    try:
        cameras = client.overview()
    except UndercamError as error:
        show_error(error)
        return
    _show_cameras(cameras)
    _show_dead_letters()
    _show_erasure(cameras)


def _show_cameras(cameras: dict[str, Values]) -> None:
    st.subheader("Cameras", anchor=False)
    if not cameras:
        st.write("No camera is registered.")
        return
    camera = st.selectbox("Camera", list(cameras), key="admin camera")
    own = cameras[camera].get("settings", cameras[camera])
    with st.form(f"camera {camera}", border=True):
        enabled = st.checkbox("Enabled: it is read", value=own.get("enabled", True))
        mode = st.selectbox(
            "Mode",
            MODES,
            index=MODES.index(own.get("mode") or ""),
            format_func=lambda name: _MODE_NAMES.get(name, name),
        )
        purpose = st.text_input(
            "Purpose note, for the people in front of it", own.get("purpose", ""), max_chars=500
        )
        is_sent = st.form_submit_button("Save")
    if is_sent:
        values = {"enabled": enabled, "mode": mode or None, "purpose": purpose}
        _do(f"change camera {camera}", lambda client: _save(client, camera, values))


def _save(client: ControlClient, camera: str, values: Values) -> str:
    before, after = client.change(camera, values)
    changes = [f"{key} is now {after[key]!r}" for key in values if before.get(key) != after[key]]
    return f"{camera}: {', '.join(changes) or 'no changes'}"


def _show_dead_letters() -> None:
    st.subheader("Dead letters", anchor=False)
    st.write("Records that could not be stored; an upgrade may have made them readable.")
    if st.button("Store those that can be read now"):
        _do("replay dead letters", lambda client: f"stored {client.replay_dead_letters():,}")


def _show_erasure(cameras: dict[str, Values]) -> None:
    st.subheader("Erase for ever", anchor=False)
    st.write(
        "Observations and tracks up to a time, in the database and in all outboxes. What is sent "
        "again later is not stored."
    )
    with st.form("erasure", border=True):
        camera = st.selectbox("Camera", ["", *cameras], format_func=lambda c: c or "all cameras")
        time = st.datetime_input(f"Captured before ({viewer_zone()})", value=None)
        is_wanted = st.form_submit_button("Erase …")
    if is_wanted and isinstance(time, datetime):
        before_ms = round(time.replace(tzinfo=viewer_zone()).timestamp() * 1000)
        _confirm_erasure(camera or "", before_ms)
    elif is_wanted:
        show_notice("No time was given.", "Give the time up to which to erase.")


@st.dialog("Erase for ever?")
def _confirm_erasure(camera: str, before_ms: int) -> None:
    of = f"of {camera}" if camera else "of all cameras"
    moment = format_moment(before_ms, viewer_zone())
    st.write(
        escape_markdown(f"Everything {of} that was captured before {moment} {viewer_zone()}.")
        + " **This cannot be undone.**"
    )
    if st.button("Erase it", type="primary"):
        _do(f"erase {of} before {moment}", lambda client: _erase(client, camera, before_ms))


def _erase(client: ControlClient, camera: str, before_ms: int) -> str:
    counts, _ = client.erase(make_erasure(wall_clock(), camera=camera, before_ms=before_ms))
    return f"erased {counts['observations']:,} observations and {counts['tracks']:,} tracks"


def _do(what: str, work: Any) -> None:
    change(what, work)
    st.rerun()
