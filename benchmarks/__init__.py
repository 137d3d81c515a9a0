"""Measurements, one command each: `python -m benchmarks.NAME --help`."""

import os
import sys

# Ours come first, whatever the current folder calls its own; then it is taken off the path.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from pipeline.import_path import exclude_current_folder

exclude_current_folder()
