"""Later and later, up to a bound, and never two at the same moment for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.backoff import BackOff


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_waits_double_up_to_the_most(failures: int, chance: float) -> None:
    now = 100.0
    backoff = BackOff(0.5, 15.0, clock=lambda: now, chance=lambda: chance)
    assert not backoff.waits
    for _ in range(failures):
        backoff.record_failure()
    full = min(0.5 * 2 ** (failures - 1), 15.0)
    now += full * (0.5 + chance / 2) - 1e-6
    assert backoff.waits
    assert 0 < backoff.left_s < 2e-6
    now += 2e-6
    assert not backoff.waits
    assert backoff.left_s == 0
    backoff.record_success()
    backoff.record_failure()
    now += 0.5
    assert not backoff.waits
