"""A file's run is named after what decides its observations, and after nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from pipeline.config import Settings
from pipeline.observation_settings import OBSERVATION_SECTIONS, encode_changes
from pipeline.settings import Section


def of(**tables: dict[str, Any]) -> str:
    return Settings.model_validate(tables).observation_settings()


def test_a_setting_written_at_its_default_changes_nothing() -> None:
    written = Settings().model_dump(mode="json", include=set(OBSERVATION_SECTIONS))
    assert of(**written) == of() == "{}"
    assert of(source={"analyse_fps": 0.0}) == "{}"


@pytest.mark.parametrize(
    ("tables", "named"),
    [
        ({"detector": {"frame_px": 640}}, '{"detector":{"frame_px":640}}'),
        ({"detector": {"threshold": 0.5}}, '{"detector":{"threshold":0.5}}'),
        ({"source": {"analyse_fps": 5}}, '{"analyse_fps":5.0}'),
        (
            {"tracker": {"lost_s": 1, "min_iou": 0.3}, "crop": {"fuse_s": 0}},
            '{"crop":{"fuse_s":0.0},"tracker":{"lost_s":1.0,"min_iou":0.3}}',
        ),
    ],
    ids=str,
)
def test_what_differs_is_named(tables: dict[str, Any], named: str) -> None:
    assert of(**tables) == named


def test_under_display_of_the_camera_counts_once_it_is_said() -> None:
    found = [Settings().observation_settings(one) for one in (None, True, False)]
    assert found == ["{}", '{"under_display":true}', '{"under_display":false}']


@pytest.mark.parametrize(
    "tables",
    [
        {"detector": {"threads": 3}},
        {"source": {"read_timeout_s": 9}},
        {"outbox": {"folder": "elsewhere"}},
        {"store": {"url": "sqlite:///other.db"}},
    ],
    ids=str,
)
def test_where_and_how_fast_decides_no_observation(tables: dict[str, Any]) -> None:
    assert of(**tables) == "{}"


class Route(Section):
    weights: str = Field("lrdif")
    threads: int = Field(1)
    draws: int = Field(1)


class Routes(Section):
    fast: Route = Field(Route(draws=4))
    robust: Route | None = Field(None)


class Emotion(Section):
    routes: Routes = Field(Routes())


@pytest.mark.parametrize(
    ("routes", "named"),
    [
        ({}, "{}"),
        ({"fast": {"draws": 4, "threads": 8}}, "{}"),
        ({"fast": {}}, '{"emotion":{"routes":{"fast":{"draws":1}}}}'),
        ({"robust": {}}, '{"emotion":{"routes":{"robust":{}}}}'),
        ({"robust": {"threads": 2}}, '{"emotion":{"routes":{"robust":{}}}}'),
        ({"robust": {"weights": "x"}}, '{"emotion":{"routes":{"robust":{"weights":"x"}}}}'),
    ],
    ids=str,
)
def test_tables_within_tables(routes: dict[str, Any], named: str) -> None:
    """A table that is there or not counts as such; of one, what differs from its default."""
    assert encode_changes({"emotion": Emotion.model_validate({"routes": routes})}) == named


def test_a_setting_of_a_later_release_leaves_the_runs_of_files_as_they_are() -> None:
    class Later(Section):
        weights: str = Field("lrdif")
        sharpen: bool = Field(False)

    assert encode_changes({"emotion": Later(weights="x")}) == encode_changes(
        {"emotion": Route(weights="x")}
    )
    assert "sharpen" in encode_changes({"emotion": Later(sharpen=True)})
