"""The steps a frame goes through, each a plain class that knows only records and frames."""
