"""Tables: what they hold is text, whoever wrote it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from dashboard.tables import (
    LABELS,
    Markup,
    label_shares,
    share_table,
    stacked_bar,
    table,
    two_lines,
)
from pipeline.store.queries import Shares

TAG = re.compile(r"<[^>]*>")


@given(st.text())
def test_text_is_never_markup(text: str) -> None:
    def tags(written: str) -> list[str]:
        made = table({written: ""}, [[written], [two_lines(written, written)]], keys=["a", "b"])
        return TAG.findall(made)

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
    assert made.count("<tr>") == len(LABELS) + 1
    assert "75.0%" in made
    assert "0.80" in made


def test_the_selected_row_is_highlighted() -> None:
    made = table({"": ""}, [["a"], ["b"]], keys=["1", "2"], selected="2")
    assert made.count("aria-current") == 1
    assert 'data-key="2" aria-current="true"' in made
