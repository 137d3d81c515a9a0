"""What the guides have to be copied is right: settings are settings, links lead to a heading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.config import Settings, load
from pipeline.schemas import list_settings

ROOT = Path(__file__).parent.parent
FILES = ("toml", "yaml", "py")
"""Endings of names that are no settings."""
GUIDES = [*sorted(ROOT.glob("docs/guides/*.md")), ROOT / "README.md", ROOT / "SECURITY.md"]


def blocks(guide: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", guide.read_text("utf-8"), re.S)


EXAMPLES = [
    pytest.param(block, id=f"{guide.stem}-{number}")
    for guide in GUIDES
    for number, block in enumerate(blocks(guide, "toml"), 1)
]


@pytest.mark.parametrize("block", EXAMPLES)
def test_an_example_of_settings_can_be_copied(tmp_path: Path, block: str) -> None:
    file = tmp_path / "undercam.toml"
    file.write_text(block, "utf-8")
    assert load(file) != Settings()


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_settings_that_a_guide_names_exist(guide: Path) -> None:
    known = {f"{row.table}.{row.key}".replace("NAME", "*") for row in list_settings()}
    sections = {name.partition(".")[0] for name in known}
    text = re.sub(r"```.*?```", "", guide.read_text("utf-8"), flags=re.S)
    named = re.findall(r"`([a-z_]+\.[A-Za-z_.]+)(?: = [^`]*)?`", text)
    ours = {
        name
        for name in named
        if name.partition(".")[0] in sections and name.rpartition(".")[2] not in FILES
    }
    assert {name for name in ours if name.replace("NAME", "*") not in known | sections} == set()


def anchors(path: Path) -> set[str]:
    """What a link may name behind `#`, as GitHub makes it of headings."""
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_links_lead_to_headings_that_exist(guide: Path) -> None:
    links = re.findall(r"\]\(([^):]*)#([^)]+)\)", guide.read_text("utf-8"))
    places = [((guide.parent / name) if name else guide, anchor) for name, anchor in links]
    assert [(path.name, a) for path, a in places if a not in anchors(path)] == []
