"""Documents of the records, settings and metrics, generated for programs and for people.

    python -m pipeline.schemas [FOLDER]            write the documents into a checkout
    python -m pipeline.schemas --check [FOLDER]    exit code 1 when one of them is out of date

A record's document is named after its version: that of an earlier version stays as it is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from pipeline.async_api import build_async_api
from pipeline.config import Settings
from pipeline.fields import bounds_of
from pipeline.metrics import describe_metrics
from pipeline.records import EVENT_TYPES, Record
from pipeline.service_settings import BusSettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
HEAD = """\
# Every setting with its default. Keep what you change; the rest may be left out.
# In the environment, UNDERCAM_STORE__URL=... overrides [store] url.
# A secret is a reference: "env:NAME", or "file:PATH".
"""
TABLE_HEAD = """\
# Configuration

One TOML file, `-c FILE`; `UNDERCAM_STORE__URL=...` in the environment overrides `[store] url`.
A secret is a reference: `env:NAME`, or `file:PATH`. An unknown key is refused.

| key | default | allowed | meaning |
|---|---|---|---|
"""
METRICS_HEAD = """\
# Metrics

`metrics.port` opens `/metrics` for Prometheus. Every sample also has the label `process`: who
counted it. A process that was restarted counts from 0 again.

| name | kind | labels | meaning | counted by |
|---|---|---|---|---|
"""
NAME = "NAME"
"""Stands for a camera's name."""


@dataclass(frozen=True)
class Setting:
    """One key: its table and what that is for, its default as TOML or "", bounds and meaning, and
    whether the table may be left out."""

    table: str
    purpose: str
    key: str
    default: str
    allowed: str
    meaning: str
    is_optional: bool


def generate_documents() -> dict[str, str]:
    """Every document: its path in the repository, and its text."""
    records = {
        f"docs/schemas/{document_name(kind)}.json": record_schema(kind) for kind in EVENT_TYPES
    }
    config = {"docs/schemas/config.json": {"$schema": DIALECT} | Settings.model_json_schema()}
    topics = {"docs/schemas/asyncapi.json": build_async_api(BusSettings().topic_prefix)}
    schemas = {path: _json(schema) for path, schema in (records | config | topics).items()}
    return schemas | {
        "docs/configuration.md": configuration_table(),
        "docs/metrics.md": metrics_table(),
        "undercam.example.toml": example_toml(),
    }


def write(folder: Path) -> None:
    """Write every document below `folder`."""
    for name, text in generate_documents().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def list_stale(folder: Path) -> list[str]:
    """The documents below `folder` that are missing, or differ from what `write` writes."""

    def is_fresh(path: Path, text: str) -> bool:
        return path.is_file() and path.read_text(encoding="utf-8") == text

    return [
        name for name, text in generate_documents().items() if not is_fresh(folder / name, text)
    ]


def document_name(kind: type[Record]) -> str:
    """A record's document, without its ending: "face_observed-1" for undercam.face_observed/1."""
    return kind.schema_name().removeprefix("undercam.").replace("/", "-")


def record_schema(kind: type[Record]) -> dict[str, Any]:
    """The JSON Schema of a record as it is written: every field is there, no other is."""
    schema = kind.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": DIALECT, "$id": f"urn:undercam:{document_name(kind)}"} | schema


def example_toml() -> str:
    """The example configuration: every key with its meaning and default, cameras as comments."""
    parts = [HEAD]
    tables = groupby(list_settings(), lambda row: (row.table, row.purpose, row.is_optional))
    for (table, purpose, is_optional), rows in tables:
        off = "# " if is_optional else ""
        parts.append(f"\n# {purpose}\n{off}[{table.replace(NAME, 'door')}]\n")
        for row in rows:
            allowed = f" ({row.allowed})" if row.allowed else ""
            value = f"{off}{row.key} = {row.default}" if row.default else f'# {row.key} = "..."'
            parts.append(f"# {row.meaning}{allowed}\n{value}\n")
    return "".join(parts)


def configuration_table() -> str:
    """The same as a Markdown page."""
    rows = (
        f"| `{row.table}.{row.key}` | {f'`{row.default}`' if row.default else ''} | {row.allowed} |"
        f" {row.meaning} |\n"
        for row in list_settings()
    )
    return TABLE_HEAD + "".join(rows)


def metrics_table() -> str:
    """Every number that Prometheus may ask for, as a Markdown page."""
    rows = (
        f"| `{row.name}` | {row.kind} | {', '.join(row.labels)} | {row.meaning} | {row.of} |\n"
        for row in describe_metrics()
    )
    return METRICS_HEAD + "".join(rows)


def list_settings() -> list[Setting]:
    """Every setting in the order of the models; a camera's stand under the table cameras.NAME."""
    schema = Settings.model_json_schema()
    found: list[Setting] = []
    for table, place in schema["properties"].items():
        many = place.get("patternProperties", {})
        name = f"{table}.{NAME}" if many else table
        found += _rows(name, next(iter(many.values()), place), schema["$defs"], bool(many))
    return found


def _rows(
    table: str, place: dict[str, Any], sections: dict[str, Any], is_optional: bool
) -> Iterator[Setting]:
    """The keys of a table, and then those of the tables in it."""
    section = sections[_reference(place).rpartition("/")[2]]
    inner = {key: field for key, field in section["properties"].items() if _reference(field)}
    for key, field in section["properties"].items():
        if key not in inner:
            default = field.get("default")
            text = "" if default is None else json.dumps(default)
            about = key, text, _describe_allowed(field), field["description"], is_optional
            yield Setting(table, section["description"], *about)
    for key, field in inner.items():
        yield from _rows(f"{table}.{key}", field, sections, is_optional or "anyOf" in field)


def _reference(place: dict[str, Any]) -> str:
    """The table that a key holds, also where it may be left out; "" where it holds none."""
    options = (place, *place.get("anyOf", []))
    return next((option["$ref"] for option in options if "$ref" in option), "")


def _describe_allowed(field: dict[str, Any]) -> str:
    choices = [f'"{choice}"' for choice in field.get("enum", [])]
    return " or ".join(choices) or bounds_of(field)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the documents, or name those that are out of date."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.schemas")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="the checkout")
    options = parser.parse_args()
    if not options.check:
        write(options.folder)
    elif found := list_stale(options.folder):
        raise SystemExit(f"out of date: {', '.join(found)}: run python -m pipeline.schemas")


if __name__ == "__main__":
    main()
