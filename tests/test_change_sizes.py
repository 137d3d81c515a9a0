"""How many files a change touches, counted from the code, and that CONTRIBUTING.md lists them.

A toy family of its four files is trained, served and exported in trainer/test_new_family.py.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from models.registry import FAMILIES
from pipeline.cli.app import COMMANDS
from pipeline.records import FaceObserved

ROOT = Path(__file__).parent.parent
PLACEHOLDERS = {"FAMILY": "lrdif", "KIND": "looped", "COMMAND": "doctor"}
"""In CONTRIBUTING.md, each with one that exists."""
LISTED = re.compile(r"- \*\*A ([a-z ]+): (\d) files\.\*\*((?:.|\n(?!- |\n))*)")


@cache
def read_sources(*packages: str) -> dict[str, str]:
    """Every module of these packages by its path."""
    paths = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}


@cache
def names_in(source: str) -> set[str]:
    """Attributes, keywords, fields and whole strings of a module; no comment and no docstring."""

    def find(node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Attribute(attr=name) | ast.keyword(arg=str(name)) | ast.Name(id=name):
                yield name
            case ast.Constant(value=str(name)):
                yield name

    return {name for node in ast.walk(ast.parse(source)) for name in find(node)}


@cache
def imports_in(source: str) -> set[str]:
    """Every imported module and name, absolute: `from a import b` is "a" and "a.b"."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {module} | {f"{module}.{alias.name}" for alias in names}
    return found


def files_of_family(family: str, sources: dict[str, str]) -> set[str]:
    """Its network, the files of its name, and every file that names it."""
    network = f"{FAMILIES[family].network.__module__.replace('.', '/')}.py"
    return {network} | {
        file
        for file, source in sources.items()
        if Path(file).stem == family.replace("-", "_") or family in names_in(source)
    }


def files_of_field(field: str, sources: dict[str, str]) -> set[str]:
    """Every file that names a field and handles records or rows. The stages that compute the value
    do not: they know values in memory."""
    vendors_and_records = ("pipeline.records", "sqlalchemy", "pipeline.store")
    return {
        file
        for file, source in sources.items()
        if field in names_in(source)
        and (
            file == "pipeline/records.py"
            or any(name.startswith(vendors_and_records) for name in imports_in(source))
        )
    }


def source_kinds(sources: dict[str, str]) -> dict[str, str]:
    """Classes that yield the frames of a camera, each with its file."""
    return {
        node.name: file
        for file, source in sources.items()
        if file.startswith("pipeline/stages/source/") and Path(file).stem != "base"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef)
        and method.name == "__iter__"
        and "Frame" in re.findall(r"\w+", ast.unparse(method.returns or ast.Constant("")))
    }


def importers(name: str, sources: dict[str, str]) -> set[str]:
    """Files that import a name from wherever it is defined."""
    return {
        file
        for file, source in sources.items()
        if any(found.rpartition(".")[2] == name for found in imports_in(source))
    }


@pytest.mark.parametrize("family", ["poster", "face-resnet", "resnet18"])
def test_a_model_family(family: str) -> None:
    files = files_of_family(family, read_sources("models", "trainer"))
    assert "models/registry.py" in files
    assert len(files) <= 4, sorted(files)


@pytest.mark.parametrize("field", ["classified_ms", "detector_score", "published_ms"])
def test_a_record_field(field: str) -> None:
    assert field in FaceObserved.model_fields
    files = files_of_field(field, read_sources("pipeline", "dashboard"))
    assert {"pipeline/records.py", "pipeline/store/schema.py"} <= files
    assert len(files) <= 6, sorted(files)


def test_a_source_kind() -> None:
    """VideoSource is more than a kind: tools read clips with it that are no cameras."""
    sources = read_sources("pipeline")
    kinds = source_kinds(sources)
    assert {"LiveSource", "LoopedFile", "VideoSource"} <= kinds.keys()
    for kind in kinds.keys() - {"VideoSource"}:
        files = {kinds[kind]} | importers(kind, sources)
        assert len(files) <= 2, sorted(files)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(command: str) -> None:
    """Its module, and its line in the table; nobody else imports it."""
    sources = read_sources("models", "trainer", "pipeline", "dashboard")
    command = command.replace("-", "_")
    module = f"pipeline.cli.{command}"
    files = {file for file, source in sources.items() if module in imports_in(source)}
    files |= {f"pipeline/cli/{command}.py", "pipeline/cli/app.py"}
    assert files <= sources.keys()
    assert len(files) <= 2, sorted(files)


def test_contributing_lists_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    listed = {kind: (int(count), body) for kind, count, body in LISTED.findall(text)}
    assert listed.keys() == {"model family", "record field", "source kind", "command"}
    for kind, (count, body) in listed.items():
        paths = [path for path in re.findall(r"`([^`]+)`", body) if "/" in path]
        for placeholder, example in PLACEHOLDERS.items():
            paths = [path.replace(placeholder, example) for path in paths]
        assert len(paths) == count, kind
        assert [path for path in paths if not (ROOT / path).exists()] == [], kind


def test_one_more_file_is_seen() -> None:
    family = {"models/registry.py": 'F = {"poster": 1}', "trainer/loop.py": 'x == "poster"'}
    assert "trainer/loop.py" in files_of_family("poster", family)
    field = {
        "pipeline/store/rows.py": "from pipeline.records import R\nx = {'uncertainty': r.u}",
        "pipeline/live/pool.py": "y = scores.uncertainty",
        "dashboard/tables.py": "import pipeline.store.queries\n# uncertainty\nz = 1",
    }
    assert files_of_field("uncertainty", field) == {"pipeline/store/rows.py"}
    made = "class Made:\n    def __iter__(self) -> Iterator[Frame]: ..."
    kinds = source_kinds({"pipeline/stages/source/made.py": made})
    assert kinds == {"Made": "pipeline/stages/source/made.py"}
    assert importers("Made", {"a.py": "from pipeline.stages.source.made import Made"}) == {"a.py"}
