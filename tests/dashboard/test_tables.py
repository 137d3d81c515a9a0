"""Tables: what they hold is text, whoever wrote it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from dashboard.no_data import NoData
from dashboard.tables import (
    LABELS,
    Markup,
    label_shares,
    link,
    no_data_strip,
    share_table,
    stacked_bar,
    table,
    two_lines,
)
from pipeline.store.queries import Shares, StateInterval


class Tags(HTMLParser):
    """The tags of a text, each with the names of its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))


@given(st.text())
def test_text_is_never_markup(text: str) -> None:
    def tags(written: str) -> list[tuple[str, list[str]]]:
        cells = [[written], [two_lines(written, link(written, "tracks", {"camera": written}))]]
        return Tags(table({written: ""}, cells, keys=["a", "b"])).found

    assert tags(text) == tags("")


def test_script_is_shown_not_run() -> None:
    made = table({"Why": ""}, [["<script>alert(1)</script>"], [Markup("<b>ours</b>")]])
    assert "<script>" not in made
    assert "&lt;script&gt;" in made
    assert "<b>ours</b>" in made


@given(st.dictionaries(st.sampled_from(LABELS), st.integers(0, 1_000)))
def test_shares_sum_to_one_or_nothing(counts: dict[str, int]) -> None:
    total = sum(label_shares(Shares(sum(counts.values()), counts, (0.0,) * 8)).values())
    assert abs(total - (1 if any(counts.values()) else 0)) < 1e-9


def test_bars_keep_the_order_of_the_labels() -> None:
    bar = stacked_bar({"unknown": 0.25, "happiness": 0.5, "fear": 0.0, "neutral": 0.25})
    assert re.findall(r'title="(\w+) (\d+)%"', bar) == [
        ("neutral", "25"),
        ("happiness", "50"),
        ("unknown", "25"),
    ]


def test_every_label_has_its_row() -> None:
    made = share_table(Shares(4, {"fear": 3, "unknown": 1}, (0.1, *[0.0] * 5, 0.8, 0.1)))
    assert made.count("<tr role=") == len(LABELS) + 1
    assert "75.0%" in made
    assert "0.80" in made


def test_the_selected_row_is_highlighted() -> None:
    made = table({"": ""}, [["a"], ["b"]], keys=["1", "2"], selected="2")
    assert made.count("aria-current") == 1
    assert 'data-key="2" aria-current="true"' in made


def test_a_strip_shows_where_there_was_no_video() -> None:
    states = [
        StateInterval(0, 600_000, "online"),
        StateInterval(600_000, 900_000, "offline", "<b>"),
        StateInterval(900_000, 1_000_000, "unknown"),
    ]
    strip = no_data_strip(NoData(states), 0, 1_000_000)
    assert 'uc-no-video" style="left:60.00%;width:30.00%"' in strip
    assert 'uc-no-status" style="left:90.00%;width:10.00%"' in strip
    assert "no video 5 min, no status 1 min 40 s" in strip
    assert "video all the time" in no_data_strip(NoData(states[:1]), 0, 600_000)
