"""One vocabulary for the states of a camera, through records of version 1 and back."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import camera_states as states
from pipeline.camera_states import MEANINGS, RUN_STATES, from_record, state_after_error, to_record
from pipeline.errors import ConfigError, InputError, ServiceError
from pipeline.records import CameraStatus


def test_a_record_knows_those_that_it_is_said_to_know() -> None:
    state = CameraStatus.model_fields["state"].annotation
    assert set(get_args(state)) == set(states.RECORDED_STATES)


@given(st.sampled_from(RUN_STATES), st.text(), st.sampled_from(["e7", "0123456789ab"]))
def test_every_state_comes_back_from_its_record(state: str, reason: str, run: str) -> None:
    if state == states.OFFLINE:
        reason, run = f"the camera: {reason}", "e7"  # our own sentences begin with no state
    recorded, told = to_record(state, reason)
    assert recorded in states.RECORDED_STATES
    assert from_record(recorded, run, told) == (state, reason)


def test_every_state_has_its_sentence() -> None:
    constants = [value for name, value in vars(states).items() if name.isupper()]
    words = {value for value in constants if isinstance(value, str)}
    assert words == set(MEANINGS)
    assert set(RUN_STATES) < set(MEANINGS)
    assert all(meaning.endswith(".") for meaning in MEANINGS.values())
    assert f"{states.UNKNOWN_AFTER_MS // 1000} s" in MEANINGS[states.UNKNOWN]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (InputError("no such file", "a.mp4", "check it"), "refused"),
        (ConfigError("no variable", "PW", "set it"), "refused"),
        (ServiceError("no answer", "pool", "wait"), "failed"),
        (ZeroDivisionError("of all things"), "failed"),
    ],
)
def test_who_has_to_do_something_is_told_by_the_error(error: Exception, state: str) -> None:
    assert state_after_error(error) == state
