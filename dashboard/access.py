"""Who looks at the pages, and what they may do."""

from __future__ import annotations

from html import escape
from typing import cast
from urllib.parse import unquote

import streamlit as st

from dashboard.database import settings
from dashboard.sign_in.form import SIGN_OUT
from dashboard.sign_in.middleware import ROLE_HEADER, USER_HEADER
from dashboard.sign_in.users import Role, User

_RELOAD_WHEN_OVER = """
window.undercamSession ??= setInterval(async () => {
  const url = document.querySelector("form.uc-user")?.action.replace(/sign-out$/, "")
  const reply = url && await fetch(url + "_stcore/host-config").catch(() => null)
  if (reply?.status === 401) location.reload()
}, 5000)
"""
"""Shows the form when the session is over; Streamlit itself would show a connection error."""


def current_user() -> User | None:
    """Who has signed in; None where nobody has to."""
    if not settings().dashboard.has_sign_in:
        return None
    # Set by `dashboard.sign_in.middleware`, which removes what a browser sends under these names.
    name, role = st.context.headers.get(USER_HEADER), st.context.headers.get(ROLE_HEADER)
    return User(unquote(name), cast(Role, role)) if name and role else None


def may_change() -> bool:
    """Whether this user may change anything: an admin only, so nobody where there is no sign-in.

    Everything in the pages that changes a state asks this right before it does.
    """
    user = current_user()
    return user is not None and user.role == "admin"


def show_user() -> None:
    """Who has signed in, and the button that ends it: a form, so that no link can."""
    user = current_user()
    if user is None:
        return
    base = settings().dashboard.base_path.strip("/")
    action = f"/{base}/{SIGN_OUT}" if base else SIGN_OUT
    st.html(
        f'<form class="uc-user" method="post" action="{escape(action)}"><span>'
        f"{escape(user.name)} · {user.role}</span><button>Sign out</button></form>"
        f"<script>{_RELOAD_WHEN_OVER}</script>",
        unsafe_allow_javascript=True,
    )


def show_exposure() -> None:
    """A line where the network can read more than it should."""
    exposure = settings().dashboard.find_exposure()
    if exposure:
        st.html(
            f'<p class="uc-exposure">These pages are {exposure}: see “Sign-in” in the guide '
            "“Deploy”.</p>"
        )
