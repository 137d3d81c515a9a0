"""The wheel holds what is committed, and README, make and hooks name what is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from pipeline.cli.app import COMMANDS, load_command

ROOT = Path(__file__).parent.parent
PACKAGES = ("models", "trainer", "pipeline", "dashboard")
ABOUT = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")
BUILD = "import setuptools.build_meta as build; build.build_wheel('wheel')"


@pytest.fixture(scope="module")
def committed() -> list[str]:
    command = ["git", "ls-files", "-z", *PACKAGES, *ABOUT]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(committed: list[str], tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("source")
    for name in committed:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "wheel").mkdir()
    built = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=folder, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return zipfile.Path(next((folder / "wheel").glob("*.whl")))


def test_the_wheel_carries_every_committed_file_of_the_packages(
    committed: list[str], wheel: zipfile.Path
) -> None:
    names = [name for name in wheel.root.namelist() if not name.endswith("/")]
    carried = {name for name in names if name.split("/")[0] in PACKAGES}
    assert carried == {name for name in committed if name.split("/")[0] in PACKAGES}


def test_the_wheel_carries_the_licence_and_the_command(wheel: zipfile.Path) -> None:
    about = next(entry for entry in wheel.iterdir() if entry.name.endswith(".dist-info"))
    assert {entry.name for entry in (about / "licenses").iterdir()} == {"LICENSE", "NOTICE"}
    assert "undercam = pipeline.__main__:main" in (about / "entry_points.txt").read_text()


DOCUMENTS = ["README.md", "docs/RESULTS.md", "CONTRIBUTING.md", "SECURITY.md"]
DOCUMENTS += [str(guide.relative_to(ROOT)) for guide in sorted(ROOT.glob("docs/guides/*.md"))]


def code_of(name: str) -> str:
    """What a document shows as code: fenced blocks and what stands in backquotes."""
    text = (ROOT / name).read_text("utf-8")
    fenced = re.findall(r"```[a-z]*\n(.*?)```", text, re.S)
    return "\n".join(
        fenced + re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    )


def unknown_words(line: str) -> list[str]:
    """Commands and options of one `undercam` line that do not exist."""
    words = re.split(r"\s{2,}|\s#", line.strip())[0].split()[1:]
    if not words or words[0].startswith("-") or not words[0].islower():
        return []
    name = words[0].split("|")[0]
    if name not in COMMANDS:
        return [name]
    command = load_command(name)
    below = getattr(command, "commands", {})
    unknown = []
    if below and len(words) > 1:
        subcommands = words[1].split("|")
        unknown = [word for word in subcommands if word not in below]
        command = below.get(subcommands[0], command)
    known = {option for parameter in command.params for option in parameter.opts}
    known |= {option for parameter in command.params for option in parameter.secondary_opts}
    given = [word.strip("[],;.:").partition("=")[0] for word in words]
    given = [option for word in given for option in word.split("|")]
    return unknown + [word for word in given if word.startswith("-") and word not in known]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_commands_and_options_that_exist(name: str) -> None:
    lines = [line for line in code_of(name).splitlines() if line.startswith("undercam ")]
    assert {line: found for line in lines if (found := unknown_words(line))} == {}


def test_an_unknown_word_is_found() -> None:
    assert unknown_words("undercam analyse x.mp4") == ["analyse"]
    assert unknown_words("undercam evaluate --weights w --threw-video") == ["--threw-video"]
    assert unknown_words("undercam cameras add|drop NAME") == ["drop"]
    assert unknown_words("undercam evaluate --weights w [--no-flip]   two spaces, -x") == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_benchmarks_and_make_targets_that_exist(name: str) -> None:
    code = code_of(name)
    benchmarks = set(re.findall(r"python -m benchmarks\.(\w+)", code))
    assert {b for b in benchmarks if not (ROOT / "benchmarks" / f"{b}.py").is_file()} == set()
    targets = set(re.findall(r"^(?:\S*/)?make ([a-z-]+)", code, re.M))
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert {t for t in targets if f"\n{t}:" not in makefile} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_link_to_files_that_exist(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    local = [link for link in links if link and "://" not in link]
    assert [link for link in local if not ((ROOT / name).parent / link).exists()] == []


def test_the_readme_starts_with_the_commands_that_ci_runs() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text("utf-8").splitlines()[:40])
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    for command in ("make demo", "make test"):
        assert f"\n{command}" in first_screen
        assert f"run: {command}" in ci


def test_the_workflow_runs_only_what_is_pinned_and_audits_the_pins() -> None:
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    used = re.findall(r"uses: (\S+)", ci)
    assert [one for one in used if not re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", one)] == []
    assert "run: make audit" in ci
    tools = (ROOT / ".github" / "audit.txt").read_text("utf-8").splitlines()
    pins = [line for line in tools if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert {"pip-audit", "cyclonedx-bom"} <= {line.partition("==")[0] for line in pins}


def test_the_hook_of_the_documents_covers_all_their_sources() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]
    (pattern,) = [hook["files"] for hook in hooks["hooks"] if hook["id"] == "documents"]
    script = "import sys, pipeline.schemas; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    ours = [name for name in loaded if name.split(".")[0] in PACKAGES and "." in name]
    assert {"pipeline.metrics", "pipeline.records", "pipeline.settings"} <= set(ours)
    sources = [f"{name.replace('.', '/')}.py" for name in ours]
    assert [source for source in sources if not re.search(pattern, source)] == []
