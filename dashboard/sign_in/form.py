"""The form with which a user signs in: one HTML page that needs neither scripts nor other files."""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import quote

from starlette.responses import HTMLResponse

SIGN_IN, SIGN_OUT = "sign-in", "sign-out"
START, FINISH = "sign-in-start", "sign-in-done"
"""Paths of the pages: to the identity provider, and back from it. None has a slash, so that each is
in the folder of the pages, also where a proxy strips that folder's path."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_MARK = (
    '<svg class="mark" viewBox="0 0 168 32" role="img" aria-label="Undercam"><g fill="none" '
    'stroke="#4c86bd" stroke-width="2.6"><rect x="3" y="3" width="26" height="26" rx="7"/>'
    '<circle cx="16" cy="16" r="6.5"/></g><circle cx="16" cy="16" r="2.4" fill="#4c86bd"/>'
    '<text x="40" y="23.5" fill="#4c86bd" font-size="22" font-weight="600" '
    'font-family="system-ui, sans-serif">Undercam</text></svg>'
)
_FIELDS = """
<form method="post" action="{action}">
<label for="name">Name</label>
<input id="name" name="name" value="{name}" autocomplete="username" autocapitalize="none"
 spellcheck="false" maxlength="64" required{focus_name}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 maxlength="256" required{focus_password}>
<input type="hidden" name="next" value="{then}">
<button>Sign in</button>
</form>
"""


def show_form(
    root: str,
    then: str = "",
    *,
    message: str = "",
    name: str = "",
    has_users: bool = True,
    has_provider: bool = False,
    notice: str = "",
    status: int = 200,
) -> HTMLResponse:
    """The page at ROOT/sign-in. `message` says in one sentence why nobody is signed in; `then` is
    the page to go to afterwards, `notice` a line about the whole dashboard."""
    values = {"action": f"{root}{SIGN_IN}", "name": name, "then": then}
    escaped = {key: escape(value) for key, value in values.items()}
    focus = {
        "focus_name": "" if name else " autofocus",
        "focus_password": " autofocus" if name else "",
    }
    parts = [
        f'<p class="message" role="alert">{escape(message)}</p>' if message else "",
        _FIELDS.format(**escaped, **focus) if has_users else "",
        '<p class="or">or</p>' if has_users and has_provider else "",
        f'<a class="button" href="{escape(root)}{START}?next={quote(then)}">Single sign-on</a>'
        if has_provider
        else "",
        f'<p class="notice">{escape(notice)}</p>' if notice else "",
    ]
    return HTMLResponse(_page("Sign in", "".join(parts)), status, HEADERS)


def show_redirect(address: str) -> HTMLResponse:
    """A page of our own that goes on to another one: a browser sends no SameSite=Strict cookie on
    the way from a page of others, and so not through a redirect either."""
    refresh = f'<meta http-equiv="refresh" content="0;url={escape(address)}">'
    link = f'<p><a href="{escape(address)}">Go on to the dashboard</a></p>'
    return HTMLResponse(_page("Undercam", link, refresh), 200, HEADERS)


def _page(title: str, body: str, head: str = "") -> str:
    style = Path(__file__).with_name("form.css").read_text("utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{title} · Undercam</title>{head}<style>{style}</style></head>"
        f"<body><main>{_MARK}<h1>{title}</h1>{body}</main></body></html>"
    )
