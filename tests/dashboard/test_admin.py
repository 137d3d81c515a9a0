"""What an admin may do, that nobody else may, and the line that is written of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import control
from dashboard.sign_in.users import User
from dashboard.views import admin
from pipeline.errors import ConfigError

Page = Callable[..., AppTest]


class FakeClient:
    """A control interface with one camera."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.settings = {"enabled": True, "mode": None, "purpose": "", "url": "rtsp://10.0.0.7/a"}

    def overview(self) -> dict[str, Any]:
        return {"door": self.settings | {"state": "online", "reason": "", "fps": 15.0}}

    def change(self, camera: str, values: dict[str, Any]) -> Any:
        self.calls.append((camera, values))
        if values.get("mode") == "robust":
            raise ConfigError("no route robust", "emotion.routes", "configure\nit")
        return self.settings, self.settings | values

    def replay_dead_letters(self) -> int:
        self.calls.append("replay")
        return 7

    def erase(self, erasure: Any) -> Any:
        self.calls.append((erasure.camera, erasure.before_ms))
        return {"observations": 5, "tracks": 1}, ["door"]


@pytest.fixture
def client(url: str, monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    made = FakeClient()
    monkeypatch.setattr(control, "find_control", lambda _: made)
    return made


def sign_in(monkeypatch: pytest.MonkeyPatch, user: User | None) -> None:
    is_admin = user is not None and user.role == "admin"
    monkeypatch.setattr(control, "current_user", lambda: user)
    for module in (control, admin):
        monkeypatch.setattr(module, "may_change", lambda: is_admin)


@pytest.mark.parametrize("user", [None, User("bert", "viewer")])
def test_nobody_else(
    page: Page, client: FakeClient, monkeypatch: pytest.MonkeyPatch, user: User | None
) -> None:
    sign_in(monkeypatch, user)
    shown = page("admin")
    assert not shown.exception
    assert [*shown.button, *shown.selectbox] == []
    assert "Only an admin may change anything." in str(shown.get("html")[0].proto.body)
    monkeypatch.setattr(control.st, "session_state", {})
    control.change("erase all", lambda one: str(one.replay_dead_letters()))
    assert control.st.session_state[control.OUTCOME][0] is False
    assert client.calls == []


def test_an_admin_changes_a_camera(
    page: Page,
    client: FakeClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sign_in(monkeypatch, User("anna", "admin"))
    shown = page("admin")
    shown.checkbox[0].uncheck()
    shown.text_input[0].set_value("Opens the door.\nroot did it")
    next(b for b in shown.button if b.label == "Save").click().run()
    assert not shown.exception
    [(camera, values)] = client.calls
    assert (camera, values["enabled"], values["mode"]) == ("door", False, None)
    [line] = [one for one in capsys.readouterr().err.splitlines() if "undercam: dashboard" in one]
    assert line.startswith("undercam: dashboard: anna change camera door: door: enabled is now")
    assert "Done" in " ".join(one.proto.body for one in shown.get("html"))


def test_a_refusal_is_shown_and_logged(
    page: Page,
    client: FakeClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sign_in(monkeypatch, User("anna", "admin"))
    shown = page("admin")
    shown.selectbox[1].select("robust")
    next(b for b in shown.button if b.label == "Save").click().run()
    assert "No route robust" in " ".join(one.proto.body for one in shown.get("html"))
    assert "anna change camera door: refused: no route robust" in capsys.readouterr().err


def test_dead_letters_are_replayed(
    page: Page, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(monkeypatch, User("anna", "admin"))
    shown = page("admin")
    next(b for b in shown.button if b.label.startswith("Store those")).click().run()
    assert client.calls == ["replay"]
    assert "Stored 7" in " ".join(one.proto.body for one in shown.get("html"))


def test_erasing_asks_first(
    page: Page, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(monkeypatch, User("anna", "admin"))
    shown = page("admin")
    next(b for b in shown.button if b.label == "Erase …").click().run()
    assert "No time was given." in " ".join(one.proto.body for one in shown.get("html"))
    assert client.calls == []


def test_without_a_running_command(page: Page, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(monkeypatch, User("anna", "admin"))
    monkeypatch.setattr(control, "find_control", lambda _: None)
    assert "No control interface was found." in page("admin").get("html")[0].proto.body
