"""Selects the faster number format, measured in a child process.

Some processors advertise bfloat16 units that kill the process; others run it slower than float32.
"""

from __future__ import annotations

import subprocess
import sys

import torch

PATIENCE_S = 120.0
_PROBE = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
network = torch.nn.Sequential(
    torch.nn.Conv2d(32, 64, 3, padding=1), torch.nn.BatchNorm2d(64), torch.nn.ReLU(),
    torch.nn.Conv2d(64, 64, 3, padding=1)).to(memory_format=torch.channels_last)
x = torch.randn(16, 32, 24, 24).contiguous(memory_format=torch.channels_last)
best = []
for enabled in (False, True):
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = network(x).float().square().mean()
        loss.backward()
        seconds.append(time.perf_counter() - start)
    best.append(min(seconds))
print("bfloat16" if best[1] < 0.9 * best[0] else "float32")
"""


def select_dtype(threads: int) -> torch.dtype:
    """bfloat16 where it is supported and at least a tenth faster than float32, else float32."""
    return torch.bfloat16 if _probe(threads) == "bfloat16" else torch.float32


def bfloat16_is_supported() -> bool:
    """Whether a process on this machine survives bfloat16, however fast it is."""
    return _probe(1) != ""


def _probe(threads: int) -> str:
    """The faster format by name; "" where the child died, failed or hung."""
    probe = [sys.executable, "-c", _PROBE, str(threads)]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
