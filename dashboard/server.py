"""The ASGI application that Streamlit runs: the API and its token, the pages and their sign-in."""

from __future__ import annotations

from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from dashboard.api.gate import ApiGate
from dashboard.sign_in.middleware import SignIn
from pipeline.config import load

settings = load()
app = App(
    Path(__file__).with_name("app.py"),
    middleware=[
        Middleware(ApiGate, settings=settings),
        Middleware(SignIn, settings=settings.dashboard),
    ],
)
