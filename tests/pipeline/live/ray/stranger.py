"""Another user of this machine knocks at a Ray: `stranger.py none|wrong HOST:PORT [FOLDER]`.

Says as JSON what the head let it read and write, and which files under the folder it could see.
"""

import json
import os
import sys
from pathlib import Path

NOBODY = 65534

if __name__ == "__main__":
    token, address, *folders = sys.argv[1:]
    for name in [name for name in os.environ if name.startswith("RAY_AUTH")]:
        del os.environ[name]
    os.environ["RAY_AUTH_MODE"] = "disabled" if token == "none" else "token"
    if token != "none":
        os.environ["RAY_AUTH_TOKEN"] = token
    from ray._raylet import GcsClient  # while its files may be read

    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    told: dict[str, object] = {"user": os.getuid()}
    try:
        client = GcsClient(address=address)
        told["keys"] = len(client.internal_kv_keys(b"ActorClass", b"fun", timeout=10))
        told["written"] = client.internal_kv_put(b"stranger", b"1", True, b"fun", timeout=10)
    except Exception as error:  # noqa: BLE001 - what it was is told
        told["refused"] = type(error).__name__
    told["files"] = [str(path) for folder in folders for path in Path(folder).glob("*")]
    sys.stdout.write(json.dumps(told) + "\n")
