"""A simulated camera under a display: its optics, its sensor, and the suites of conditions."""
