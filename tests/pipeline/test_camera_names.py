from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.camera_names import check_camera_name, nearest_camera_name
from pipeline.errors import ConfigError
from pipeline.records import CAMERA_PATTERN


@given(st.text())
def test_the_nearest_name_is_one(text: str) -> None:
    assert check_camera_name(nearest_camera_name(text))
    if re.fullmatch(CAMERA_PATTERN, text):
        assert check_camera_name(text) == text
    else:
        with pytest.raises(ConfigError, match="did you mean") as refused:
            check_camera_name(text)
        assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "near"),
    [("Back Porch", "back-porch"), ("_door", "door"), ("a" * 64, "a" * 63), ("№", "camera")],
)
def test_names(text: str, near: str) -> None:
    assert nearest_camera_name(text) == near
