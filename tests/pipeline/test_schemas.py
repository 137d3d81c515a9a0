"""What is written down is what the types say, and the examples obey it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline import schemas
from pipeline.config import Settings, load
from pipeline.records import EVENT_TYPES, Event
from pipeline.settings import CameraSettings

ROOT = Path(__file__).parent.parent.parent
KINDS = {schemas.document_name(kind): kind for kind in EVENT_TYPES}


def read(path: str) -> Any:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def lines(name: str) -> list[dict[str, Any]]:
    text = (ROOT / f"docs/schemas/examples/{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def faults(document: str, value: Any) -> list[str]:
    schema = read(f"docs/schemas/{document}.json")
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(value)]


def test_the_committed_documents_are_the_generated_ones() -> None:
    assert schemas.list_stale(ROOT) == [], "run python -m pipeline.schemas"


@pytest.mark.parametrize("name", KINDS)
def test_example_survives_the_record(name: str) -> None:
    for example in lines(name):
        record = KINDS[name].model_validate(example)
        assert json.loads(record.to_json()) == example
        assert list(json.loads(record.to_json())) == list(example)


@pytest.mark.parametrize("path", sorted((ROOT / "docs/schemas/examples").iterdir()), ids=str)
def test_every_version_has_a_schema_that_its_examples_obey(path: Path) -> None:
    """That of an old version is no longer generated, and stays."""
    for example in lines(path.stem):
        assert faults(path.stem, example) == []
        assert example["schema"] == f"undercam.{path.stem.replace('-', '/')}"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "change",
    [{"extra": 1}, {"camera": "Front Door"}, {"run": "today"}, {"schema": "undercam.other/1"}],
    ids=lambda change: next(iter(change)),
)
def test_schema_and_record_refuse_the_same(name: str, change: dict[str, Any]) -> None:
    broken = lines(name)[0] | change
    kind: type[Event] = KINDS[name]
    assert len(faults(name, broken)) == 1
    with pytest.raises(ValueError, match=next(iter(change))):
        kind.model_validate(broken)


@pytest.mark.parametrize("name", KINDS)
def test_a_written_record_leaves_nothing_out(name: str) -> None:
    example = lines(name)[0]
    for field in example:
        assert faults(name, {key: example[key] for key in example if key != field}), field


def test_example_configuration_is_the_defaults() -> None:
    assert load(ROOT / "undercam.example.toml") == Settings()


def test_example_camera_is_accepted_once_uncommented(tmp_path: Path) -> None:
    text = (ROOT / "undercam.example.toml").read_text(encoding="utf-8")
    camera = text[text.index("# [cameras.") :].replace("# [", "[").replace("# url", "url")
    path = tmp_path / "undercam.toml"
    path.write_text(camera, encoding="utf-8")
    assert load(path).cameras["door"].url == "..."


def test_every_setting_is_listed_with_its_meaning() -> None:
    def keys(values: dict[str, Any], table: str = "") -> Iterator[str]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from keys(value, f"{table}{key}.")
            else:
                yield f"{table}{key}"

    given = {"emotion": {"routes": {"robust": {"weights": "lrdif"}}}}
    found = set(keys(Settings.model_validate(given).model_dump()))
    listed = {f"{row.table}.{row.key}" for row in schemas.list_settings()}
    assert listed == found | {f"cameras.NAME.{key}" for key in CameraSettings.model_fields}
    assert all(row.meaning.endswith(".") and row.purpose for row in schemas.list_settings())


def test_configuration_schema_takes_a_configuration_and_refuses_a_slip() -> None:
    assert faults("config", {"detector": {"threshold": 0.5}}) == []
    assert faults("config", {"detector": {"treshold": 0.5}}) != []
    assert faults("config", {"detectors": {}}) != []


def test_check_names_what_is_out_of_date(tmp_path: Path) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline.schemas", *options, str(tmp_path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert run().returncode == 0
    assert run("--check").returncode == 0
    (tmp_path / "undercam.example.toml").write_text("", encoding="utf-8")
    stale = run("--check")
    assert stale.returncode == 1
    assert "out of date: undercam.example.toml: run" in stale.stderr
