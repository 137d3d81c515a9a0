"""The command line: one file a command, assembled in `pipeline.__main__`."""
