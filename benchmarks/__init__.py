"""Measurements, one command each: `python -m benchmarks.NAME --help`."""

import os
import sys

# This project's packages take precedence over modules of the same name in the current folder.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from pipeline.import_path import exclude_current_folder

exclude_current_folder()
