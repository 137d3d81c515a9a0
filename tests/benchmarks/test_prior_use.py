"""The use of a prior, from accuracies by hand."""

from __future__ import annotations

from benchmarks.prior_use import OTHER_Z, OWN_Z, use_of_z


def test_the_use_of_z_is_what_another_faces_z_costs() -> None:
    assert use_of_z({OWN_Z: 0.8371, OTHER_Z: 0.8362, "start at zero": 0.1}) == 0.0009
    assert use_of_z({OWN_Z: 0.5, OTHER_Z: 0.75}) == -0.25
