"""Cameras live: what runs in a camera process, in the pool, and whoever assigns cameras. No Ray."""
