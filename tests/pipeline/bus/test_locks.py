"""One holder at a time, none after its death, and no lock on a file that is gone."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.bus.locks import FileLock

HOLD = """
import sys
from pathlib import Path
from pipeline.bus.locks import FileLock
assert FileLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock.acquire(path) as held:
        assert held
        assert FileLock.acquire(path) is None
    second = FileLock.acquire(path)
    assert second
    second.close(remove=True)
    assert not path.exists()


def test_it_is_free_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        assert FileLock.acquire(path) is None
        holder.kill()
    with FileLock.acquire(path) as held:
        assert held


def test_removed_files_never_give_two_holders(tmp_path: Path) -> None:
    """Eight threads take, remove and take again: the counter is only ever theirs alone."""
    path, inside, most = tmp_path / "lock", [0], []

    def work() -> None:
        for _ in range(50):
            lock = FileLock.acquire(path, patience_s=30)
            assert lock
            inside[0] += 1
            most.append(inside[0])
            inside[0] -= 1
            lock.close(remove=True)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(8)]:
            done.result()
    assert set(most) == {1}
    assert len(most) == 400
