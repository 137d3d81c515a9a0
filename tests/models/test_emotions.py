"""Every data set's labels are ours, each once."""

from __future__ import annotations

import pytest

from models import emotions
from models.emotions import EMOTIONS


@pytest.mark.parametrize("name", ["FER2013_LABELS", "RAFDB_LABELS"])
def test_seven_labels(name: str) -> None:
    assert sorted(getattr(emotions, name)) == sorted(emotions.BASIC_SEVEN)


def test_the_other_maps() -> None:
    assert sorted(emotions.AFFECTNET_LABELS) == sorted(EMOTIONS)
    assert sorted(emotions.KDEF_CODES.values()) == sorted(emotions.BASIC_SEVEN)
    assert set(emotions.FOLDER_NAMES.values()) == {*EMOTIONS, *emotions.COMPOUND_EMOTIONS}
    assert emotions.UNKNOWN not in EMOTIONS


def test_the_order_of_the_votes_is_fixed() -> None:
    order = "neutral happiness surprise sadness anger disgust fear contempt"
    assert " ".join(EMOTIONS) == order
    assert [emotions.index_of(name) for name in EMOTIONS] == list(range(8))
