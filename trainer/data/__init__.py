"""Labelled faces: one type, and a reader for each layout that people have on their disks."""
