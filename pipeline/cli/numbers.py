"""Bounds of the numbers that options take and no setting checks."""

MOST_SECONDS = 10_000_000.0
"""Four months."""
MOST_FACES = 10_000_000
MOST_SEED = 2**31 - 1
