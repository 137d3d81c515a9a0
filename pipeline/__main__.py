"""The front door: `undercam COMMAND`, or `python -m pipeline COMMAND`."""

# These alone, and no `from __future__`: the current folder is still on the path.
import os
import sys

from pipeline.import_path import exclude_current_folder

QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
}
"""Nothing that we start reports to its maker; it has to be said before their import."""
SHARED_CORES = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Idle threads of torch sleep: spinning ones take the cores from whoever works beside them."""
LASTING = ("dashboard", "run", "store")
"""Commands that a service manager starts, and ends with SIGTERM: also before they have begun."""


def main() -> None:
    """Run one command and leave with its exit code."""
    exclude_current_folder()
    os.environ.update(QUIET | SHARED_CORES)
    if sys.argv[1:2] and sys.argv[1] in LASTING:
        import signal

        signal.signal(signal.SIGTERM, _stop)
    from pipeline.cli.app import run
    from pipeline.leaving import leave

    leave(run(sys.argv[1:]))


def _stop(*_: object) -> None:
    # An exception would come out of the import of some library as one of its own.
    os._exit(0)


if __name__ == "__main__":
    main()
