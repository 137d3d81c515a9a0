"""The rules of conftest hold: shown on small suites that break them, in a process of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")


def outcomes(folder: Path, body: str, **environment: str) -> dict[str, int]:
    """Run pytest on a module; its closing line as a dict, such as {"passed": 1}."""
    shutil.copy(CONFTEST, folder)
    (folder / "test_it.py").write_text(f"import os, socket, pytest\n{body}", encoding="utf-8")
    (folder / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nmarkers = needs\n", encoding="utf-8"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("UNDERCAM_")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py"],
        cwd=folder,
        env=kept | environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    closing = run.stdout.strip().splitlines()[-1]
    return {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", closing)}


SKIPS = """
def test_data(data): assert (data / "here").is_file()
@pytest.mark.needs("data")
def test_marked(): pass
@pytest.mark.skip(reason="no mood")
def test_skipped(): pass
@pytest.mark.needs("gpu")
def test_gpu(): pytest.skip("none")
"""


def test_missing_things_skip_with_the_data_or_without(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    assert outcomes(tmp_path, SKIPS) == {"skipped": 4}
    assert outcomes(tmp_path, SKIPS, UNDERCAM_DATA=".") == {"passed": 2, "skipped": 2}


def test_in_ci_only_the_gpu_may_be_missing(tmp_path: Path) -> None:
    assert outcomes(tmp_path, SKIPS, UNDERCAM_CI="1") == {"errors": 3, "skipped": 1}


def test_in_ci_a_skipped_module_fails(tmp_path: Path) -> None:
    body = 'pytest.importorskip("no_such_package")'
    assert outcomes(tmp_path, body, UNDERCAM_CI="1") == {"error": 1}


def test_settings_do_not_leak_into_tests(tmp_path: Path) -> None:
    body = 'def test_it(): assert [n for n in os.environ if "UNDERCAM" in n] == ["UNDERCAM_DATA"]'
    environment = {"UNDERCAM_STORE__URL": "sqlite://", "UNDERCAM_DATA": "."}
    assert outcomes(tmp_path, body, **environment) == {"passed": 1}


def test_the_network_is_out_of_reach_and_this_machine_is_not(tmp_path: Path) -> None:
    body = """
def test_far(): socket.create_connection(("192.0.2.1", 80))
def test_near():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
"""
    assert outcomes(tmp_path, body) == {"failed": 1, "passed": 1}
