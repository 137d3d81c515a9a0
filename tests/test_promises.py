"""What SECURITY.md and the About page speak of is there: commands, options, settings and tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dashboard.views import about
from pipeline.cli.app import COMMANDS, load_command
from pipeline.config import Settings
from pipeline.store.schema import metadata

ROOT = Path(__file__).parent.parent
TEXTS = {
    "SECURITY.md": (ROOT / "SECURITY.md").read_text(encoding="utf-8"),
    "about": about._TEXT,
}


def spans(text: str) -> list[str]:
    """What stands in backquotes."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def options_of(words: list[str]) -> set[str]:
    """The options of a command; fails where there is no such command."""
    first, *others = words
    assert first in COMMANDS, f"no command: undercam {first}"
    command = load_command(first)
    for word in others:
        assert word in command.commands, f"no command: undercam {' '.join(words)}"
        command = command.commands[word]
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_spoken_of_is_there(text: str) -> None:
    sections = Settings.model_fields
    for span in spans(text):
        if span.startswith("undercam "):
            words = [word for word in span.split()[1:] if word.islower()]
            known = options_of([word for word in words if not word.startswith("-")])
            assert {word for word in words if word.startswith("-")} <= known, span
        elif re.fullmatch(r"[a-z]+\.[a-z_]+", span):
            section, key = span.split(".")
            assert key in sections[section].annotation.model_fields, span  # type: ignore[union-attr]
        elif re.fullmatch(r"[a-z]+_[a-z]+", span):
            assert span in metadata.tables, span


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_setting_is_promised_without_its_name(text: str) -> None:
    plain = " ".join(text.split())
    assert not re.search(r"unless a setting|command for (?:it|that) yet", plain)
    assert "no setting" in plain  # makes a camera store images
    assert {"undercam erase", "store.keep_days"} <= set(spans(text))  # delete rows


def test_no_setting_stores_images() -> None:
    """Whoever adds one corrects both texts."""
    keys = {key for name in Settings.model_fields for key in _keys(name)} - {"keep_days"}
    assert not [key for key in keys if re.search(r"store_|keep_|image|picture|retain", key)]


def _keys(section: str) -> list[str]:
    kind = Settings.model_fields[section].annotation
    return list(getattr(kind, "model_fields", {}))
