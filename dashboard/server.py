"""The ASGI application that Streamlit runs: the pages behind the sign-in."""

from __future__ import annotations

from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from dashboard.sign_in.middleware import SignIn
from pipeline.config import load

app = App(
    Path(__file__).with_name("app.py"),
    middleware=[Middleware(SignIn, settings=load().dashboard)],
)
