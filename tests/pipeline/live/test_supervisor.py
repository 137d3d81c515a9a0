"""Who reads which camera: every wanted camera once, whatever dies, and nobody else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline.errors import ServiceError
from pipeline.live.leases import FleetReport, Lease, Report
from pipeline.live.supervisor import RETRY_MOST_S, START_S, Supervisor
from pipeline.service_settings import WorkersSettings
from pipeline.settings import CameraSettings
from pipeline.store.leases import LeaseClaims

URL = CameraSettings(url="rtsp://10.0.0.7/live")
SETTINGS = WorkersSettings(cameras_per_worker=2, lease_s=3)


class World:
    """Processes that do as they are told, die when they are told, and a clock that stands still."""

    def __init__(self, cameras: Sequence[str] = ()) -> None:
        self.now_s = 1000.0
        self.wanted: dict[str, CameraSettings] = dict.fromkeys(cameras, URL)
        self.held: dict[str, dict[str, Lease]] = {}
        self.states: dict[str, str] = {}
        self.dead: set[str] = set()
        self.deaf: set[str] = set()
        self.fault = ""
        self.late_reports: dict[str, list[Report]] = {}
        self.others: dict[str, str] = {}
        self.ours: set[str] | None = None
        self.trouble = ""
        self.asked: set[str] = set()
        self.database_is_away = self.nobody_knows = False
        self.epochs: list[int] = []
        self.supervisor = self.supervise()

    def supervise(self, first: Mapping[str, CameraSettings] | None = None) -> Supervisor:
        return Supervisor(
            SETTINGS,
            self.registry,
            self,
            first,
            self.claim,
            clock=lambda: round(self.now_s * 1000),
            monotonic=lambda: self.now_s,
        )

    def claim(self, cameras: Collection[str]) -> LeaseClaims:
        """All that nobody else has, unless it is told which ones."""
        self.asked = set(cameras)
        ours = self.asked - self.others.keys() if self.ours is None else self.ours
        return LeaseClaims(frozenset(ours), self.others, self.trouble)

    def registry(self) -> Mapping[str, CameraSettings] | None:
        if self.nobody_knows:
            return None
        if self.database_is_away:
            raise ServiceError("database cannot be reached", "there", "start it")
        return dict(self.wanted)

    def names(self) -> Sequence[str]:
        return sorted(self.held)

    def group_of(self, settings: CameraSettings) -> str:
        return "cameras-listen-" if settings.url.startswith("listen:") else "cameras-"

    def start(self, name: str) -> None:
        assert name not in self.held
        self.held[name] = {}

    def stop(self, name: str) -> None:
        del self.held[name]
        self.dead.discard(name)
        self.deaf.discard(name)

    def reports(self) -> FleetReport:
        return FleetReport({name: self._told(name) for name in self.held if name not in self.deaf})

    def heartbeat(self, leases: Mapping[str, Sequence[Lease]]) -> FleetReport:
        if self.fault:
            return FleetReport(failed=dict.fromkeys(leases, self.fault))
        died = frozenset(self.dead & leases.keys())
        for name in died:
            self.held[name] = {}
        self.dead -= died
        heard = leases.keys() - died - self.deaf
        for name in heard:
            new = {lease.camera: lease for lease in leases[name]}
            self.epochs += [
                lease.epoch for lease in new.values() if self.held[name].get(lease.camera) != lease
            ]
            self.held[name] = new
        return FleetReport({name: self._told(name) for name in heard}, died)

    def _told(self, name: str) -> list[Report]:
        return [
            Report(lease, self.states.get(lease.camera, "online"))
            for lease in self.held[name].values()
        ] + self.late_reports.get(name, [])

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.supervisor.step()
            self.now_s += 0.5

    def kill(self, camera: str) -> None:
        name = self.place_of(camera)
        self.dead.add(name)
        self.step()

    def place_of(self, camera: str) -> str:
        (name,) = (name for name, leases in self.held.items() if camera in leases)
        return name

    @property
    def read(self) -> list[str]:
        return sorted(camera for leases in self.held.values() for camera in leases)


def test_cameras_share_processes_and_a_process_has_only_so_much_room() -> None:
    world = World("abcde")
    world.step()
    assert world.read == list("abcde")
    assert sorted(len(leases) for leases in world.held.values()) == [1, 2, 2]


def test_a_camera_that_pushes_goes_where_it_is_expected_and_others_may_join_it() -> None:
    world = World("a")
    world.step()
    world.wanted["door"] = CameraSettings(url="listen://0.0.0.0:8554/door")
    world.step()
    assert {name: set(leases) for name, leases in world.held.items()} == {
        "cameras-0": {"a"},
        "cameras-listen-0": {"door"},
    }
    world.wanted = dict.fromkeys("bc", URL) | world.wanted
    world.step()
    assert set(world.held) == {"cameras-0", "cameras-listen-0"}  # there was room for both
    assert world.read == ["a", "b", "c", "door"]


def test_a_camera_comes_changes_and_goes() -> None:
    world = World("ab")
    world.step()
    first = world.held[world.place_of("a")]["a"]
    world.wanted["a"] = URL.model_copy(update={"analyse_fps": 1.0})
    world.wanted["b"] = URL.model_copy(update={"enabled": False})
    world.wanted["c"] = URL
    world.step()
    assert world.read == ["a", "c"]
    again = world.held[world.place_of("a")]["a"]
    assert again.epoch > first.epoch
    assert again.settings.analyse_fps == 1.0
    world.wanted = {}
    world.step(2)
    assert world.read == []
    assert len(world.held) == 1  # one idle process stays


def test_a_camera_goes_on_when_only_its_purpose_or_age_limit_changes() -> None:
    world = World("a")
    world.step()
    before = world.held[world.place_of("a")]["a"]
    changed = {"purpose": "opens the door", "keep_days": 7.0, "display_name": "Front door"}
    world.wanted["a"] = URL.model_copy(update=changed)
    world.step()
    assert world.held[world.place_of("a")]["a"] == before


def test_a_process_is_stopped_only_when_its_runs_have_ended() -> None:
    """Or their last events would die with it."""
    world = World("abcd")
    world.step()
    (first, second) = world.held
    ending = [Report(lease, "online") for lease in world.held[second].values()]
    world.late_reports = {second: ending}
    world.wanted = {}
    world.step(3)
    assert sorted(world.held) == sorted([first, second])  # it still reports
    world.late_reports = {}
    world.step(2)
    assert list(world.held) == [first]


def test_a_process_that_dies_is_filled_again_and_the_others_are_left_alone() -> None:
    world = World("abcd")
    world.step()
    other = world.held[world.place_of("c")]["c"]
    world.kill("a")
    told = world.supervisor.reports()
    assert (told["a"].state, told["c"].state) == ("connecting", "online")
    assert "its process died" in told["a"].reason
    world.step()
    assert world.read == list("abcd")
    assert world.held[world.place_of("c")]["c"] == other
    assert world.supervisor.deaths == 1
    assert len(set(world.epochs)) == len(world.epochs)


def test_a_camera_that_kills_twice_gets_a_process_of_its_own_and_then_has_to_wait() -> None:
    world = World("ab")
    world.step()
    for _ in range(2):
        world.kill("a")
        world.step()
    assert world.read == ["a", "b"]
    assert world.place_of("a") != world.place_of("b")
    assert world.held[world.place_of("a")]["a"].quarantined
    world.kill("a")
    world.step()
    assert world.read == ["b"]
    world.step(4)
    assert world.read == ["a", "b"]


def test_a_process_that_does_not_answer_is_ended() -> None:
    world = World("ab")
    world.step()
    world.deaf.add(world.place_of("a"))
    world.step(round(2 * SETTINGS.lease_s / 0.5) + 3)
    assert world.read == ["a", "b"]
    assert world.deaf == set()


def test_a_process_that_begins_may_take_its_time() -> None:
    world = World("a")
    world.supervisor.step()
    world.deaf = set(world.held)
    world.kill("a")
    world.deaf = set(world.held)
    before = world.supervisor.deaths
    world.step(round(START_S))
    assert world.supervisor.deaths == before


def test_cameras_whose_process_cannot_begin_have_failed_and_are_tried_again() -> None:
    world = World("ab")
    world.fault = "undercam: no such network"
    world.step()
    told = world.supervisor.reports()
    assert {(report.state, report.reason) for report in told.values()} == {("failed", world.fault)}
    assert world.held == {}
    world.fault = ""
    world.step(6)
    assert world.read == ["a", "b"]
    assert {report.state for report in world.supervisor.reports().values()} == {"online"}


def test_a_camera_is_known_from_the_moment_it_has_a_lease() -> None:
    world = World("ab")
    world.deaf = {"cameras-1"}  # it has not begun yet
    world.supervisor.step()
    world.wanted["c"] = URL
    world.supervisor.step()
    assert world.supervisor.reports()["c"].state == "connecting"


def test_a_process_that_never_answers_says_what_may_be_wrong() -> None:
    world = World("a")
    for _ in range(round(2 * (START_S + 2 * SETTINGS.lease_s)) + 4):
        world.deaf = {"cameras-0"}
        world.step()
    report = world.supervisor.reports()["a"]
    assert report.state == "connecting"
    assert "are all cores taken" in report.reason


def test_a_camera_that_fails_is_tried_again_later_and_later() -> None:
    world = World("a")
    world.states["a"] = "failed"
    world.step(round(2 * RETRY_MOST_S / 0.5))
    tries = [epoch / 1000 for epoch in world.epochs]
    waits = [late - early for early, late in pairwise(tries)]
    assert 5 <= len(waits) <= 12
    assert waits[0] <= 2
    assert max(waits) >= RETRY_MOST_S / 4


@pytest.mark.parametrize("state", ["failed", "refused"])
def test_a_camera_that_is_tried_again_keeps_its_state_and_its_start(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World("a")
    asked: list[Lease] = []

    def told(name: str) -> list[Report]:
        """A lease knows nothing at first, while it opens; half a second later it is over."""
        leases = list(world.held[name].values())
        opening = [lease for lease in leases if lease not in asked]
        asked.extend(opening)
        return [
            Report(lease, "connecting")
            if lease in opening
            else Report(lease, state, "why", since_ms=since(lease), is_closed=True)
            for lease in leases
        ]

    def since(lease: Lease) -> int:
        return lease.before.since_ms if lease.before else 1_000_500

    monkeypatch.setattr(world, "_told", told)
    seen: list[Report] = []
    for _ in range(200):
        world.step()
        seen.append(world.supervisor.reports()["a"])
    assert len(set(world.epochs)) > 3, "it is tried again"
    known = seen[[report.state for report in seen].index(state) :]
    assert {(r.state, r.reason, r.since_ms) for r in known} == {(state, "why", 1_000_500)}


def test_a_file_that_has_ended_is_not_read_again_even_when_its_process_dies() -> None:
    world = World("ab")
    world.step()
    world.states["a"] = "ended"
    world.step()
    read = world.epochs.copy()
    world.kill("a")
    world.step(3)
    assert len(world.epochs) == len(read) + 1  # b
    assert world.read == ["b"]
    world.wanted["a"] = URL.model_copy(update={"analyse_fps": 2.0})
    world.step()
    assert world.read == ["a", "b"]


def test_the_next_supervisor_leaves_everything_as_it_is() -> None:
    world = World("abc")
    world.step()
    held = {name: dict(leases) for name, leases in world.held.items()}
    for said in ("registry", "nothing", "fault"):
        world.nobody_knows, world.database_is_away = said == "nothing", said == "fault"
        world.supervisor = world.supervise()
        assert world.supervisor.reports().keys() == {"a", "b", "c"}
        world.step(3)
        assert world.held == held
    world.database_is_away = False
    assert world.supervisor.reports().keys() == {"a", "b", "c"}
    world.now_s -= 100  # the clock was set back
    world.wanted["d"] = URL
    world.step()
    assert len(set(world.epochs)) == len(world.epochs)


def test_without_a_database_cameras_go_on_and_those_of_the_settings_begin() -> None:
    world = World()
    world.database_is_away = True
    world.supervisor = world.supervise({"a": URL})
    world.step()
    assert world.read == ["a"]
    assert "database cannot be reached" in world.supervisor.trouble
    world.database_is_away, world.wanted = False, {"a": URL, "b": URL}
    world.step()
    assert (world.read, world.supervisor.trouble) == (["a", "b"], "")


def test_what_was_lost_at_an_end_stays_told() -> None:
    """Also of a lease that is no longer held, and when it is reported at the very end."""
    world = World("ab")
    world.step()
    lease = world.held[world.place_of("a")]["a"]
    name = world.place_of("a")
    del world.wanted["a"]
    world.step()
    lost = Report(lease, "failed", "told", close_error="50 events could not be written")
    world.late_reports[name] = [lost]
    world.step()
    world.late_reports.clear()
    world.step(3)
    assert world.supervisor.close_errors == ("a: 50 events could not be written",)
    other = Lease("b", 9, URL)
    world.supervisor.note_ends([Report(other, "stopped"), Report(other, "failed", close_error="x")])
    assert world.supervisor.close_errors[1:] == ("b: x",)


def test_a_camera_that_another_command_reads_is_not_begun_and_it_is_said_who() -> None:
    world = World("ab")
    world.others = {"a": "pid 7 on attic"}
    world.step(3)
    assert world.read == ["b"]
    told = world.supervisor.reports()["a"]
    assert (told.state, told.reason) == ("connecting", "another command reads it: pid 7 on attic")
    world.others = {}
    world.step()
    assert world.read == ["a", "b"]
    assert world.supervisor.reports()["a"].reason == ""


def test_a_camera_that_went_to_another_command_ends_here() -> None:
    world = World("ab")
    world.step()
    world.others = {"a": "pid 7 on attic"}
    world.step()
    assert world.read == ["b"]
    assert "pid 7 on attic" in world.supervisor.reports()["a"].reason


def test_while_nobody_can_be_asked_what_is_read_goes_on_and_nothing_begins() -> None:
    world = World("a")
    world.step()
    world.wanted["b"] = URL
    world.ours, world.trouble = {"a"}, "database cannot be reached"
    world.step(20)
    assert world.read == ["a"]
    assert world.supervisor.reports()["b"].reason == "database cannot be reached"
    world.ours = set()  # the next supervisor was told nothing yet
    world.supervisor = world.supervise()
    world.step(20)
    assert world.read == ["a"]


def test_a_file_that_has_ended_is_given_back() -> None:
    world = World("ab")
    world.step()
    assert world.asked == {"a", "b"}
    world.states["a"] = "ended"
    world.step(2)
    assert world.asked == {"b"}


class Anything(RuleBasedStateMachine):
    """Whatever happens, a camera is read at most once, and soon exactly the wanted ones are."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(camera=st.sampled_from("abcde"), fps=st.sampled_from([None, 1.0]))
    def wish(self, camera: str, fps: float | None) -> None:
        self.world.wanted[camera] = URL.model_copy(update={"analyse_fps": fps})

    @rule(camera=st.sampled_from("abcde"))
    def unwish(self, camera: str) -> None:
        self.world.wanted.pop(camera, None)

    @rule(number=st.integers(0, 4))
    def die(self, number: int) -> None:
        names = self.world.names()
        if names:
            self.world.dead.add(names[number % len(names)])

    @rule()
    def succeed(self) -> None:
        self.world.supervisor = self.world.supervise()

    @rule(times=st.integers(1, 5))
    def step(self, times: int) -> None:
        self.world.step(times)

    @invariant()
    def nobody_is_read_twice(self) -> None:
        assert len(self.world.read) == len(set(self.world.read))
        assert len(self.world.epochs) == len(set(self.world.epochs))

    def teardown(self) -> None:
        self.world.step(round(2 * RETRY_MOST_S / 0.5))
        assert self.world.read == sorted(self.world.wanted)


TestAnything = pytest.mark.timeout(120)(Anything.TestCase)
TestAnything.settings = hypothesis_settings(max_examples=40, stateful_step_count=30)
