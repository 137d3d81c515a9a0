"""The tracker in made worlds, as the benchmark sees it."""

from __future__ import annotations

import numpy as np

from benchmarks.tracking import count_fragments, track_here
from tests.pipeline.stages.worlds import Person, simulate, still, walk


def test_every_box_has_its_track_s_id_or_none() -> None:
    draw = np.random.default_rng(0)
    people = [Person(still(100, 100, 60)), Person(walk((500, 100), (400, 200), 60, 3))]
    frames = simulate(people, np.arange(0, 3, 0.1), draw, missed=0.0)
    ids = track_here(frames, 10.0)
    assert [len(of) for of in ids] == [len(frame.people) for frame in frames]
    assert set(ids[0].tolist()) == {-1}  # not confirmed yet
    assert sorted(ids[-1].tolist()) == [1, 2]
    assert count_fragments(frames, ids) == 0


def test_a_second_track_of_one_person_is_a_fragment() -> None:
    draw = np.random.default_rng(0)
    person = Person(still(100, 100, 60), away=((1.0, 9.0),))
    frames = simulate([person], np.arange(0, 12, 0.1), draw, missed=0.0)
    assert count_fragments(frames, track_here(frames, 10.0)) == 1
